"""The numbers that events carry, in every format: told of every record of the topic, whoever it concerns, if anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.formats import Decoder
from schemas.errors import SettingsError
from schemas.events import Decoded
from tests.consumer.formats.making import (
    EVENT,
    SOURCE_FIELDS,
    Schemas,
    as_avro,
    as_json,
    batch,
    change,
    data_type,
    decoder,
    examples,
    keys,
    reasons,
    route,
)

#: Enough that JSON records are read by a learnt form, and Avro ones in columns.
MANY = 300
ABSENT = object()
FIELDS: list[Any] = [
    {"name": "id", "type": "long"},
    {"name": "event", "type": "string"},
    {"name": "kind", "type": "string"},
    {"name": "at", "type": "long"},
]


def plain(sequence: Any) -> dict[str, Any]:
    return {"type": "record", "name": "Event", "fields": [*FIELDS, {"name": "seq", "type": sequence}]}


def envelope(sequence: Any) -> dict[str, Any]:
    row: Any = ["null", plain(sequence)]
    fields = [
        {"name": "before", "type": row, "default": None},
        {"name": "after", "type": ["null", "Event"], "default": None},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": SOURCE_FIELDS}},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"]},
    ]
    return {"type": "record", "name": "Envelope", "fields": fields}


#: Numbers as they should be, which are read in columns; and such that may be anything, and are read record by record.
NUMBER, ANYTHING = ["null", "long"], ["null", "long", "string", "double", "boolean"]
UNDER_AFTER = {name: f"after.{value}" if isinstance(value, str) else value for name, value in EVENT.items()}


@dataclass(frozen=True)
class Form:
    """One format: how the settings name it, and how a record is written."""

    format: str
    path: str
    shape: dict[str, Any]
    schema: Any
    write: Callable[[dict[str, Any]], bytes]
    table: str = "public.jobs"

    def decoder(self, *, sequence: bool = True, match: Any = None, others: Sequence[Any] = ()) -> Decoder:
        shape = self.shape | ({"sequence": self.path} if sequence else {})
        mine = data_type(self.format, event=shape, match=match or {})
        return decoder(route(mine), *others, schemas=Schemas(self.schema) if self.schema else None)


def outbox(row: dict[str, Any]) -> dict[str, Any]:
    return change("c", row)


def avro(sequence: Any) -> Form:
    schema = plain(sequence)
    return Form("avro", "seq", EVENT, schema, lambda r: as_avro(r, schema))


def debezium_avro(sequence: Any) -> Form:
    schema = envelope(sequence)
    return Form("debezium-avro", "after.seq", UNDER_AFTER, schema, lambda r: as_avro(outbox(r), schema))


LOOSE = {
    "json": Form("json", "seq", EVENT, None, as_json),
    "json in an envelope": Form("json", "seq", EVENT, None, lambda r: as_json({"schema": None, "payload": r})),
    "avro": avro(ANYTHING),
    "debezium-json": Form("debezium-json", "after.seq", UNDER_AFTER, None, lambda r: as_json(outbox(r))),
    "debezium-avro": debezium_avro(ANYTHING),
}
FORMS = LOOSE | {"avro in columns": avro(NUMBER), "debezium-avro in columns": debezium_avro(NUMBER)}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


@pytest.fixture(params=LOOSE)
def loose(request: pytest.FixtureRequest) -> Form:
    return LOOSE[request.param]


def event(key: Any, seq: Any, op: str = "created", kind: str = "job") -> dict[str, Any]:
    record = {"id": key, "event": op, "kind": kind, "at": 1_700_000_000_000_000 + key, "seq": seq}
    if seq is ABSENT:
        del record["seq"]
    return record


def numbers(decoded: Decoded) -> list[int]:
    assert decoded.numbers is not None
    return [int(number) for number in decoded.numbers]


def test_every_record_tells_its_number_in_the_order_of_the_log(form: Form) -> None:
    told = [7 * n + 2**40 for n in range(MANY)]
    decoded = form.decoder().decode(batch([form.write(event(n, seq)) for n, seq in enumerate(told)]))
    assert (numbers(decoded), decoded.unnumbered) == (told, 0)


def test_records_that_are_ignored_or_another_types_tell_theirs_too(form: Form) -> None:
    path = "kind" if form.path == "seq" else "after.kind"
    rows = [event(n, n, op=("created", "checksum")[n % 2], kind=("job", "foreign")[n // 2 % 2]) for n in range(MANY)]
    decoded = form.decoder(match={path: "job"}).decode(batch(list(map(form.write, rows))))
    assert len(keys(decoded)) == MANY // 4
    assert (numbers(decoded), decoded.unnumbered) == (list(range(MANY)), 0)


def test_without_the_setting_no_number_is_looked_for(form: Form) -> None:
    decoded = form.decoder(sequence=False).decode(batch([form.write(event(1, 5))]))
    assert (decoded.numbers, decoded.unnumbered) == (None, 0)


@pytest.mark.parametrize("odd", [None, "five", -3, 1.5, True, "-1", "05", ""])
def test_an_event_without_a_whole_number_is_read_all_the_same_and_counted(loose: Form, odd: Any) -> None:
    rows = [event(n, odd if n % 100 == 7 else n) for n in range(MANY)]
    decoded = loose.decoder().decode(batch(list(map(loose.write, rows))))
    assert (len(keys(decoded)), reasons(decoded)) == (MANY, {})
    assert (numbers(decoded), decoded.unnumbered) == ([n for n in range(MANY) if n % 100 != 7], 3)


def test_a_null_and_a_number_below_zero_are_none_in_columns_too(form: Form) -> None:
    rows = [event(n, {7: None, 8: -1}.get(n, n)) for n in range(MANY)]
    decoded = form.decoder().decode(batch(list(map(form.write, rows))))
    assert (len(keys(decoded)), reasons(decoded), decoded.unnumbered) == (MANY, {}, 2)
    assert numbers(decoded) == [n for n in range(MANY) if n not in (7, 8)]


def test_a_number_written_as_text_is_a_number_as_it_is_in_a_key(loose: Form) -> None:
    decoded = loose.decoder().decode(batch([loose.write(event(n, str(n) if n % 3 else n)) for n in range(MANY)]))
    assert numbers(decoded) == list(range(MANY))


@pytest.mark.parametrize("name", ["json", "json in an envelope", "debezium-json"])
def test_a_record_without_the_field_is_read_all_the_same(name: str) -> None:
    form = LOOSE[name]
    rows = [event(n, ABSENT if n % 2 else n) for n in range(MANY)]
    decoded = form.decoder().decode(batch(list(map(form.write, rows))))
    assert (len(keys(decoded)), decoded.unnumbered) == (MANY, MANY // 2)
    assert numbers(decoded) == list(range(0, MANY, 2))


def test_a_schema_without_the_field_is_read_all_the_same() -> None:
    older = {"type": "record", "name": "Event", "fields": FIELDS}
    mine = data_type("avro", event=EVENT | {"sequence": "seq"})
    reads = decoder(route(mine), schemas=Schemas(plain(NUMBER), older))
    values = [as_avro(event(1, 10), plain(NUMBER)), as_avro(event(2, ABSENT), older, 2), as_avro(event(3, 12), plain(NUMBER))]
    decoded = reads.decode(batch(values))
    assert (keys(decoded), reasons(decoded)) == ([("CREATE", n) for n in (1, 2, 3)], {})
    assert (numbers(decoded), decoded.unnumbered) == ([10, 12], 1)


def test_a_record_that_cannot_be_read_has_no_number_and_one_whose_key_alone_is_bad_has(form: Form) -> None:
    values = [form.write(event(n, n)) for n in range(MANY)]
    values[5] = values[5][:-4]
    decoded = form.decoder().decode(batch(values))
    assert list(reasons(decoded)) == [110]
    assert (numbers(decoded), decoded.unnumbered) == ([n for n in range(MANY) if n != 5], 1)
    if form.schema is None:
        values[5] = form.write(event(5, 5) | {"id": "x"})
        decoded = form.decoder().decode(batch(values))
        assert (list(reasons(decoded)), numbers(decoded)) == ([110], list(range(MANY)))


def test_a_damaged_record_never_has_its_neighbours_number(form: Form) -> None:
    values = [form.write(event(n, n)) for n in range(MANY)]
    values[6] = form.write(event(6, 6, kind="job" * 40))  # as unlike the others as the damaged one, and read beside it
    values[5] = values[5][:-4]
    decoded = form.decoder().decode(batch(values))
    assert numbers(decoded) == [n for n in range(MANY) if n != 5]


def test_tombstones_and_deletions_from_an_outbox_table_say_nothing_and_lack_no_number() -> None:
    form = LOOSE["debezium-json"]
    values = [form.write(event(1, 1)), None, as_json(change("d", None, event(1, 1))), form.write(event(2, 2))]
    decoded = form.decoder().decode(batch(values))
    assert (numbers(decoded), decoded.unnumbered, decoded.ignored) == ([1, 2], 0, 2)


def test_a_number_is_found_in_json_text_and_missed_where_that_text_is_none() -> None:
    mine = data_type("json", event=EVENT | {"sequence": "meta.n"})
    rows = [event(n, ABSENT) | {"meta": as_json({"n": n}).decode() if n != 9 else "{"} for n in range(MANY)]
    decoded = decoder(route(mine)).decode(batch(list(map(as_json, rows))))
    assert (len(keys(decoded)), reasons(decoded), decoded.unnumbered) == (MANY, {}, 1)
    assert numbers(decoded) == [n for n in range(MANY) if n != 9]


def test_data_types_that_share_a_topic_share_its_numbers() -> None:
    one = data_type("json", event=EVENT | {"sequence": "seq"}, match={"kind": "job"})
    two = data_type("json", event=EVENT, match={"kind": "upload"})
    reads = decoder(route(two, name="upload"), route(one))
    decoded = reads.decode(batch([as_json(event(n, n, kind=("job", "upload")[n % 2])) for n in range(MANY)]))
    assert numbers(decoded) == list(range(MANY))
    other = data_type("json", event=EVENT | {"sequence": "id"})
    with pytest.raises(SettingsError, match="cannot tell numbers at 'seq' and 'id'"):
        decoder(route(one), route(other, name="b"))


ODD = st.sampled_from([None, "7", "x", 2.0, True, -1, 2**63 - 1, 0, 12])


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(ODD, min_size=1, max_size=12), st.sampled_from(list(LOOSE)), st.booleans())
def test_a_number_is_the_same_however_the_record_is_read(odd: list[Any], name: str, among_many: bool) -> None:
    form = LOOSE[name]
    told = odd + (list(range(100, 100 + MANY)) if among_many else [])
    decoded = form.decoder().decode(batch([form.write(event(n, seq)) for n, seq in enumerate(told)]))
    wanted = [7 if seq == "7" else seq for seq in told if seq == "7" or (type(seq) is int and seq >= 0)]
    assert numbers(decoded) == wanted
    assert (len(keys(decoded)), decoded.unnumbered) == (len(told), len(told) - len(wanted))
