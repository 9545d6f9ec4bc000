"""Column by column against fastavro, record by record: on any schema, valid or damaged bytes, never a different value."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from consumer.formats import cursors
from consumer.formats.avro import AvroDecoder
from consumer.formats.avro_columns import Program
from consumer.formats.avro_schema import parse
from consumer.formats.paths import Shape
from schemas.events import Decoded
from tests.consumer.formats.making import Schemas, as_avro, batch, data_type, decoder, examples, reasons, route, told

SETTINGS = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # no explaining: it traces every line
)
LONGS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-70, 70),
    st.sampled_from([s * 2**p + d for s in (1, -1) for p in (31, 53, 55, 56, 62) for d in (-1, 0, 1)] + [2**63 - 1, -(2**63)]),
)
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": LONGS,
    "float": st.just(0.5),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=70),
    "string": st.text(max_size=70),
}
Typed = tuple[Any, st.SearchStrategy[Any]]


@pytest.fixture(scope="module", autouse=True)
def half_of_a_chunk_may_be_put_aside() -> Iterator[None]:
    """Chunks are small here: one in sixteen would be none."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cursors, "ASIDE", 2)
        yield


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> Typed:
    """A schema, and a strategy for its values."""
    kinds = ["plain"] * 4 + ["enum", "fixed", "logical"] + (["record", "array", "map", "optional", "union"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "plain":
        name = draw(st.sampled_from(sorted(PLAIN)))
        return name, PLAIN[name]
    if kind == "logical":
        return {"type": "string", "logicalType": "x"}, PLAIN["string"]
    name = "later"
    if kind == "enum":
        symbols = [f"s{n}" for n in range(draw(st.integers(1, 70)))]
        return {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
    if kind == "fixed":
        size = draw(st.integers(0, 20))
        return {"type": "fixed", "name": name, "size": size}, st.binary(min_size=size, max_size=size)
    inner, values = draw(types(depth=depth - 1))
    if kind == "array":
        return {"type": "array", "items": inner}, st.lists(values, max_size=5)
    if kind == "map":
        return {"type": "map", "values": inner}, st.dictionaries(st.text(max_size=5), values, max_size=4)
    if kind == "record":
        other, others = draw(types(depth=depth - 1))
        fields = [{"name": "a", "type": inner}, {"name": "id", "type": other}]
        return {"type": "record", "name": name, "fields": fields}, st.fixed_dictionaries({"a": values, "id": others})
    branch = inner if not isinstance(inner, list) else "long"
    branch_values = values if not isinstance(inner, list) else LONGS
    if kind == "union" and branch not in ("string", "long"):
        return ["string", branch, "long"], st.one_of(PLAIN["string"], branch_values, LONGS)
    return (["null", branch], st.one_of(st.none(), branch_values)) if branch != "null" else ("null", st.none())


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """A schema with the wanted fields somewhere among others, and records."""
    kind = draw(st.sampled_from(["int", "text"]))
    key = draw(
        st.sampled_from(["long", ["null", "long"], ["string", "long"]] if kind == "int" else ["string", ["null", "string"]])
    )
    key_values = LONGS if kind == "int" else st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
    symbols = ["created", "deleted", "x"]
    op = draw(st.sampled_from(["string", {"type": "enum", "name": "Op", "symbols": symbols}]))
    fields: list[tuple[str, Any, Any]] = [("key", key, key_values), ("op", op, st.sampled_from(symbols))]
    fields += [(f"f{n}", *draw(types())) for n in range(draw(st.integers(0, 5)))]
    fields = draw(st.permutations(fields))
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind, _ in fields]}
    named(schema, count())
    record = st.fixed_dictionaries({name: values for name, _, values in fields})
    return schema, draw(st.lists(record, min_size=1, max_size=12)), kind


def named(tree: Any, numbers: Iterator[int]) -> None:
    """Give every definition a name of its own."""
    if isinstance(tree, list):
        for branch in tree:
            named(branch, numbers)
    elif isinstance(tree, dict):
        if tree.get("name") == "later":
            tree["name"] = f"n{next(numbers)}"
        for part in ("type", "items", "values", "fields"):
            named(tree.get(part), numbers)


SHAPE = {"key": "key", "op": "op", "create": ["created"], "delete": ["deleted"]}


def reader(schema: Any, kind: str, *, columns: bool = True) -> AvroDecoder:
    made = decoder(route(data_type("avro", event=SHAPE), kind), schemas=Schemas(schema))
    assert isinstance(made, AvroDecoder)
    made._columnar = columns
    return made


def expected(records: list[dict[str, Any]], kind: str) -> list[Any]:
    return [record["key"] if kind == "int" else record["key"].encode() for record in records if record["op"] != "x"]


def found(decoded: Decoded) -> dict[int, Any]:
    return {offset: key for offset, _, key, _ in told(decoded)}


@SETTINGS
@given(worlds())
def test_valid_records_of_any_schema_are_read_exactly(world: tuple[dict[str, Any], list[dict[str, Any]], str]) -> None:
    schema, records, kind = world
    values = [as_avro(record, schema) for record in records]
    for columns in (True, False):
        decoded = reader(schema, kind, columns=columns).decode(batch(values))
        assert not decoded.unreadable, reasons(decoded)
        assert [key for *_, key, _ in told(decoded)] == expected(records, kind)


@SETTINGS
@given(worlds(), st.data())
def test_damaged_records_never_give_another_value_than_fastavro(
    world: tuple[dict[str, Any], list[dict[str, Any]], str], data: st.DataObject
) -> None:
    schema, records, kind = world
    values = [as_avro(record, schema) for record in records for _ in range(4)]
    damaged = [data.draw(damage(value)) if n % 4 else value for n, value in enumerate(values)]
    decoded = reader(schema, kind).decode(batch(damaged))
    slowly = reader(schema, kind, columns=False).decode(batch(damaged))
    assert told(decoded) == told(slowly)
    assert reasons(decoded) == reasons(slowly)
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    for offset, key in found(decoded).items():
        theirs = fastavro_key(damaged[(offset - 100) // 2], parsed)
        if theirs is not None and theirs[0] == len(damaged[(offset - 100) // 2]):
            assert key == (theirs[1].encode() if isinstance(theirs[1], str) and kind == "text" else theirs[1])
    undamaged = {100 + 2 * n for n in range(0, len(values), 4)}
    assert not undamaged & set(reasons(decoded)), "a neighbour was spoiled"


@st.composite
def damage(draw: st.DrawFn, value: bytes) -> bytes:
    body = bytearray(value[5:])
    for _ in range(draw(st.integers(0, 3))):
        if body:
            at = draw(st.integers(0, len(body) - 1))
            how = draw(st.sampled_from(["flip", "cut", "add", "set"]))
            if how == "flip":
                body[at] ^= 1 << draw(st.integers(0, 7))
            elif how == "set":
                body[at] = draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
            elif how == "cut":
                del body[at : at + draw(st.integers(1, 4))]
            else:
                body[at:at] = draw(st.binary(min_size=1, max_size=11))
    return value[:5] + bytes(body)


def fastavro_key(value: bytes, schema: Any) -> tuple[int, Any] | None:
    """Where fastavro stops, and the key it read; None where it refuses."""
    stream = io.BytesIO(value)
    stream.read(5)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except Exception:  # noqa: BLE001 - whatever it raises, it refused
        return None
    assert isinstance(record, dict)
    return stream.tell(), record["key"]


RECURSIVE = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "key", "type": "long"}, {"name": "op", "type": "string"}, {"name": "next", "type": ["null", "R"]}],
}


def test_a_recursive_schema_goes_record_by_record() -> None:
    assert Program.of(parse([json.dumps(RECURSIVE)]), Shape.of([("key",)])) is None
    record: Any = None
    for key in range(5):
        record = {"key": key, "op": "created", "next": record}
    assert found(reader(RECURSIVE, "int").decode(batch([as_avro(record, RECURSIVE)]))) == {100: 4}


def test_random_bytes_are_never_half_read() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": n, "type": "string"} for n in ("a", "op", "key", "b")]}

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
    def agree(bodies: list[bytes]) -> None:
        values = [b"\0\0\0\0\x01" + body for body in bodies]
        quick, slow = (reader(schema, "text", columns=columns).decode(batch(values)) for columns in (True, False))
        assert (told(quick), reasons(quick)) == (told(slow), reasons(slow))

    agree()


def test_a_block_that_is_larger_than_its_record_is_refused_beside_others() -> None:
    """Found by a random example: its items end where the record does, but the size before them is that of no such block."""
    flags = {"name": "f", "type": {"type": "array", "items": "boolean"}}
    fields = [{"name": "op", "type": "string"}, flags, {"name": "key", "type": "long"}]
    schema = {"type": "record", "name": "R", "fields": fields}
    head = b"\0\0\0\0\x01\x0ecreated"
    sound, sized, outside = head + b"\x02\0\0\x02", head + b"\x01\x02\0\0\x04", head + b"\x01\xc4\x02\0\0\x06"
    values = [sound, sized, outside] * 4
    decoded = reader(schema, "int").decode(batch(values))
    slowly = reader(schema, "int", columns=False).decode(batch(values))
    assert reasons(decoded) == reasons(slowly)
    assert set(reasons(decoded)) == {100 + 2 * n for n in range(2, 12, 3)}
    assert told(decoded) == told(slowly)
