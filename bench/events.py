"""Events of every format as bytes, made without a library, and a topic filled with them.

Avro is in Confluent's wire format under schema ids of our own, for a folder of `.avsc`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer


def event_schema(key: str = "long") -> dict[str, Any]:
    """A replication event, GitLab's shape."""
    return {
        "type": "record", "name": "ReplicationEvent", "fields": [
            {"name": "event_id", "type": "long"},
            {"name": "replicable_name", "type": "string"},
            {"name": "event_name", "type": "string"},
            {"name": "model_record_id", "type": key},
            {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        ],
    }  # fmt: skip


_ROW = {
    "type": "record", "name": "Value", "fields": [
        {"name": "id", "type": "long"},
        {"name": "project_id", "type": ["null", "int"], "default": None},
        {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}  # fmt: skip
#: What Debezium 3 writes for a table of PostgreSQL, names and all.
ENVELOPE = {
    "type": "record", "name": "Envelope", "namespace": "app.public.items", "fields": [
        {"name": "before", "type": ["null", _ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql",
                                    "fields": [
            {"name": "version", "type": "string"},
            {"name": "connector", "type": "string"},
            {"name": "name", "type": "string"},
            {"name": "ts_ms", "type": "long"},
            {"name": "snapshot", "type": ["string", "null"], "default": "false"},
            {"name": "db", "type": "string"},
            {"name": "sequence", "type": ["null", "string"], "default": None},
            {"name": "ts_us", "type": ["null", "long"], "default": None},
            {"name": "ts_ns", "type": ["null", "long"], "default": None},
            {"name": "schema", "type": "string"},
            {"name": "table", "type": "string"},
            {"name": "txId", "type": ["null", "long"], "default": None},
            {"name": "lsn", "type": ["null", "long"], "default": None},
            {"name": "xmin", "type": ["null", "long"], "default": None},
        ]}},
        {"name": "transaction", "type": ["null", {"type": "record", "name": "block", "namespace": "event", "fields": [
            {"name": "id", "type": "string"},
            {"name": "total_order", "type": "long"},
            {"name": "data_collection_order", "type": "long"},
        ]}], "default": None},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
        {"name": "ts_us", "type": ["null", "long"], "default": None},
        {"name": "ts_ns", "type": ["null", "long"], "default": None},
    ],
}  # fmt: skip


def avro(number: int, key: int | str, at_us: int, *, schema: int = 1) -> bytes:
    return b"".join([
        struct.pack(">bI", 0, schema), long(number), b"\x18job_artifact", b"\x0ecreated",
        long(key) if isinstance(key, int) else text(key), long(at_us),
    ])  # fmt: skip


def debezium_avro(number: int, key: int, at_us: int, *, schema: int = 1) -> bytes:
    ms, ns = at_us // 1000, at_us * 1000
    return b"".join([
        struct.pack(">bI", 0, schema),
        b"\0", b"\2", long(key), b"\2", long(number % 100), long(at_us),
        text("3.3.0.Final"), text("postgresql"), text("app"), long(ms), b"\0", text("false"), text("app"), b"\0",
        b"\2", long(at_us), b"\2", long(ns), text("public"), text("items"), b"\2", long(700 + number), b"\2",
        long(24_000_000 + 200 * number), b"\0",
        b"\0", text("c"), b"\2", long(ms + 7), b"\2", long(at_us + 7000), b"\2", long(ns + 7_000_000),
    ])  # fmt: skip


def plain_json(number: int, key: int, at_us: int) -> bytes:
    return b'{"event_id":%d,"replicable_name":"job_artifact","event_name":"created","model_record_id":%d,"created_at":%d}' % (
        number,
        key,
        at_us,
    )


def debezium_json(number: int, key: int, at_us: int) -> bytes:
    return (
        b'{"before":null,"after":{"id":%d,"project_id":%d,"created_at":%d},"source":{"version":"3.3.0.Final",'
        b'"connector":"postgresql","name":"app","ts_ms":%d,"snapshot":"false","db":"app","sequence":null,"ts_us":%d,'
        b'"schema":"public","table":"items","txId":%d,"lsn":%d,"xmin":null},"transaction":null,"op":"c","ts_ms":%d}'
        % (key, number % 100, at_us, at_us // 1000, at_us, 700 + number, 24_000_000 + 200 * number, at_us // 1000 + 7)
    )


def long(value: int) -> bytes:
    value = value << 1 ^ value >> 63
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    data = value.encode()
    return long(len(data)) + data


def fill(bootstrap: str, topic: str, values: Iterable[bytes], partitions: int) -> tuple[int, int]:
    """Produce the values round robin; how many there were, and their bytes."""
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000,
        "batch.num.messages": 10_000, "log_level": 0,
    })  # fmt: skip
    count = size = 0
    for value in values:
        while True:
            try:
                producer.produce(topic, value, partition=count % partitions)
                break
            except BufferError:
                producer.poll(0.05)
        count, size = count + 1, size + len(value)
    if producer.flush(120):
        raise RuntimeError("the broker did not take all events")
    return count, size
