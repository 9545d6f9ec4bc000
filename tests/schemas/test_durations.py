"""Durations and instants: what people write is read exactly, and what could mean two things is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.durations import duration, instant, show


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("10m", 600),
        ("72h", 259200),
        ("7d", 604800),
        ("2w", 1209600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "72",
        72,
        1.5,
        None,
        True,
        "-1h",
        "1 h",
        " 1h",
        "1h ",
        "1h\n",
        "h",
        "1y",
        "1M",
        "1H",
        "١h",
        "1e3s",
        "inf s",
        "9" * 400 + "s",
        "36526d",
    ],
    ids=lambda v: repr(v)[:12],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(value)


@given(st.integers(0, 36525 * 86_400_000).map(lambda ms: timedelta(milliseconds=ms)))
def test_a_shown_duration_reads_back_the_same(value: timedelta) -> None:
    assert duration(show(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(hours=72), "72h"),
        (timedelta(days=90), "90d"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=10), "10m"),
        (timedelta(0), "0s"),
    ],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(value: timedelta, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    "text", ["2026-11-01T12:00:00Z", "2026-11-01T12:00:00+00:00", "2026-11-01T13:00:00+01:00", "2026-11-01 07:00-05:00"]
)
def test_an_instant_is_one_point_in_time_whatever_its_zone(text: str) -> None:
    assert instant(text) == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert instant(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-01",
        "2026-11-01T12:00:00",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-23:00",
    ],
)
def test_an_instant_that_cannot_be_placed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|neither"):
        instant(text)


def test_the_two_half_past_ones_of_an_autumn_night_are_an_hour_apart() -> None:
    assert instant("2026-10-25T01:30:00+00:00") - instant("2026-10-25T01:30:00+01:00") == timedelta(hours=1)
