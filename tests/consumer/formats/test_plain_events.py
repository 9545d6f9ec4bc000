"""Events as the settings' `event` block describes them, in JSON and in Avro."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from schemas.errors import SettingsError
from schemas.events import NO_TIME, Decoded
from tests.consumer.formats.making import (
    EVENT,
    Schemas,
    as_avro,
    as_json,
    batch,
    data_type,
    decoder,
    keys,
    reasons,
    route,
    told,
)

AT = 1_700_000_000_000_000


def schema(key: Any = "long", at: Any = "long") -> dict[str, Any]:
    fields = [("id", key), ("event", ["null", "string"]), ("kind", "string"), ("at", at)]
    return {"type": "record", "name": "Event", "fields": [{"name": n, "type": t} for n, t in fields]}


def event(key: Any, op: Any = "created", kind: str = "job", at: Any = AT) -> dict[str, Any]:
    return {"id": key, "event": op, "kind": kind, "at": at}


@pytest.fixture(params=["json", "avro"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def decode(form: str, *records: Any, kinds: Any = "int", shape: Any = None, avro: Any = None, **more: Any) -> Decoded:
    avro = avro or schema("long" if kinds == "int" else "string")
    shape = shape or EVENT
    key = "id" if isinstance(shape["key"], str) else ["a", "b"]
    declared = data_type(form, event=shape, key=key, **more)
    values = [as_json(record) if form == "json" else as_avro(record, avro) for record in records]
    return decoder(route(declared, kinds), schemas=Schemas(avro)).decode(batch(values, more.get("timestamps")))


def test_creations_and_deletions_are_told_with_key_time_and_offset(form: str) -> None:
    decoded = decode(form, event(1), event(2, "deleted", at=AT + 1))
    assert told(decoded) == [(100, "CREATE", 1, AT), (102, "DELETE", 2, AT + 1)]
    assert (decoded.batches[0].topic, decoded.batches[0].partition) == ("p.public.jobs", 3)


def test_other_ops_are_ignored_and_counted(form: str) -> None:
    decoded = decode(form, event(1, "checksum_succeeded"), event(2))
    assert (keys(decoded), decoded.ignored) == ([("CREATE", 2)], 1)


def test_an_op_that_is_null_is_unreadable(form: str) -> None:
    assert "'event' must be text" in reasons(decode(form, event(1, None)))[100]


def test_records_that_match_no_data_type_are_ignored_and_counted(form: str) -> None:
    decoded = decode(
        form, event(1, kind="other"), event(2), event("x" if form == "json" else 3, kind="o"), match={"kind": "job"}
    )
    assert (keys(decoded), decoded.ignored, decoded.unreadable) == ([("CREATE", 2)], 2, [])


def test_one_record_can_concern_several_data_types(form: str) -> None:
    routes = [
        route(data_type(form, event=EVENT, match=match), name=name) for name, match in (("a", {"kind": "job"}), ("b", {}))
    ]
    values = [as_json(r) if form == "json" else as_avro(r, schema()) for r in (event(1), event(2, kind="x"))]
    decoded = decoder(*routes, schemas=Schemas(schema())).decode(batch(values))
    assert (keys(decoded, "a"), keys(decoded, "b")) == ([("CREATE", 1)], [("CREATE", 1), ("CREATE", 2)])


def test_what_one_data_type_can_read_stays_though_another_cannot(form: str) -> None:
    routes = [
        route(data_type(form, event=EVENT | {"key": key}), kind, name)
        for key, kind, name in (("id", "int", "a"), ("kind", "uuid", "b"))
    ]
    value = as_json(event(1)) if form == "json" else as_avro(event(1), schema())
    decoded = decoder(*routes, schemas=Schemas(schema())).decode(batch([value]))
    assert keys(decoded, "a") == [("CREATE", 1)]
    assert reasons(decoded) == {100: "the key 'kind' is not a valid uuid key"}


def test_two_routes_of_one_topic_must_agree_on_the_format() -> None:
    with pytest.raises(SettingsError, match="cannot be 'avro'"):
        decoder(route(data_type("avro", event=EVENT)), route(data_type("json", event=EVENT)), schemas=Schemas())


EDGES = [
    0,
    1,
    -1,
    *(sign * 2**power + step for power in (31, 32, 53, 55, 56, 62) for sign in (1, -1) for step in (-1, 0, 1)),
    2**63 - 1,
    -(2**63),
    2**63 - 2,
    -(2**63) + 1,
]


def test_integers_are_exact_to_64_bits_with_sign(form: str) -> None:
    assert [key for _, key in keys(decode(form, *map(event, EDGES)))] == EDGES


@pytest.mark.parametrize(
    "value",
    [
        "1.0",
        "1e3",
        "true",
        '"12x"',
        "null",
        '"0012"',
        '"-0"',
        '""',
        "[1]",
        '{"a": 1}',
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551617",
        "1e400",
        "9" * 4301,
        '"１２"',
        '"+1"',
        '" 1"',
    ],
)
def test_a_json_key_that_is_no_integer_is_quarantined_never_coerced(value: str) -> None:
    text = f'{{"id": {value}, "event": "created", "at": 1700000000}}'
    decoded = decoder(route(data_type("json", event=EVENT))).decode(batch([text.encode(), as_json(event(7))]))
    assert (keys(decoded), list(reasons(decoded))) == ([("CREATE", 7)], [100])


def test_decimal_text_is_a_fine_integer_key(form: str) -> None:
    decoded = decode(form, event("12"), event("-9223372036854775808"), avro=schema("string"))
    assert [key for _, key in keys(decoded)] == [12, -(2**63)]


def test_reasons_never_quote_the_record() -> None:
    values = [event("hunter2"), event(1, ["hunter2"]), event(1, at="hunter2"), {"hunter2": 1}, event({"hunter2": 1})]
    decoded = decoder(route(data_type("json", event=EVENT))).decode(batch([as_json(value) for value in values]))
    assert len(decoded.unreadable) == 5
    assert not any("hunter2" in reason or len(reason) > 200 for reason in reasons(decoded).values())


def test_a_uuid_is_stored_as_its_16_bytes_whatever_its_spelling(form: str) -> None:
    drawn = [uuid.UUID(int=n) for n in (0, 1, 2**128 - 1, 0x1234567890ABCDEF << 60)]
    spelt = [spell(one) for one in drawn for spell in (str, lambda u: str(u).upper(), lambda u: u.hex, lambda u: f"{{{u}}}")]
    decoded = decode(form, *map(event, spelt), kinds="uuid")
    found = decoded.batches[0].keys
    assert found.dtype == "S16"
    assert [key.ljust(16, b"\0") for key in found.tolist()] == [one.bytes for one in drawn for _ in range(4)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "12345678-1234-1234-1234-12345678901",
        "g2345678-1234-1234-1234-123456789012",
        "12345678_1234-1234-1234-123456789012",
        "\x10" * 36,
        "12345678-1234-1234-1234-1234567890é",
    ],
)
def test_what_is_no_uuid_is_quarantined(form: str, text: str) -> None:
    good = str(uuid.uuid4())
    decoded = decode(form, event(good), event(text), event(good), kinds="uuid")
    assert (len(keys(decoded)), list(reasons(decoded))) == (2, [102])


def test_text_keys_are_taken_byte_by_byte(form: str) -> None:
    texts = ["", "a", "key/1-é", " padded ", "Ünïcode" * 30, "\U0001f600", "a\\b\x1fc"]
    assert [key.decode() for _, key in keys(decode(form, *map(event, texts), kinds="text")) if isinstance(key, bytes)] == texts


def test_text_keys_that_postgresql_cannot_hold_are_quarantined(form: str) -> None:
    decoded = decode(form, event("a\0b"), event("x" * 2705), event("x" * 2704), event("y\0"), kinds="text")
    assert (len(keys(decoded)), list(reasons(decoded))) == (1, [100, 102, 106])
    assert "is 2705 bytes long; an index entry holds at most 2704" in reasons(decoded)[102]


def test_composite_keys_agree_with_the_key_type(form: str) -> None:
    kinds = ["text", "uuid"]
    rows = [("a", uuid.UUID(int=1)), ("b/\\", uuid.UUID(int=2**127)), ("\x1f", uuid.UUID(int=0))]
    records = [{"id": text, "kind": str(one), "event": "created", "at": AT} for text, one in rows]
    decoded = decode(form, *records, kinds=kinds, shape=EVENT | {"key": ["id", "kind"]}, avro=schema("string"))
    expected = route(data_type("json", key=["a", "b"], event=EVENT | {"key": ["id", "kind"]}), kinds).key_type
    assert [key for _, key in keys(decoded)] == [expected.canonical((text, one)) for text, one in rows]


def test_without_an_op_every_record_is_a_creation_and_the_brokers_time_counts(form: str) -> None:
    shape = {"key": "id"}
    reader = decoder(route(data_type(form, event=shape)), schemas=Schemas(schema()))
    assert reader.needs_timestamps
    values = [as_json(event(n)) if form == "json" else as_avro(event(n), schema()) for n in (1, 2)]
    assert told(reader.decode(batch(values, [1_700_000_000_000, -1]))) == [(100, "CREATE", 1, AT), (102, "CREATE", 2, NO_TIME)]


def test_a_time_that_is_null_is_unknown(form: str) -> None:
    decoded = decode(form, event(1, at=None), event(2), avro=schema(at=["null", "long"]))
    assert [time for *_, time in told(decoded)] == [NO_TIME, AT]


def test_a_field_that_is_missing_is_named(form: str) -> None:
    shape = EVENT | {"key": "nope"}
    assert reasons(decode(form, event(1), shape=shape)) == {100: "the record has no field 'nope'"}


def test_plain_json_may_stand_in_connects_envelope() -> None:
    reader = decoder(route(data_type("json", event=EVENT)))
    enveloped = [{"schema": schema, "payload": event(key)} for key, schema in ((1, {"type": "struct", "id": 5}), (2, None))]
    odd = [{"schema": "v1", "payload": event(3)}, {"payload": event(4)}, {"schema": None, "payload": None}]
    for _ in range(2):  # the second time it expects envelopes
        decoded = reader.decode(batch([*map(as_json, enveloped), as_json(event(9)), *map(as_json, odd)]))
        assert keys(decoded) == [("CREATE", 1), ("CREATE", 2), ("CREATE", 9)]
        assert (list(reasons(decoded)), decoded.ignored) == ([106, 108], 1)


def test_a_record_with_fields_of_those_names_is_no_envelope() -> None:
    shape = EVENT | {"key": "payload.id"}
    record = {"schema": {}, "payload": {"id": 5, "event": "deleted"}, "event": "created", "at": AT}
    assert keys(decoder(route(data_type("json", event=shape))).decode(batch([as_json(record)]))) == [("CREATE", 5)]


@pytest.mark.parametrize(
    "text",
    [
        '{"id": 1, "id": 2, "event": "created", "at": 1}',
        '{"id": 1, "event": "created", "at": 1, "i\\u0064": 2}',
        '{"id": 1, "event": "created", "event": "deleted", "at": 1}',
        '{"id": 2, "id": 2, "event": "created", "at": 1}',
    ],
)
def test_a_wanted_name_given_twice_is_quarantined(text: str) -> None:
    decoded = decoder(route(data_type("json", event=EVENT))).decode(batch([text.encode(), as_json(event(3))] * 20))
    assert (keys(decoded), len(decoded.unreadable)) == ([("CREATE", 3)] * 20, 20)
    assert "twice" in decoded.unreadable[0].reason


def test_a_wanted_name_elsewhere_in_the_record_is_no_repetition() -> None:
    record = event(1) | {"other": {"id": 5, "at": ["id", "event"]}, "note": 'say "id"'}
    assert keys(decoder(route(data_type("json", event=EVENT))).decode(batch([as_json(record)]))) == [("CREATE", 1)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"x"',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"id": 1} x',
        b'{"id":1,"event":"created","at":1,"x":"\xff"}',
        b'{"id":1,"event":"created","at":1,"\xc3":1}',
        b'{"id":1,"event":"created","at":1,"x":NaN}',
        b"{'id': 1}",
        b'{"id":1,}',
        b'{"id":012}',
    ],
)
def test_what_is_no_json_object_spoils_only_itself(data: bytes) -> None:
    good = as_json(event(3))
    decoded = decoder(route(data_type("json", event=EVENT))).decode(batch([good, data, good, data]))
    assert (len(keys(decoded)), list(reasons(decoded))) == (2, [102, 106])


def test_a_match_on_a_number_or_truth_is_strict_about_types() -> None:
    declared = data_type("json", event=EVENT, match={"kind": 1})
    records = [event(n, kind=kind) for n, kind in enumerate((1, True, 1.0, "1", None, 2))]  # type: ignore[arg-type]
    assert keys(decoder(route(declared)).decode(batch(list(map(as_json, records))))) == [("CREATE", 0)]


def test_a_batch_of_any_size_is_decoded(form: str) -> None:
    values = [as_json(event(n)) if form == "json" else as_avro(event(n), schema()) for n in range(3)]
    reader = decoder(route(data_type(form, event=EVENT)), schemas=Schemas(schema()))
    assert len(reader.decode(batch([])).batches) == 0
    decoded = reader.decode(batch([*values, None] * 3000))
    assert (len(keys(decoded)), decoded.ignored) == (9000, 3000)
    assert decoded.batches[0].offsets.tolist() == [100 + 2 * n for n in range(12000) if n % 4 != 3]
