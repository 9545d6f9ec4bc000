"""Debezium's rules, in both encodings, column by column and record by record."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import Decoded
from tests.consumer.formats.making import (
    ENVELOPE,
    Schemas,
    as_avro,
    as_json,
    batch,
    change,
    data_type,
    decoder,
    keys,
    reasons,
    route,
    told,
)

SOURCE_TIME = 1_700_000_000_000_000


@pytest.fixture(params=["debezium-json", "debezium-json-enveloped", "debezium-avro"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def encode(record: Any, form: str) -> bytes:
    if form == "debezium-avro":
        return as_avro(record, ENVELOPE)
    return as_json({"schema": {"type": "struct"}, "payload": record} if form.endswith("enveloped") else record)


def decode(form: str, *records: Any, count: int = 1, **more: Any) -> Decoded:
    """`count` repeats the records, so that the column-wise reader sees many."""
    declared = data_type(form.removesuffix("-enveloped"), **more)
    reader = decoder(route(declared), schemas=Schemas(ENVELOPE))
    return reader.decode(batch([record if record is None else encode(record, form) for record in records] * count))


def test_a_create_and_a_snapshot_read_announce_the_row(form: str) -> None:
    decoded = decode(form, change("c", after=1), change("r", after=2))
    assert told(decoded) == [(100, "CREATE", 1, SOURCE_TIME), (102, "CREATE", 2, SOURCE_TIME)]


def test_a_delete_takes_its_key_from_before(form: str) -> None:
    assert keys(decode(form, change("c", after=5), change("d", before=1))) == [("CREATE", 5), ("DELETE", 1)]


def test_an_update_says_nothing(form: str) -> None:
    decoded = decode(form, change("u", after=1), change("u", after=1, before=1))
    assert (keys(decoded), decoded.unreadable, decoded.ignored) == ([], [], 2)


def test_an_update_that_moves_the_key_deletes_the_old_one_first(form: str) -> None:
    decoded = decode(form, change("c", after=7), change("u", after=2, before=1), change("c", after=8))
    assert [(o, op, key) for o, op, key, _ in told(decoded)] == [
        (100, "CREATE", 7),
        (102, "DELETE", 1),
        (102, "CREATE", 2),
        (104, "CREATE", 8),
    ]


def test_a_truncate_is_unreadable_and_says_why(form: str) -> None:
    assert reasons(decode(form, change("t"))) == {100: "truncate of public.jobs cannot be told per key"}


def test_messages_and_tombstones_are_ignored(form: str) -> None:
    decoded = decode(form, change("m"), None, change("c", after=1))
    assert (keys(decoded), decoded.ignored, decoded.unreadable) == ([("CREATE", 1)], 2, [])


def test_an_unknown_op_is_unreadable(form: str) -> None:
    assert "none of" in reasons(decode(form, change("x", after=1)))[100]
    assert "text" in reasons(decode(form, change(None, after=1)))[100]


def test_a_create_without_its_row_is_unreadable(form: str) -> None:
    assert reasons(decode(form, change("c"), change("d"))) == {
        100: "the key 'after.id' is null",
        102: "the key 'before.id' is null",
    }


def test_rows_of_another_table_on_the_same_topic_are_not_credited(form: str) -> None:
    decoded = decode(form, change("c", after=1, table="j_obs"), change("c", after=2, schema="other"))
    assert (keys(decoded), decoded.ignored) == ([], 2)


@pytest.mark.parametrize("written", ['"public"."jobs"', 'public."jobs"', '"jobs"', "Public.Jobs"])
def test_a_table_may_be_written_as_in_sql_and_its_events_still_count(form: str, written: str) -> None:
    decoded = decode(form, change("c", after=1), change("c", after=2, table="users"), table=written, key='"id"')
    assert (keys(decoded), decoded.unreadable, decoded.ignored) == ([("CREATE", 1)], [], 1)


def test_a_quoted_name_may_hold_the_dot_that_parts_schema_and_table() -> None:
    reader = decoder(route(data_type("debezium-json", table='"My Schema"."a.""b"""')), topic="p.My_Schema.a__b_")
    values = [as_json(change("c", after=n, schema="My Schema", table=name)) for n, name in enumerate(('a."b"', 'b"', "a"))]
    assert keys(reader.decode(batch(values, topic="p.My_Schema.a__b_"))) == [("CREATE", 0)]


