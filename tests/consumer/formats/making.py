"""Make data types, records and batches for the tests of formats."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
import numpy as np
from hypothesis import settings

from consumer.formats import Decoder, Route, decoder_for
from consumer.formats.contract import UnknownSchema
from schemas.data_types import DataType
from schemas.events import Decoded, Op, RawBatch
from schemas.keys import Key, key_type
from schemas.settings import EventLogSettings

TOPIC = "p.public.jobs"
EVENT = {"key": "id", "op": "event", "create": ["created"], "delete": ["deleted"], "time": "at"}
LOG = EventLogSettings.model_validate({"kafka": {"bootstrap.servers": "b:9092", "group.id": "g"}})


def examples(usual: int) -> int:
    """How many examples a test of usually so many takes: more by the profile of `make fuzz`."""
    return max(1, usual * settings().max_examples // 100)


class Schemas:
    """A schema source in memory, which counts how often it is asked."""

    def __init__(self, *schemas: Any) -> None:
        self.known = {number: (json.dumps(schema),) for number, schema in enumerate(schemas, 1)}
        self.asked = 0

    def schema(self, number: int, records: int = 1) -> tuple[str, ...]:
        self.asked += 1
        if number not in self.known:
            raise UnknownSchema(f"schema id {number} is unknown to the test")
        return self.known[number]

    def close(self) -> None:
        self.known.clear()


def data_type(form: str, *, table: str = "public.jobs", key: Any = "id", **more: Any) -> DataType:
    registry = {"table": "public.r", "key": [f"r{n}" for n in range(1 if isinstance(key, str) else len(key))]}
    source = {"table": table, "key": key, **more.pop("source", {})}
    return DataType.model_validate({"topics": [TOPIC], "format": form, "source": source, "registry": registry, **more})


def route(declared: DataType, kinds: Any = "int", name: str = "job") -> Route:
    return Route(name=name, data_type=declared, key_type=key_type(kinds))


def decoder(*routes: Route, schemas: Schemas | None = None, topic: str = TOPIC) -> Decoder:
    return decoder_for(topic, routes, LOG, schemas)


def batch(values: Sequence[bytes | None], timestamps: Sequence[int] | None = None, topic: str = TOPIC) -> RawBatch:
    return RawBatch(
        topic=topic,
        partition=3,
        offsets=np.arange(100, 100 + 2 * len(values), 2, dtype=np.int64),
        values=values,
        timestamps=None if timestamps is None else np.array(timestamps, np.int64),
    )


def as_json(record: Any) -> bytes:
    return json.dumps(record).encode()


def as_avro(record: Any, schema: Any, number: int = 1) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
    return b"\0" + number.to_bytes(4, "big") + out.getvalue()


def told(decoded: Decoded, name: str = "job") -> list[tuple[int, str, Key, int]]:
    """(offset, op, key, time) of each event of a data type."""
    return [
        (int(offset), Op(int(op)).name, key, int(time))
        for found in decoded.batches
        if found.data_type == name
        for offset, op, key, time in zip(found.offsets, found.ops, found.keys.tolist(), found.times, strict=True)
    ]


def keys(decoded: Decoded, name: str = "job") -> list[tuple[str, Key]]:
    return [(op, key) for _, op, key, _ in told(decoded, name)]


def reasons(decoded: Decoded) -> dict[int, str]:
    return {record.offset: record.reason for record in decoded.unreadable}


ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": ["null", "long"]},
        {"name": "name", "type": ["null", "string"], "default": None},
    ],
}
SOURCE_FIELDS: list[Any] = [
    {"name": "version", "type": "string"},
    {"name": "ts_ms", "type": "long"},
    {"name": "snapshot", "type": ["null", "string"], "default": None},
    {"name": "db", "type": "string"},
    {"name": "schema", "type": ["null", "string"]},
    {"name": "table", "type": "string"},
    {"name": "ts_us", "type": ["null", "long"]},
]
ENVELOPE: dict[str, Any] = {
    "type": "record",
    "name": "Envelope",
    "namespace": "p.public.jobs",
    "fields": [
        {"name": "before", "type": ["null", ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io", "fields": SOURCE_FIELDS}},
        {"name": "op", "type": ["null", "string"]},
        {"name": "ts_ms", "type": ["null", "long"]},
    ],
}


def change(op: str | None, after: Any = None, before: Any = None, **source: Any) -> dict[str, Any]:
    """A Debezium change record. Rows may be told by their id alone."""

    def row(value: Any) -> Any:
        return value if value is None or isinstance(value, Mapping) else {"id": value, "name": "n"}

    told_by = {"version": "3.3", "ts_ms": 1_700_000_000_000, "snapshot": "false", "db": "app", "schema": "public"}
    return {
        "before": row(before),
        "after": row(after),
        "source": {**told_by, "table": "jobs", "ts_us": None, **source},
        "op": op,
        "ts_ms": 1_800_000_000_000,
    }
