"""Any bytes at all, to every decoder: at most a refusal, never a wrong value, never an exception, and neighbours stay exact.

The measure is not ours: fastavro for Avro, the standard library's parser for JSON, and below a plain reading of what a
record says. Records that a decoder refuses are not shown to the measure (a bomb would go off there); what it tells, and
what it passes over in silence, must be what the measure reads. `make fuzz` does the same with many more examples.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consumer.formats import Decoder, json_layout
from consumer.formats.times import instant
from schemas.data_types import DataType
from schemas.errors import BadRecord
from schemas.events import NO_TIME, Decoded
from tests.consumer.formats.making import (
    ENVELOPE,
    EVENT,
    Schemas,
    as_avro,
    batch,
    change,
    data_type,
    decoder,
    examples,
    reasons,
    route,
    told,
)

FUZZ = settings(max_examples=examples(25), deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink])
NEIGHBOURS = 90
#: (op, key, time) of each event of a record.
Events = list[tuple[str, Any, int]]


class Refused(Exception):
    """The measure finds no meaning in a record."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A topic: its decoder, records as they should be, and what a record's bytes say by a measure that is not ours."""

    open: Callable[[], Decoder]
    valid: list[bytes]
    measure: Callable[[bytes], Events]


# -- what records say -------------------------------------------------------------------------------------------------


def plain_events(record: Any, kind: type) -> Events:
    """By the settings' `event` block of `making.EVENT`."""
    if not isinstance(record, Mapping) or type(record.get("event")) is not str:
        raise Refused
    op = {"created": "CREATE", "deleted": "DELETE"}.get(record["event"])
    if op is None:
        return []
    if type(record.get("id")) is not kind:
        raise Refused
    try:
        at = NO_TIME if record["at"] is None else instant(record["at"], None)
    except (BadRecord, KeyError):
        raise Refused from None
    return [(op, record["id"].encode() if kind is str else record["id"], at)]


def change_events(record: Any) -> Events:
    """By Debezium's envelope, and the table of `making.data_type`."""
    if not isinstance(record, Mapping):
        raise Refused
    roots = {"op", "before", "after", "source", "ts_ms", "ts_us"}
    if not roots & set(record) and all(isinstance(record.get(n, 0), Mapping | None) for n in ("schema", "payload")):
        record = record["payload"]
        if record is None:
            return []
    if "op" not in record:
        if set(record) <= {"ts_ms", "ts_us", "ts_ns"} or {"status", "event_count"} <= set(record) - {"before", "after"}:
            return []
        raise Refused
    op = record["op"]
    if any(found(record, "source", name) not in (None, wanted) for name, wanted in (("table", "jobs"), ("schema", "public"))):
        return []
    if op == "m":
        return []
    if op not in ("c", "r", "u", "d"):
        raise Refused
    old, new = found(record, "before", "id"), found(record, "after", "id")
    if op == "u" and (old is None or old == new):
        return []
    said = [("DELETE", old)] * (op in "ud") + [("CREATE", new)] * (op in "cru")
    if any(type(key) is not int for _, key in said):
        raise Refused
    clocks = [("source", "ts_us"), ("source", "ts_ms"), ("ts_us",), ("ts_ms",)]
    times = [value * (1000 if path[-1] == "ts_ms" else 1) for path in clocks if (value := found(record, *path)) and value > 0]
    return [(word, key, times[0] if times else NO_TIME) for word, key in said]


def found(record: Any, *path: str) -> Any:
    for name in path:
        if isinstance(record, str):
            record = strict_json(record.encode())
        record = record.get(name) if isinstance(record, Mapping) else None
    return record


def topic_of(form: str) -> DataType:
    return data_type(form) if form.startswith("debezium") else data_type(form, event=EVENT)


# -- Avro -------------------------------------------------------------------------------------------------------------

FLAT = {
    "type": "record",
    "name": "Flat",
    "fields": [{"name": "id", "type": "long"}, {"name": "event", "type": "string"}, {"name": "at", "type": "long"}],
}
DEEP: dict[str, Any] = {
    "type": "record",
    "name": "Deep",
    "fields": [
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "nothing", "type": {"type": "array", "items": "null"}},
        {"name": "counts", "type": {"type": "map", "values": ["null", "long"]}},
        {"name": "id", "type": ["null", "long", "string"]},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b", "c"]}},
        {"name": "sum", "type": {"type": "fixed", "name": "Sum", "size": 3}},
        {"name": "part", "type": ["null", {"type": "record", "name": "Part", "fields": [
            {"name": "a", "type": "int"}, {"name": "b", "type": "bytes"}, {"name": "c", "type": "boolean"}]}]},
        {"name": "event", "type": ["null", "string"]},
        {"name": "cost", "type": "double"},
        {"name": "at", "type": ["null", "long"]},
    ],
}  # fmt: skip
NEST = {
    "type": "record",
    "name": "Nest",
    "fields": [
        {"name": "next", "type": ["null", "Nest"]},
        {"name": "id", "type": "long"},
        {"name": "event", "type": "string"},
        {"name": "at", "type": "long"},
    ],
}
AT = 1_700_000_000_000


