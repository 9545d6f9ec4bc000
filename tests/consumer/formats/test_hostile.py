"""Records and schemas made to hurt: each ends within a second, in little memory, as an unreadable record."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from consumer.formats.contract import MAX_DEPTH
from schemas.events import Decoded
from tests.consumer.formats.making import EVENT, Schemas, as_avro, as_json, batch, data_type, decoder, keys, reasons, route


def avro(values: list[bytes], schema: Any) -> Decoded:
    return decoder(route(data_type("avro", event={"key": "id"})), schemas=Schemas(schema)).decode(batch(values))


def with_field(kind: Any, first: bool = True) -> dict[str, Any]:
    fields = [{"name": "bomb", "type": kind}, {"name": "id", "type": "long"}]
    return {"type": "record", "name": "R", "fields": fields if first else fields[::-1]}


def varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


FRAME = b"\0\0\0\0\x01"


@pytest.fixture(autouse=True)
def bounded() -> Any:
    """A second of processor time, more on a slow machine, and 64 MiB above the start."""
    started = time.process_time()
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    assert time.process_time() - started < 20, "tracemalloc alone slows it several times"


@pytest.mark.parametrize(
    "item", ["long", "null", "string", {"type": "fixed", "name": "F", "size": 0}, {"type": "record", "name": "E", "fields": []}]
)
@pytest.mark.parametrize("count", [20_000_000, 1 << 60, -(1 << 60), -(1 << 63), (1 << 63) - 1])
@pytest.mark.parametrize("kind", ["array", "map"])
def test_an_array_that_claims_more_items_than_bytes(item: Any, count: int, kind: str) -> None:
    """Failure mode S1."""
    schema = with_field({"type": kind, "items" if kind == "array" else "values": item})
    good = FRAME + b"\0" + varint(5)
    size = varint(1) if count < 0 else b""
    decoded = avro([good, FRAME + varint(count) + size + varint(5), good], schema)
    assert (keys(decoded), list(reasons(decoded))) == ([("CREATE", 5)] * 2, [102])


def test_blocks_of_empty_items_are_counted_together() -> None:
    bomb = FRAME + varint(1000) * 1000 + b"\0" + varint(5)
    assert "claims more items" in reasons(avro([bomb], with_field({"type": "array", "items": "null"})))[100]


def test_a_long_but_honest_array_is_read() -> None:
    schema = with_field({"type": "array", "items": "long"})
    values = [as_avro({"bomb": list(range(size)), "id": size}, schema) for size in (0, 3, 64, 65, 500, 20_000)]
    assert [key for _, key in keys(avro(values, schema))] == [0, 3, 64, 65, 500, 20_000]


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, 100_000])
def test_deep_recursion(depth: int) -> None:
    """Failure mode S2."""
    schema = with_field(["null", "R"])
    decoded = avro([FRAME + varint(1) * depth + b"\0" + varint(5) * (depth + 1)], schema)
    assert (len(keys(decoded)), len(decoded.unreadable)) == ((1, 0) if depth < MAX_DEPTH else (0, 1))


@pytest.mark.parametrize("length", [-1, -5, 1 << 40, (1 << 63) - 1, -(1 << 63)])
def test_a_length_that_leads_back_or_far_away(length: int) -> None:
    good = FRAME + varint(1) + b"x" + varint(5)
    decoded = avro([good, FRAME + varint(length) + b"x" + varint(5), good], with_field("string"))
    assert (len(keys(decoded)), list(reasons(decoded))) == (2, [102])


@pytest.mark.parametrize("body", [b"\xff" * 11, b"\x80" * 9 + b"\x02", b"\x80" * 10 + b"\x01", b"\x80"])
def test_a_number_longer_than_64_bits(body: bytes) -> None:
    decoded = avro(
        [FRAME + body, FRAME + varint(5)], {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}
    )
    assert (keys(decoded), list(reasons(decoded))) == ([("CREATE", 5)], [100])


def test_numbers_written_longer_than_needed_are_still_exact() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}
    values = [FRAME + varint(5)[:-1] + bytes([varint(5)[-1] | 128]) + b"\x80" * pad + b"\0" for pad in range(9)]
    assert [key for _, key in keys(avro(values, schema))] == [5] * 9


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("boolean", b"\x02"),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, varint(1)),
        (["null", "long"], varint(2)),
        (["null", "long"], varint(-1)),
        (["null", "string"], varint(-1)),
        (["null", "string"], varint(2)),
        (["null", "string"], varint(1) + varint(-1)),
        ("int", varint(2**31)),
        ("int", varint(-(2**31) - 1)),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_its_type_does_not_allow(kind: Any, body: bytes, first: bool) -> None:
    value = FRAME + (body + varint(5) if first else varint(5) + body)
    assert list(reasons(avro([value, value], with_field(kind, first)))) == [100, 102]


def test_left_over_bytes_are_another_schemas() -> None:
    assert "left over" in reasons(avro([FRAME + b"\0" + varint(5) + b"\0"], with_field("string")))[100]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "too short"),
        (b"\0\0\0\0", "too short"),
        (b"\x01" + b"g" * 20, "GUID"),
        (b'{"id": 1}', "zero byte"),
        (b"\0\0\0\0\x09\x02", "schema id 9 is unknown"),
    ],
)
def test_a_frame_that_is_none(value: bytes, reason: str) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}
    decoded = avro([FRAME + varint(5), value, FRAME + varint(6)], schema)
    assert (len(keys(decoded)), reason in reasons(decoded)[102]) == (2, True)


def laughs() -> dict[str, Any]:
    """Each type holds the one before it twice: a few lines that unfold to 2**40 fields."""
    kind: Any = {"type": "record", "name": "L0", "fields": []}
    for level in range(1, 40):
        kind = {
            "type": "record",
            "name": f"L{level}",
            "fields": [{"name": "a", "type": kind}, {"name": "b", "type": f"L{level - 1}"}],
        }
    return with_field(kind)


@pytest.mark.parametrize(
    "schema",
    [
        laughs(),
        with_field({"type": "fixed", "name": "F", "size": 1 << 40}),
        with_field("Nobody"),
        with_field([["null"]]),
        with_field([]),
        with_field({"type": "record", "name": "R", "fields": []}),
        with_field({"type": "enum", "name": "E", "symbols": ["a"] * 30_000}),
        {"type": "record", "name": "R", "fields": [{"name": "id", "type": "R"}]},
        "long",
        [],
        5,
        None,
        {"type": "record"},
        {"type": "record", "name": "R", "fields": [{"name": f"f{n}", "type": "long"} for n in range(20_001)]},
        {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}] * 2},
    ],
)
def test_a_schema_that_cannot_be_used(schema: Any) -> None:
    """Failure mode S5."""
    assert len(avro([FRAME + varint(5), FRAME + b"\0" * 50], schema).unreadable) == 2


def test_a_schema_nested_without_end() -> None:
    kind: Any = "long"
    for _ in range(400):
        kind = {"type": "array", "items": kind}
    assert "nest deeper" in reasons(avro([FRAME + b"\0" + varint(5)], with_field(kind)))[100]


def json_of(data: bytes) -> Decoded:
    return decoder(route(data_type("json", event=EVENT))).decode(batch([data, as_json({"id": 5, "event": "created", "at": 1})]))


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"id":' + b"[" * 500_000,
        b'{"id":' + b"1" * 1_000_000 + b"}",
        b'{"id":1,"event":"created","at":' + b"9" * 5000 + b"}",
        b'{"id":1,"event":"created","at":1,"x":' + b"[" * 70 + b"]" * 69 + b"}",
        b'{"id":1,"id":1,"event":"created","at":1,"x":"' + b"y" * 2_000_000 + b'"}',
        b'{"event":"created","at":1e999,"id":1}',
        b'{"id":1,"event":"created","at":1,"x":"' + b"z" * (17 << 20) + b'"}',
    ],
)
def test_json_made_to_hurt(data: bytes) -> None:
    """Failure mode S3."""
    decoded = json_of(data)
    assert (keys(decoded), list(reasons(decoded))) == ([("CREATE", 5)], [100])


def test_an_unreadable_record_keeps_at_most_a_kilobyte() -> None:
    (record,) = json_of(b"[" * 1_000_000).unreadable
    assert (record.size, len(record.value or b"")) == (1_000_000, 1024)
