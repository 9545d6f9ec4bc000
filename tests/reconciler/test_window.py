"""Windows: what an operator may ask, where they start to the microsecond, and what is never silently outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.window import Plan, Since, microseconds
from schemas.errors import SettingsError
from schemas.events import NO_TIME
from schemas.verdict import Window

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def plan(since_us: int | None) -> Plan:
    return Plan(
        strategy="full",
        since_us=since_us,
        window=Window(strategy="full", since=None, until=NOW, evidence="operator", cannot_see=[]),
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("72h", NOW - timedelta(hours=72)),
        ("7d", NOW - timedelta(days=7)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("2026-11-01T12:00:00Z", NOW),
        ("2026-10-25T01:30:00+01:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("1969-12-31T23:59:59.999999Z", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_a_window_starts_where_the_operator_says_by_the_sources_clock(text: str, start: datetime) -> None:
    assert Since.read(text).start(NOW) == start


def test_no_since_is_everything() -> None:
    assert Since.read(None).start(NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "72",
        "-72h",
        "72 h",
        "soon",
        "2026-11-01",
        "2026-11-01T12:00:00",
        "2026-02-30T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "99999999d",
    ],
)
def test_an_impossible_window_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(SettingsError, match="means nothing") as caught:
        Since.read(text)
    assert "--since 72h" in (caught.value.hint or "")


def test_a_window_that_lies_ahead_of_the_sources_clock_is_refused() -> None:
    with pytest.raises(SettingsError, match="lies ahead of the source's clock"):
        Since.read("2026-11-01T12:00:00.000001Z").start(NOW)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_instant_is_kept_to_the_microsecond(at: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(at)) == at


@given(st.integers(-(10**18), 10**18), st.integers(-(10**18), 10**18))
def test_a_window_is_half_open(since: int, time: int) -> None:
    assert plan(since).inside(time) == (time >= since)
    assert plan(since).inside(since)
    assert not plan(since).inside(since - 1)


@pytest.mark.parametrize("since", [None, 0, 1 << 62])
def test_a_row_that_no_clock_can_place_is_never_outside(since: int | None) -> None:
    assert plan(since).inside(NO_TIME)


@given(st.integers(NO_TIME, (1 << 63) - 1))
def test_without_a_start_everything_is_inside(time: int) -> None:
    assert plan(None).inside(time)
