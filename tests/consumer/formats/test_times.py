"""Event times: units, zones, and columns that agree with one at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.formats import listed, times
from consumer.formats.times import Stamp, instant
from schemas.errors import BadRecord
from schemas.events import NO_TIME
from tests.consumer.formats.making import EVENT, Schemas, as_avro, as_json, batch, data_type, decoder, reasons, route, told

AT = 1_700_000_000_123_456
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_700_000_000, 1_700_000_000_000_000),
        (1_700_000_000_123, 1_700_000_000_123_000),
        (AT, AT),
        (AT * 1000 + 999, AT),
        (10**11 - 1, (10**11 - 1) * 10**6),
        (10**11, 10**14),
        (10**14, 10**14),
        (10**17, 10**14),
        (0, 0),
        (-1, -1_000_000),
    ],
)
def test_a_bare_number_tells_its_unit_by_its_size(value: int, expected: int) -> None:
    assert instant(value, None) == expected
    assert instant(float(value), None) == pytest.approx(expected, abs=64)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2023-11-14T22:13:20.123456Z", AT),
        ("2023-11-14 22:13:20.123456+00:00", AT),
        ("2023-11-14T23:13:20.123456+01:00", AT),
        ("2023-11-14T22:13:20.123456789Z", AT),
        ("2023-11-14T16:43:20.123456-05:30", AT),
        ("2023-11-14T22:13:20Z", AT - 123_456),
        ("20231114T221320Z", AT - 123_456),
        ("2023-11-14 22:13:20+00", AT - 123_456),
    ],
)
def test_text_is_iso_8601_with_a_zone(value: str, expected: int) -> None:
    assert instant(value, None) == expected


@pytest.mark.parametrize("value", ["2023-11-14T22:13:20", "2023-11-14", Stamp(AT, "us", local=True)])
def test_a_time_without_a_zone_needs_the_settings_to_name_it(value: Any) -> None:
    with pytest.raises(BadRecord, match=r"source\.zone"):
        instant(value, None)
    assert instant("2023-07-14T12:00:00", BERLIN) == instant("2023-07-14T10:00:00Z", None)
    assert instant("2023-12-14T12:00:00", BERLIN) == instant("2023-12-14T11:00:00Z", None)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "now",
        "2023-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2023-11-14T22:13:60Z",
        "2023-11-14T24:13:00Z",
        b"2023",
        None,
        True,
        "1700000000",
        10**30,
        -(10**30),
        1e300,
        float("inf"),
        Stamp(2**63, "ms"),
        Stamp(-(2**62), "us"),
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(BadRecord):
        instant(value, None)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.datetimes(
                timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14))])
            ).map(lambda at: at.isoformat(timespec="auto")),
            st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
            st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z", fullmatch=True),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_column_of_texts_agrees_with_one_at_a_time(values: list[str]) -> None:
    check_texts(values)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["2024-02-29T", "2023-02-29T", "2024-01-01 ", "9999-12-31T", "0001-01-01T", "2024-01-01x"]),
    st.sampled_from(["Z", "+00:00", "-05:30", "+14:00", "-23:59", ""]),
    st.lists(st.from_regex(r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9]", fullmatch=True), min_size=1, max_size=20),
    st.from_regex(r"(\.[0-9]{1,7})?", fullmatch=True),
    st.one_of(st.none(), st.tuples(st.integers(0, 7), st.sampled_from(list(" :9-ax/é")))),
)
def test_a_column_of_one_days_texts_agrees_too(
    day: str, zone: str, clocks: list[str], fraction: str, odd: tuple[int, str] | None
) -> None:
    if odd is not None:
        clocks[0] = clocks[0][: odd[0]] + odd[1] + clocks[0][odd[0] + 1 :]
    check_texts([f"{day}{clock}{fraction}{zone}" for clock in clocks])


def check_texts(values: list[str]) -> None:
    column, bad = listed.times(values, None, None)
    for row, value in enumerate(values):
        try:
            expected = instant(value, None)
        except BadRecord:
            assert bad is not None
            assert bad[row]
        else:
            assert column[row] == expected
            assert bad is None or not bad[row]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.sampled_from(["s", "ms", "us", "ns", None]))
def test_a_column_of_numbers_agrees_with_one_at_a_time(values: list[int], unit: str | None) -> None:
    column, bad = times.numbers(np.array(values, np.int64), unit)
    for row, value in enumerate(values):
        try:
            expected = instant(value if unit is None else Stamp(value, unit), None)
        except BadRecord:
            assert bad is not None
            assert bad[row]
        else:
            assert column[row] == expected
            assert bad is None or not bad[row]


def test_days_follow_the_calendar() -> None:
    start = datetime(1999, 12, 31, tzinfo=UTC)
    for day in range(0, 40_000, 7):
        at = start + timedelta(days=day)
        year, month, dom = (np.array([part], np.int32) for part in (at.year, at.month, at.day))
        assert times.days(year, month, dom)[0] == (at - datetime(1970, 1, 1, tzinfo=UTC)).days


AVRO_TIMES = [
    ({"type": "long", "logicalType": "timestamp-millis"}, AT // 1000, AT // 1000 * 1000),
    ({"type": "long", "logicalType": "timestamp-micros"}, AT, AT),
    ({"type": "long", "logicalType": "timestamp-nanos"}, AT * 1000 + 5, AT),
    ({"type": "long", "connect.name": "org.apache.kafka.connect.data.Timestamp"}, AT // 1000, AT // 1000 * 1000),
    ("long", AT, AT),
    ("string", "2023-11-14T22:13:20.123456Z", AT),
    ({"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"}, "2023-11-14T22:13:20.123456Z", AT),
    (["null", "long"], None, NO_TIME),
    ("double", 1_700_000_000.5, 1_700_000_000_500_000),
]
LOCAL_TIMES = [
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"},
]


def timed(kind: Any, value: Any, **source: Any) -> Any:
    schema = {
        "type": "record",
        "name": "E",
        "fields": [{"name": "id", "type": "long"}, {"name": "event", "type": "string"}, {"name": "at", "type": kind}],
    }
    # fastavro would take a number for a logical type too, but only as a datetime: write it as its plain type
    plain = "long" if isinstance(kind, dict) and kind["type"] == "long" else kind
    bare = json.loads(json.dumps(schema))
    bare["fields"][2]["type"] = plain
    reader = decoder(route(data_type("avro", event=EVENT, source=source)), schemas=Schemas(schema))
    return reader.decode(batch([as_avro({"id": n, "event": "created", "at": value}, bare) for n in range(3)]))


@pytest.mark.parametrize(("kind", "value", "expected"), AVRO_TIMES)
def test_avro_tells_the_unit_in_its_schema(kind: Any, value: Any, expected: int) -> None:
    assert [time for *_, time in told(timed(kind, value))] == [expected] * 3


@pytest.mark.parametrize("kind", LOCAL_TIMES)
def test_a_local_timestamp_is_unreadable_unless_the_zone_is_known(kind: Any) -> None:
    assert "source.zone" in reasons(timed(kind, AT))[100]
    assert [time for *_, time in told(timed(kind, AT, zone="Europe/Berlin"))] == [AT - 3_600_000_000] * 3


def test_a_naive_text_makes_the_record_unreadable_unless_the_zone_is_known() -> None:
    value = as_json({"id": 1, "event": "created", "at": "2023-11-14T23:13:20.123456"})
    assert "source.zone" in reasons(decoder(route(data_type("json", event=EVENT))).decode(batch([value])))[100]
    zoned = decoder(route(data_type("json", event=EVENT, source={"zone": "Europe/Berlin"})))
    assert [time for *_, time in told(zoned.decode(batch([value] * 40)))] == [AT] * 40
