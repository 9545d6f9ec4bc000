"""`fencepost audit` beside a steady stream of creations: processor time, memory, and what its looks ask of the source.

Rows are created, announced and registered by a process of their own, a thousand at a time. A look every five seconds, not
every five minutes: so the minute that is measured has twelve looks, and with them a whole one, as an hour has. That is
dearer than the usual pace. `python -m bench.audit STAND` is the process that creates.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from confluent_kafka import Producer

from bench.child import COMPILED, ROOT, fencepost
from bench.events import avro, event_schema
from bench.machine import load
from bench.stand import Stand
from bench.table import Row
from tests.stack.processes import free_port

PARTITIONS = 4
STEP = 1000
EVERY_S = 5.0
WARM_S = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Of the measured time."""

    seconds: float
    cpu_s: float
    peak_mib: float
    rows: int  #: judged
    looks: int
    entries: int  #: index entries that the source read for whoever asked
    whole: int  #: sequential scans of the source
    stored: int  #: bytes of the keys that the ledger holds, and of how many
    keys: int
    behind: int


def rows(stand: Stand, rate: int, seconds: float, before: int) -> Iterator[Row]:
    """`before`: rows that are there when the audit begins."""
    found = _measured(stand, rate, seconds, before)
    pace = found.rows / found.seconds
    raw = {key: [value] for key, value in vars_of(found).items()}
    name = f"audit, {rate / 1000:g} k events/s, a look every {EVERY_S:g} s"
    yield Row(
        name=name, ours=f"{100 * found.cpu_s / found.seconds:.0f} % of a core", plain=f"judged {pace / 1000:.1f} k/s",
        value=found.cpu_s / found.seconds, unit=" cores", must=0.25, aim=0.15, load=load(), raw=raw,
    )  # fmt: skip
    yield Row(
        name=f"memory, {name}", ours=f"{found.peak_mib:.0f} MiB", plain=f"{found.looks} looks", value=found.peak_mib,
        unit=" MiB", must=200, aim=120, load=load(),
    )  # fmt: skip
    yield Row(
        name=f"index entries read at the source for a new row, {name}", ours=f"{found.entries}", plain=f"{found.rows} rows",
        value=found.entries / max(1, found.rows), unit=" ×", load=load(),
    )  # fmt: skip


def vars_of(found: Found) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Found.__dataclass_fields__}


def _measured(stand: Stand, rate: int, seconds: float, before: int) -> Found:
    folder, server, port = stand.room("audit"), stand.postgres(18), free_port()
    source, target = (server.create_database(stand.new(word)) for word in ("source", "target"))
    topic = stand.kafka.create_topic(stand.new("topic"), PARTITIONS)
    _tables(source, target, before)
    (folder / "schemas").mkdir()
    (folder / "schemas" / "1.avsc").write_text(json.dumps(event_schema()))
    config = folder / "fencepost.yaml"
    config.write_text(yaml.safe_dump(_settings(source, target, stand.kafka.bootstrap, topic, folder, port)))
    told = {
        "source": source,
        "target": target,
        "bootstrap": stand.kafka.bootstrap,
        "topic": topic,
        "rate": rate,
        "first": before + 1,
    }
    (folder / "stand.json").write_text(json.dumps(told))
    with (
        _started([sys.executable, "-m", "bench.audit", folder / "stand.json"], folder / "creating.log"),
        _started(fencepost("audit", "--config", config, "--quiet"), folder / "audit.log") as audit,
    ):
        _until(lambda: _total(port, "fencepost_rows_audited_total") > 0, audit, folder)
        time.sleep(min(WARM_S, seconds))
        return _over(audit, port, source, target, seconds)


def _over(audit: subprocess.Popen[bytes], port: int, source: str, target: str, seconds: float) -> Found:
    began, cpu = time.monotonic(), _cpu_s(audit.pid)
    judged, looks, (entries, scans) = _total(port, "fencepost_rows_audited_total"), _looks(port), _read(source)
    time.sleep(seconds)
    took, used = time.monotonic() - began, _cpu_s(audit.pid) - cpu
    now, (more, later) = _total(port, "fencepost_rows_audited_total"), _read(source)
    assert audit.poll() is None
    with psycopg.connect(target) as db:
        kept = db.execute(
            "SELECT sum(length(keys)), sum(count) FROM (SELECT keys, count FROM fencepost.audit_seen"
            " UNION ALL SELECT keys, count FROM fencepost.segment_keys) AS k"
        ).fetchone()
    assert kept
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{audit.pid}/status").read_text())
    assert peak
    return Found(
        seconds=took, cpu_s=used, peak_mib=int(peak[1]) / 1024, rows=int(now - judged), looks=int(_looks(port) - looks),
        entries=more - entries, whole=later - scans, stored=int(kept[0]), keys=int(kept[1]),
        behind=int(_total(port, "fencepost_lag_records")),
    )  # fmt: skip


