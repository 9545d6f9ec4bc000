"""An outbox table, GitLab's `geo_events`, read through real Debezium: rows of it are events about other tables."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from databases.ledger import Ledger
from schemas.settings import Settings
from tests.conftest import DebeziumFactory
from tests.consumer.support import age
from tests.end_to_end.installation import Installation, arrived, execute, register, registered, registry_table, settings
from tests.stack.connect import Format
from tests.stack.kafka import Kafka
from tests.stack.registry import SchemaRegistry

SCHEMA = """
CREATE TABLE geo_events (id bigserial PRIMARY KEY, replicable_name varchar(255) NOT NULL, event_name varchar(255) NOT NULL,
                         payload jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL);
CREATE TABLE p_ci_job_artifacts (id bigint PRIMARY KEY, project_id int, created_at timestamptz);
CREATE TABLE lfs_objects (id bigint PRIMARY KEY, project_id int, created_at timestamptz);
"""
TABLES = {"job_artifact": "p_ci_job_artifacts", "lfs_object": "lfs_objects"}


class GitLab:
    """The application: it writes a row, and after the commit, most of the time, an event about it."""

    def __init__(self, db: psycopg.Connection) -> None:
        self.db = db

    def create(self, name: str, *keys: int, event: bool = True) -> None:
        for key in keys:
            self.db.execute(f"INSERT INTO {TABLES[name]} VALUES (%s, 1, clock_timestamp())", [key])
            if event:
                self.event(name, "created", {"model_record_id": key, "correlation_id": "01HX"})

    def destroy(self, name: str, *keys: int, event: bool = True) -> None:
        for key in keys:
            self.db.execute(f"DELETE FROM {TABLES[name]} WHERE id = %s", [key])
            if event:
                payload = {"model_record_id": key, "uploader_class": "JobArtifactUploader", "blob_path": f"ab/cd/{key}.zip"}
                self.event(name, "deleted", payload)

    def event(self, name: str, what: str, payload: dict[str, Any]) -> None:
        self.db.execute(
            "INSERT INTO geo_events (replicable_name, event_name, payload, created_at) VALUES (%s, %s, %s, clock_timestamp())",
            [name, what, json.dumps(payload)],
        )


def data_type(name: str, topic: str, format: Format) -> dict[str, Any]:
    return {
        "topics": [topic],
        "format": format,
        "match": {"after.replicable_name": name},
        "event": {
            "key": "after.payload.model_record_id",
            "op": "after.event_name",
            "create": ["created"],
            "delete": ["deleted"],
            "time": "after.created_at",
            "sequence": "after.id",
        },
        "source": {"table": f"public.{TABLES[name]}", "key": "id", "created_at": "created_at"},
        "registry": {
            "table": f"public.{name}_registry",
            "key": f"{name}_id",
            "created_at": "created_at",
            "insert": {"state": 0, "created_at": "now"},
        },
    }


def lose_some(gitlab: GitLab, source: str, target: str) -> None:
    gitlab.create("job_artifact", *range(1, 31))
    gitlab.create("lfs_object", *range(1, 11))  # the same ids, another type
    register(target, "job_artifact", range(1, 26))  # 26-30: announced, never applied
    register(target, "lfs_object", range(1, 11))
    gitlab.create("job_artifact", *range(31, 37), event=False)  # the event's insert failed, and was only logged
    gitlab.create("lfs_object", *range(31, 37))  # announced, but of the other type
    register(target, "lfs_object", range(31, 37))
    gitlab.event("job_artifact", "checksum_succeeded", {"model_record_id": 31})  # no creation
    gitlab.event("job_artifact", "updated", {"model_record_id": 32})
    gitlab.destroy("job_artifact", 1, 2)
    execute(target, "DELETE FROM job_artifact_registry WHERE job_artifact_id = 1")  # 2: the applier lost the delete
    gitlab.destroy("job_artifact", 3, event=False)
    # 4 is deleted, and its id comes back without a word: the former life's event must not vouch for the new row.
    gitlab.destroy("job_artifact", 4)
    execute(target, "DELETE FROM job_artifact_registry WHERE job_artifact_id = 4")
    gitlab.create("job_artifact", 4, event=False)
    # The pruner deletes events that were read: no record of ours is deleted by that.
    execute(source, "DELETE FROM geo_events WHERE id < 40")
    execute(source, "UPDATE geo_events SET payload = payload || '{\"seen\": true}'")
    gitlab.event("project", "created", {"model_record_id": 33, "correlation_id": "the-last-event"})


@pytest.mark.parametrize("format", ["debezium-json", "debezium-avro"])
def test_two_data_types_of_one_outbox_are_told_apart_and_each_loss_is_named(
    format: Format,
    databases: tuple[str, str],
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    debezium: DebeziumFactory,
    tmp_path: Path,
) -> None:
    source, target = databases
    execute(source, SCHEMA)
    if format == "debezium-avro":
        # The stand's registry (Apicurio 3.0.9) keeps a schema whose text has the default `{}`, but its Confluent door
        # answers 400 for it ("Failed to discover artifact type"). It is the registry's fault; nobody relies on the default.
        execute(source, "ALTER TABLE geo_events ALTER payload DROP DEFAULT")
    for name in TABLES:
        execute(target, registry_table(name))
    connector = debezium(source, ["public.geo_events"], format=format)
    topic = connector.topic("public.geo_events")
    told = settings(
        source, target, kafka, {name: data_type(name, topic, format) for name in TABLES}, fence={"settle": "1s", "skew": "0s"}
    )
    told["event_log"]["schema_registry"] = {"url": schema_registry.url}
    here = Installation(tmp_path, told)

    with psycopg.connect(source, autocommit=True) as db:
        lose_some(GitLab(db), source, target)
    arrived(kafka, topic, "the-last-event")

    gaps = here.run("gaps", "--deletes", "--report", str(tmp_path / "report"))
    assert gaps.code == 3, gaps
    assert gaps.json["claims"]["drop_rate"] == "complete"
    found = here.gap_lines(tmp_path / "report")
    assert {key: line["class"] for key, line in found["job_artifact"].items()} == {
        **dict.fromkeys(map(str, range(26, 31)), "unapplied_create"),
        **dict.fromkeys(map(str, range(31, 37)), "dropped_create"),
        "4": "dropped_create",
        "2": "unapplied_delete",
        "3": "dropped_delete",
    }
    assert "lfs_object" not in found
    assert gaps.of("lfs_object")["verdict"] == "CLEAR"
    assert gaps.of("lfs_object")["announced"] == 16

    cutover = here.run("cutover")
    assert cutover.code == 0, cutover
    assert cutover.of("job_artifact")["backfilled"] == 12
    assert registered(target, "job_artifact") == sorted({*range(2, 37)})
    assert registered(target, "lfs_object") == [*range(1, 11), *range(31, 37)]

    # What the events' numbers say, whatever they are about: a transaction that is rolled back leaves a gap for good, one
    # that commits late for a while.
    with psycopg.connect(source, autocommit=True) as db, psycopg.connect(source) as slow:
        GitLab(slow).event("project", "created", {"model_record_id": 90})
        with psycopg.connect(source) as other:
            GitLab(other).event("project", "created", {"model_record_id": 91})
            other.rollback()
        GitLab(db).event("project", "created", {"model_record_id": 92, "correlation_id": "after-two-gaps"})
        (last,) = db.execute("SELECT max(id) FROM geo_events").fetchone() or (0,)
        arrived(kafka, topic, "after-two-gaps")
        assert here.run("track", "--until-end").code == 0
        assert numbers_told(here, open=2, open_ranges=[[last - 2, last - 1]], estimated_missing=0)
        slow.commit()
        GitLab(db).event("project", "created", {"model_record_id": 93, "correlation_id": "after-the-late-commit"})
    arrived(kafka, topic, "after-the-late-commit")
    assert here.run("track", "--until-end").code == 0
    assert numbers_told(here, open=1, open_ranges=[[last - 1, last - 1]], estimated_missing=0)
    with closing(Ledger.of(Settings.model_validate(told))) as ledger:
        age(ledger, 12)
    assert here.run("track", "--until-end").code == 0
    assert numbers_told(here, open=0, ranges=[[last - 1, last - 1]], estimated_missing=1, judged_to=last + 1)
    assert "An estimate, no verdict" in " ".join(here.run("status", json=False).out.split())


def numbers_told(here: Installation, **wanted: Any) -> bool:
    """Whether `status` says so of the one numbering there is, and that no record lacks its number."""
    (found,) = here.run("status").json["numbers"]
    assert {name: found[name] for name in wanted} == wanted
    assert (found["unnumbered"], len(found["topics"])) == (0, 1)
    return True
