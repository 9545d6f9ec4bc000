"""A small settings file, a whole one, and how tests read them and see them refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import Exit, SettingsError, causes
from schemas.settings import Settings, load

SMALL: dict[str, Any] = {
    "source": {"dsn": "postgresql://reader@source/app"},
    "registry": {"dsn": "postgresql://writer@target/tracking"},
    "event_log": {"kafka": {"bootstrap.servers": "broker:9092", "group.id": "fencepost"}},
    "data_types": {
        "job_artifact": {
            "topics": ["replication.job_artifact"],
            "format": "json",
            "event": {"key": "id", "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"},
            "source": {"table": "public.job_artifacts", "key": "id"},
            "registry": {"table": "public.job_artifact_registry", "key": "artifact_id"},
        }
    },
}
#: Design §8's example: every setting there is.
WHOLE = """
source:   {dsn: "postgresql://fencepost_reader@source/app", kind: primary, primary: null, origin: null,
           slices: 2, statement_timeout: 10m, lock_timeout: 5s, snapshot_max: 30m}
registry: {dsn: "postgresql://fencepost_writer@target/tracking"}
ledger:   {dsn: "postgresql://fencepost@target/tracking", schema: fencepost, keep: 90d}
event_log:
  kafka:  {bootstrap.servers: "broker:9092", group.id: fencepost, sasl.username: u, sasl.password: p}
  schema_registry: {url: "http://registry:8081", user: null, password: null, ca: null}
fence:    {pipeline: application, settle: 60s, skew: 5s}
tracker:  {flush_every: 1s, flush_records: 200000}
backfill: {rate: null, batch: 5000}
audit:    {every: 5m, listen: "127.0.0.1:9464"}
sweep:    {every: 24h, backfill: false, rate: null, brakes: {replica_lag: 30s, active_sessions: null}}
alerts:   {budget: 0.0001, webhook: null}
quarantine: {limit: 10000}
logs:     {format: text, level: info}
data_types:
  job_artifact:
    topics: [replication.job_artifact]
    format: avro
    match: {replicable_name: job_artifact}
    event: {key: model_record_id, op: event_name, create: [created], delete: [deleted], time: created_at}
    source:
      table: public.job_artifacts
      key: id
      created_at: created_at
      monotonic: false
      zone: UTC
      scope: [{column: project_id, in: [1, 2, 3]}]
    registry:
      table: public.job_artifact_registry
      key: artifact_id
      created_at: created_at
      zone: UTC
      accepted: {state: [0, 1, 2]}
      insert: {state: 0, created_at: now, project_id: {source: project_id}, kind: {value: now}}
      appliers_stopped: false
      orphans: list
    empty: refused
    settle: null
    budget: null
"""


def read(tmp_path: Path, values: object, environment: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "fencepost.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return load(path, environment or {})


def refused(tmp_path: Path, values: object, environment: Mapping[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, values, environment)
    assert caught.value.exit_code is Exit.USAGE
    return caught.value


def changed(place: str, value: object) -> dict[str, Any]:
    """SMALL with one value set: `source.kind`; a dot in a name is written `~`."""
    values = copy.deepcopy(SMALL)
    node: Any = values
    *parents, last = (part.replace("~", ".") for part in place.split("."))
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return values


def told(error: SettingsError) -> str:
    return "\n".join([str(error), error.hint or "", *map(str, causes(error)), repr(error)])