def _tables(source: str, target: str, before: int) -> None:
    with psycopg.connect(source, autocommit=True) as db:
        db.execute("CREATE TABLE items (id bigint PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now())")
        db.execute("INSERT INTO items (id) SELECT generate_series(1, %s)", [before])
        db.execute("VACUUM ANALYZE items")
    with psycopg.connect(target, autocommit=True) as db:
        db.execute("CREATE TABLE item_registry (item_id bigint PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now())")
        db.execute("INSERT INTO item_registry (item_id) SELECT generate_series(1, %s)", [before])
        db.execute("VACUUM ANALYZE item_registry")


def _settings(source: str, target: str, bootstrap: str, topic: str, folder: Path, port: int) -> dict[str, Any]:
    return {
        "source": {"dsn": source},
        "registry": {"dsn": target},
        "event_log": {"kafka": {"bootstrap.servers": bootstrap, "group.id": topic}, "schemas": str(folder / "schemas")},
        "fence": {"settle": "2s", "skew": "0s"},
        "audit": {"every": f"{EVERY_S:g}s", "listen": f"127.0.0.1:{port}"},
        "data_types": {
            "item": {
                "topics": [topic],
                "format": "avro",
                "event": {"key": "model_record_id", "op": "event_name", "create": ["created"], "time": "created_at"},
                "source": {"table": "public.items", "key": "id", "created_at": "created_at"},
                "registry": {"table": "public.item_registry", "key": "item_id"},
            }
        },
    }


@contextmanager
def _started(command: list[Any], told: Path) -> Iterator[subprocess.Popen[bytes]]:
    with told.open("wb") as file:
        child = subprocess.Popen([str(word) for word in command], stdout=file, stderr=file, cwd=ROOT, env=os.environ | COMPILED)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(60)


def _until(true: Any, audit: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if audit.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the audit does not come to judge: {(folder / 'audit.log').read_text()[-2000:]}")
        time.sleep(0.5)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _total(port: int, name: str) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))


def _looks(port: int) -> float:
    return _total(port, "fencepost_compare_duration_seconds_count")


def _read(source: str) -> tuple[int, int]:
    with psycopg.connect(source) as db:
        row = db.execute(
            "SELECT sum(i.idx_tup_read)::bigint, max(t.seq_scan) FROM pg_stat_user_tables t"
            " JOIN pg_stat_user_indexes i USING (relid) WHERE t.relname = 'items'"
        ).fetchone()
    assert row
    return int(row[0] or 0), int(row[1] or 0)


# -- the process that creates -----------------------------------------------------------------------------------------


def create(told: dict[str, Any]) -> None:
    """Until it is ended. Late by no more than it must: what could not be done in time is done at once after."""
    producer = Producer({"bootstrap.servers": told["bootstrap"], "linger.ms": 20, "log_level": 0})
    key, began, done = told["first"], time.monotonic(), 0
    insert = "INSERT INTO {} SELECT generate_series(%s::bigint, %s::bigint)"
    with psycopg.connect(told["source"], autocommit=True) as source, psycopg.connect(told["target"], autocommit=True) as target:
        while True:
            source.execute(insert.format("items (id)"), [key, key + STEP - 1])
            at = int(time.time() * 1e6)
            for k in range(key, key + STEP):
                producer.produce(told["topic"], avro(k, k, at), partition=k % PARTITIONS)
            producer.poll(0)
            target.execute(insert.format("item_registry (item_id)"), [key, key + STEP - 1])
            key, done = key + STEP, done + STEP
            time.sleep(max(0.0, began + done / told["rate"] - time.monotonic()))


if __name__ == "__main__":
    create(json.loads(Path(sys.argv[1]).read_text()))