def flat(n: int, key: Any = None) -> dict[str, Any]:
    event = ("created", "deleted", "updated")[n % 7 % 3]
    return {"id": n * 7919 if key is None else key, "event": event, "at": AT + n}


def deep(n: int) -> dict[str, Any]:
    part = None if n % 3 else {"a": n - 40, "b": b"x" * (n % 5), "c": n % 2 == 0}
    more = {"kind": "abc"[n % 3], "sum": b"abc", "part": part, "cost": n / 3, "nothing": [None] * (n % 3)}
    return {**flat(n), **more, "tags": [f"t{n}"] * (n % 4), "counts": {"k": n} if n % 2 else {}}


def nest(n: int, more: int) -> dict[str, Any]:
    return {**flat(n), "next": nest(n + 1, more - 1) if more else None}


def changes() -> list[dict[str, Any]]:
    made = [change("c", after=n * 31) for n in range(NEIGHBOURS)]
    made[::9] = [change("d", before=n) for n in range(10)]
    made[5::30] = [change("u", after=n, before=n + 1) for n in range(3)]
    made[7], made[8] = change("m"), change("c", after=8, table="others")
    return made


def avro_world(
    records: list[dict[str, Any]], schema: Any, measure: Callable[[Any], Events], form: str = "avro", kind: str = "int"
) -> World:
    other = {**schema, "fields": [{"name": "x", "type": "long", "default": 0}, *schema["fields"]]}
    parsed = {number: fastavro.parse_schema(json.loads(json.dumps(one))) for number, one in enumerate((schema, other), 1)}

    def read(value: bytes) -> Events:
        if value[:1] != b"\0" or (number := int.from_bytes(value[1:5], "big")) not in parsed:
            raise Refused
        body = io.BytesIO(value[5:])
        try:
            record = fastavro.schemaless_reader(body, parsed[number], None, handle_unicode_errors="replace")
        except Exception as error:  # whatever it raises, it read no record
            raise Refused from error
        if body.read(1):
            raise Refused
        return measure(record)

    declared = topic_of(form)
    return World(
        open=lambda: decoder(route(declared, kind), schemas=Schemas(schema, other)),
        valid=[
            as_avro({"x": n, **record}, (schema, other)[n % 11 == 0], 1 + (n % 11 == 0)) for n, record in enumerate(records)
        ],
        measure=read,
    )


# -- JSON -------------------------------------------------------------------------------------------------------------


def strict_json(value: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs if name in WANTED]
        if len(set(names)) != len(names):
            raise Refused
        return dict(pairs)

    def constant(_name: str) -> Any:
        raise Refused

    try:
        return json.loads(value.decode(), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Refused from None


WANTED = {"id", "event", "at", "op", "before", "after", "source", "table", "schema", "ts_ms", "ts_us", "payload"}


def json_world(records: list[Any], measure: Callable[[Any], Events], form: str = "json", kind: str = "int") -> World:
    declared = topic_of(form)
    return World(
        open=lambda: decoder(route(declared, kind)),
        valid=[json.dumps(record, ensure_ascii=n % 2 == 0).encode() for n, record in enumerate(records)],
        measure=lambda value: measure(strict_json(value)),
    )


N = range(NEIGHBOURS)
WORLDS = {
    "avro, flat": avro_world([flat(n) for n in N], FLAT, lambda r: plain_events(r, int)),
    "avro, deep": avro_world([deep(n) for n in N], DEEP, lambda r: plain_events(r, int)),
    "avro, recursive": avro_world([nest(n, n % 4) for n in N], NEST, lambda r: plain_events(r, int)),
    "avro, text key": avro_world([{**deep(n), "id": f"kéy {n}"} for n in N], DEEP, lambda r: plain_events(r, str), kind="text"),
    "debezium-avro": avro_world(changes(), ENVELOPE, change_events, "debezium-avro"),
    "json": json_world([{**flat(n), "n": [n, {"x": "é"}], "cost": n / 3} for n in N], lambda r: plain_events(r, int)),
    "json, text key": json_world([flat(n, f'k"é{n}') for n in N], lambda r: plain_events(r, str), kind="text"),
    "debezium-json": json_world(changes(), change_events, "debezium-json"),
    "debezium-json, enveloped": json_world([{"schema": None, "payload": r} for r in changes()], change_events, "debezium-json"),
    "debezium-json, of one length": json_world([change("c", after=1000 + n) for n in N], change_events, "debezium-json"),
    "debezium-json, of one length, enveloped": json_world(
        [{"schema": {"type": "struct"}, "payload": change("c", after=1000 + n)} for n in N], change_events, "debezium-json"
    ),
}


# -- the bytes --------------------------------------------------------------------------------------------------------

#: What counts, lengths, branches and numbers may be at their edges; and what JSON trips over.
EDGES = [
    bytes([n]) for n in (0, 1, 2, 3, 4, 5, 126, 127, 128, 254, 255)
] + [
    b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01", b"\xff" * 10, b"\x80" * 9 + b"\x02", b"\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\x0f", b"\x80\x00", b"\0" * 8, b"\x02" * 70,
    b'"id":1,', b'{"id":2}', b'"', b"\\", b"\\u0069d", b"{", b"}", b"[" * 70, b"]", b",", b":", b"null", b"NaN", b"1e400",
    b"9" * 20, b"-", b".0", b"1e3", b"-0", b'"\\u006fp":"d",', b'"after":{"id":7},', b'"schema":null,',
    b" ", b"\t", b"\n", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"op":"d",', b'"payload":',
]  # fmt: skip


def spoilt(chance: random.Random, valid: list[bytes]) -> bytes | None:
    """A record as damage or malice makes it."""
    how = chance.randrange(12)
    if how == 0:
        return chance.choice(
            [b"", None, b"\0\0\0\0\x09\x02", b"\x01" + chance.randbytes(20), b"\0\0\0\0", b"{", b"[]", b"null"]
        )
    if how == 1:
        return chance.randbytes(chance.randrange(60))
    if how == 2:
        return b"\0\0\0\0" + bytes([chance.choice((1, 1, 2, 9))]) + b"".join(chance.choices(EDGES, k=chance.randrange(8)))
    body = bytearray(chance.choice(valid))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(body) + 1)
        end = at + chance.randrange(1, 12)
        step = chance.randrange(7)
        if step == 0 and at < len(body):
            body[at] ^= 1 << chance.randrange(8)
        elif step == 1:
            body[at : at + 1] = chance.choice(EDGES)
        elif step == 2:
            body[at:at] = chance.choice(EDGES)
        elif step == 3:
            del body[at:end]
        elif step == 4:
            del body[at:]
        elif step == 5:
            body[at:at] = body[chance.randrange(len(body) + 1) :][: chance.randrange(1, 40)]
        else:
            body += chance.choice(valid)[chance.choice((0, 5)) :]
    return bytes(body)