@pytest.mark.parametrize("column", ['k"0', "a\\b", "a\tb"])
def test_a_key_column_may_have_any_name_that_a_table_allows(column: str) -> None:
    declared = data_type("debezium-json", key='"' + column.replace('"', '""') + '"')
    records = [change("c", {column: 1}), {"schema": {}, "payload": change("d", None, {column: 2})}, change("c", {"k": 3})]
    decoded = decoder(route(declared)).decode(batch([as_json(record) for record in records]))
    assert keys(decoded) == [("CREATE", 1), ("DELETE", 2)]
    assert len(reasons(decoded)) == 1


def test_a_record_that_names_no_schema_is_told_by_its_table_alone(form: str) -> None:
    assert keys(decode(form, change("c", after=1, schema=None))) == [("CREATE", 1)]


def test_a_collision_of_topic_names_is_told_apart_by_the_table_in_the_value() -> None:
    declared = data_type("debezium-json", table="public.a-b")
    reader = decoder(route(declared), topic="p.public.a_b")
    values = [as_json(change("c", after=1, table="a_b")), as_json(change("c", after=2, table="a-b"))]
    assert keys(reader.decode(batch(values, topic="p.public.a_b"))) == [("CREATE", 2)]


def test_a_partitions_own_topic_reports_the_partition_and_counts_for_its_parent() -> None:
    declared = data_type("debezium-json", table="public.jobs")
    reader = decoder(route(declared), topic="p.public.jobs_100")
    decoded = reader.decode(batch([as_json(change("c", after=1, table="jobs_100"))], topic="p.public.jobs_100"))
    assert keys(decoded) == [("CREATE", 1)]


def test_two_tables_on_one_topic_each_get_their_own(form: str) -> None:
    base = form.removesuffix("-enveloped")
    routes = [route(data_type(base), name="job"), route(data_type(base, table="public.users"), name="user")]
    reader = decoder(*routes, schemas=Schemas(ENVELOPE))
    decoded = reader.decode(batch([encode(change("c", after=1), form), encode(change("c", after=2, table="users"), form)]))
    assert (keys(decoded, "job"), keys(decoded, "user")) == ([("CREATE", 1)], [("CREATE", 2)])


def test_the_time_is_the_sources_commit_in_its_finest_unit(form: str) -> None:
    decoded = decode(form, change("c", after=1, ts_us=1_700_000_000_123_456), change("c", after=2, ts_ms=0))
    assert [time for *_, time in told(decoded)] == [1_700_000_000_123_456, 1_800_000_000_000_000]


@pytest.mark.parametrize("record", [{"ts_ms": 5}, {"status": "BEGIN", "id": "1", "event_count": None, "ts_ms": 1}])
def test_heartbeats_and_transaction_marks_are_ignored(record: dict[str, Any]) -> None:
    reader = decoder(route(data_type("debezium-json")))
    for value in (record, {"schema": None, "payload": record}):
        decoded = reader.decode(batch([as_json(value)]))
        assert (decoded.unreadable, decoded.ignored) == ([], 1)


def test_heartbeats_in_avro_are_ignored() -> None:
    schema = {"type": "record", "name": "Heartbeat", "fields": [{"name": "ts_ms", "type": "long"}]}
    reader = decoder(route(data_type("debezium-avro")), schemas=Schemas(schema))
    decoded = reader.decode(batch([as_avro({"ts_ms": 1}, schema)]))
    assert (decoded.unreadable, decoded.ignored) == ([], 1)


def test_a_flattened_stream_is_unreadable_for_nobody_can_tell_what_happened() -> None:
    decoded = decoder(route(data_type("debezium-json"))).decode(batch([as_json({"id": 1, "name": "x"})]))
    assert "unwrap" in reasons(decoded)[100]


