"""Make the small world real: tables, rows, events and registry rows, as the fates of `losses` say.

Three data types, three ways of telling: an application that writes Avro, one that writes JSON, and Debezium's JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
from fastavro import parse_schema, schemaless_writer
from psycopg import sql

import schemas
from demo.broker import Broker
from demo.losses import Creation
from demo.postgres import Postgres

HERE = Path(__file__).parent
CREATED, DELETED = "created", "deleted"
SCHEMA_ID = 1
#: Confluent's framing: a zero byte and the schema's id before the record.
_FRAME = struct.pack(">bI", 0, SCHEMA_ID)
#: Neither framed nor Avro: somebody wrote into the wrong topic.
POISON = b"hello, is this topic still in use?"

Event = Callable[[Creation, str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One data type of the demo: its tables, its topic, and how it is announced there."""

    name: str
    words: str
    source: str
    registry: str
    registry_key: str
    topic: str
    more: Callable[[Creation], tuple[object, ...]]  #: the source's columns beside key and created_at
    columns: tuple[str, ...]
    encode: Callable[[Creation, str], bytes]


def avro_schema() -> str:
    """The writer's schema, as it goes into the folder of schemas."""
    return (Path(schemas.__path__[0]) / "avro" / "job_artifact_event.avsc").read_text(encoding="utf-8")


_AVRO = parse_schema(json.loads(avro_schema()))


def _avro(creation: Creation, op: str) -> bytes:
    out = BytesIO()
    out.write(_FRAME)
    event = {
        "event_id": int(str(creation.key)) * 2 + (op == DELETED),
        "replicable_name": "job_artifact",
        "event_name": op,
        "correlation_id": None,
        "model_record_id": creation.key,
        "created_at": creation.at,
    }
    schemaless_writer(out, _AVRO, event)
    return out.getvalue()


def _json(creation: Creation, op: str) -> bytes:
    event = {"event": op, "lfs_object": {"id": creation.key, "size": 1024}, "at": creation.at.isoformat()}
    return json.dumps(event).encode()


def _debezium(creation: Creation, op: str) -> bytes:
    row = {"id": str(creation.key), "path": _path(creation), "created_at": creation.at.isoformat()}
    told_ms = int(creation.at.timestamp() * 1000) + 1
    envelope = {
        "before": row if op == DELETED else None,
        "after": row if op == CREATED else None,
        "source": {"connector": "postgresql", "name": "app", "schema": "public", "table": "uploads", "ts_ms": told_ms},
        "op": "d" if op == DELETED else "c",
        "ts_ms": told_ms + 20,
    }
    return json.dumps(envelope).encode()


def _path(creation: Creation) -> str:
    return f"uploads/{str(creation.key)[:2]}/{creation.key}"


KINDS = (
    Kind(
        name="job_artifact",
        words="Avro",
        source="job_artifacts",
        registry="job_artifact_registry",
        registry_key="artifact_id",
        topic="replication.job_artifact",
        columns=("project_id",),
        more=lambda creation: (len(str(creation.key)),),
        encode=_avro,
    ),
    Kind(
        name="lfs_object",
        words="JSON",
        source="lfs_objects",
        registry="lfs_object_registry",
        registry_key="lfs_object_id",
        topic="replication.lfs_object",
        columns=("size",),
        more=lambda _: (1024,),
        encode=_json,
    ),
    Kind(
        name="upload",
        words="Debezium JSON",
        source="uploads",
        registry="upload_registry",
        registry_key="upload_id",
        topic="app.public.uploads",
        columns=("path",),
        more=lambda creation: (_path(creation),),
        encode=_debezium,
    ),
)


def make_databases(server: Postgres) -> None:
    """`app`, where rows are created, and `tracking`, with the registry; a role for each side that can do no more than it
    must."""
    with server.connect() as db:
        db.execute("CREATE DATABASE app")
        db.execute("CREATE DATABASE tracking")
    for database, script in (("app", "source.sql"), ("tracking", "target.sql")):
        with server.connect(database) as db:
            db.execute((HERE / script).read_bytes())


def fill_source(server: Postgres, world: Mapping[str, Sequence[Creation]]) -> None:
    """The rows that are still there."""
    with server.connect("app") as db:
        for kind in KINDS:
            rows = ((c.key, c.at, *kind.more(c)) for c in world[kind.name] if c.fate.exists)
            _copy(db, kind.source, ("id", "created_at", *kind.columns), rows)


def fill_registry(server: Postgres, world: Mapping[str, Sequence[Creation]]) -> None:
    """What an applier made of the events it got: most replicated (2), some still pending (0)."""
    with server.connect("tracking") as db:
        for kind in KINDS:
            registered = [c for c in world[kind.name] if c.fate.registered]
            rows = ((c.key, 0 if i % 50 == 0 else 2, c.at) for i, c in enumerate(registered))
            _copy(db, kind.registry, (kind.registry_key, "state", "created_at"), rows)


def announce(broker: Broker, kind: Kind, creations: Sequence[Creation]) -> None:
    """Write the topic: every creation that was announced, deletions right after, and one record nobody can read."""
    broker.send(kind.topic, _records(kind, creations))


def _records(kind: Kind, creations: Sequence[Creation]) -> Iterator[tuple[bytes, bytes]]:
    poisoned = len(creations) // 2 if kind.name == POISONED else None
    for number, creation in enumerate(creations):
        key = str(creation.key).encode()
        if number == poisoned:
            yield b"", POISON
        if creation.fate.announced:
            yield key, kind.encode(creation, CREATED)
        if creation.fate == creation.fate.DELETED:
            yield key, kind.encode(creation, DELETED)


POISONED = "job_artifact"


def _copy(db: psycopg.Connection[Any], table: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    name = sql.Identifier("public", table)
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(name, sql.SQL(", ").join(map(sql.Identifier, columns)))
    with db.cursor() as cursor:
        with cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(name))


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