def by_offset(decoded: Decoded) -> dict[int, Events]:
    events: dict[int, Events] = {}
    for offset, op, key, at in told(decoded):
        events.setdefault(offset, []).append((op, key, at))
    return events


def held(world: World, decoded: Decoded, values: list[bytes | None], whole: set[int]) -> None:
    """What was decoded of these values is what the measure reads; those `whole` are refused only where it refuses them."""
    events, refused = by_offset(decoded), reasons(decoded)
    assert not set(events) & set(refused)
    assert len(values) == len(events) + len(refused) + decoded.ignored
    for row, value in enumerate(values):
        offset = 100 + 2 * row
        if value is None:
            assert offset not in {*events, *refused}, "a tombstone says nothing"
        elif offset not in refused:
            assert events.get(offset, []) == world.measure(value), value
        elif row in whole:
            raise AssertionError(f"a sound record was refused: {refused[offset]}: {value!r}")


@pytest.mark.parametrize("name", WORLDS)
def test_the_measure_reads_every_sound_record(name: str) -> None:
    world = WORLDS[name]
    decoded = world.open().decode(batch(world.valid))
    held(world, decoded, list(world.valid), set(range(NEIGHBOURS)))
    assert len(by_offset(decoded)) > NEIGHBOURS / 2


@pytest.mark.parametrize("name", WORLDS)
@FUZZ
@given(value=st.binary(max_size=200))
def test_any_bytes_alone(name: str, value: bytes) -> None:
    world = WORLDS[name]
    for one in (value, b"\0\0\0\0\x01" + value, b'{"id":' + value + b',"event":"created","at":1}'):
        held(world, world.open().decode(batch([one])), [one], set())


@pytest.mark.parametrize("name", WORLDS)
@FUZZ
@given(seed=st.integers(0, 2**64))
def test_spoilt_records_among_sound_ones(name: str, seed: int) -> None:
    """Failure modes 24, 25 and 88: in one chunk, by a decoder that has learnt or not; each says what it says alone."""
    world, chance = WORLDS[name], random.Random(seed)
    made = world.open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_layout, "MIN_ALIKE", chance.choice((2, json_layout.MIN_ALIKE, 10**6)))
        patch.setattr(json_layout, "DEEP", chance.choice((2, 3, json_layout.DEEP)))
        patch.setattr(json_layout, "WIDE", chance.choice((1, 2, json_layout.WIDE)))
        if chance.random() < 0.5:
            made.decode(batch(world.valid))
        values: list[bytes | None] = list(world.valid)
        odd = sorted(chance.sample(range(NEIGHBOURS), chance.choice((1, 1, 3, 12))))
        for row in odd:
            values[row] = spoilt(chance, world.valid)
        decoded = made.decode(batch(values))
        held(world, decoded, values, set(range(NEIGHBOURS)) - set(odd))
        for row in odd[:3]:
            alone = world.open().decode(batch([values[row]]))
            offset = 100 + 2 * row
            assert by_offset(alone).get(100, []) == by_offset(decoded).get(offset, [])
            assert reasons(alone).get(100) == reasons(decoded).get(offset)
        held(world, made.decode(batch(world.valid)), list(world.valid), set(range(NEIGHBOURS)))