def test_a_record_without_op_is_unreadable_whatever_table_it_names() -> None:
    record = change("c", after=1, table="other")
    del record["op"]
    decoded = decoder(route(data_type("debezium-json"))).decode(batch([as_json(record), as_json(change("c", after=1))]))
    assert (keys(decoded), list(reasons(decoded))) == ([("CREATE", 1)], [100])


OUTBOX_EVENT = {
    "key": "after.payload.model_record_id",
    "op": "after.event_name",
    "create": ["created"],
    "delete": ["deleted"],
    "time": "after.created_at",
}


def outbox(op: str, event: str, payload: Any, name: str = "job") -> dict[str, Any]:
    row = {"id": 1, "replicable_name": name, "event_name": event, "payload": payload, "created_at": "2024-05-01T00:00:00Z"}
    return change(op, **({"before": row} if op == "d" else {"after": row}), table="geo_events")


def outbox_schema() -> dict[str, Any]:
    fields = [
        {"name": n, "type": t}
        for n, t in (
            ("id", "long"),
            ("replicable_name", "string"),
            ("event_name", "string"),
            ("payload", ["null", "string"]),
            ("created_at", "string"),
        )
    ]
    row = {"type": "record", "name": "Value", "fields": fields}
    return {**ENVELOPE, "fields": [{"name": "before", "type": ["null", row]}, *ENVELOPE["fields"][1:]]}


@pytest.mark.parametrize("encoding", ["json", "json-object", "avro"])
def test_an_outbox_table_is_read_through_its_inserted_rows(encoding: str) -> None:
    declared = data_type(
        "debezium-avro" if encoding == "avro" else "debezium-json",
        event=OUTBOX_EVENT,
        match={"after.replicable_name": "job"},
    )

    def payload(key: int) -> Any:
        inner = {"model_record_id": key, "correlation_id": "é"}
        return inner if encoding == "json-object" else as_json(inner).decode()

    records = [
        outbox("c", "created", payload(1)),
        outbox("c", "deleted", payload(2)),
        outbox("r", "created", payload(3)),
        outbox("u", "created", payload(4)),
        outbox("d", "created", payload(5)),
        outbox("c", "updated", payload(6)),
        outbox("c", "created", payload(7), name="other"),
    ]
    schema = outbox_schema()
    values = [as_avro(record, schema) if encoding == "avro" else as_json(record) for record in records]
    decoded = decoder(route(declared), schemas=Schemas(schema)).decode(batch(values))
    assert keys(decoded) == [("CREATE", 1), ("DELETE", 2), ("CREATE", 3)]
    assert (decoded.unreadable, decoded.ignored) == ([], 4)
    assert {time for *_, time in told(decoded)} == {1_714_521_600_000_000}


@pytest.mark.parametrize("text", ["{", "5", "{}", '{"model_record_id": 1, "model_record_id": 2}', '{"model_record_id": 1.0}'])
def test_an_outbox_payload_that_cannot_be_read_spoils_only_its_own_record(text: str) -> None:
    declared = data_type("debezium-json", event=OUTBOX_EVENT)
    records = [outbox("c", "created", '{"model_record_id": 1}'), outbox("c", "created", text)]
    decoded = decoder(route(declared)).decode(batch([as_json(record) for record in records]))
    assert keys(decoded) == [("CREATE", 1)]
    assert list(reasons(decoded)) == [102]


def test_many_records_in_one_batch_agree_with_one_at_a_time(form: str) -> None:
    mixed = [
        change("c", after=1),
        change("d", before=2),
        change("u", after=3, before=4),
        change("t"),
        change("r", after=5),
        change("c"),
        change("u", after=6),
        change("m"),
        change("c", after=9, table="x"),
        change("d", before=-(2**63)),
    ]
    together = decode(form, *mixed, count=50)
    apart = [decode(form, record) for record in mixed]
    assert keys(together) == [event for one in apart for event in keys(one)] * 50
    assert [u.reason for u in together.unreadable] == [u.reason for one in apart for u in one.unreadable] * 50
