"""When the log speaks: its silence means something only between its first event and the fence, less the holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.coverage import UNDATED, Coverage, Lost
from schemas.verdict import Cause


def cause(coverage: Coverage, time_us: int, *, after: bool = True) -> Cause | None:
    (found,) = coverage.causes(np.array([time_us], np.int64), after_first_key=np.array([after]))
    return found


WHOLE = Coverage(start_us=100, from_the_beginning=True, trimmed=False)
TRIMMED = Coverage(start_us=100, from_the_beginning=False, trimmed=True)


@pytest.mark.parametrize("time_us", [0, 100, UNDATED, (1 << 63) - 1])
def test_a_log_that_never_spoke_of_a_type_says_nothing_by_its_silence(time_us: int) -> None:
    assert cause(Coverage.nothing(), time_us) is Cause.OUTSIDE_COVERAGE


@pytest.mark.parametrize(
    ("time_us", "found"), [(99, Cause.OUTSIDE_COVERAGE), (100, None), (101, None), (-(1 << 62), Cause.OUTSIDE_COVERAGE)]
)
def test_coverage_begins_with_its_first_event(time_us: int, found: Cause | None) -> None:
    assert cause(WHOLE, time_us) is found


def test_before_a_log_that_retention_trimmed_it_is_retention_that_is_named() -> None:
    assert cause(TRIMMED, 99) is Cause.BELOW_RETENTION


@pytest.mark.parametrize(
    ("coverage", "after", "found"),
    [(WHOLE, True, None), (WHOLE, False, Cause.UNKNOWN), (TRIMMED, True, Cause.UNKNOWN), (TRIMMED, False, Cause.UNKNOWN)],
)
def test_a_row_without_a_time_is_judged_only_by_a_log_read_from_its_beginning(
    coverage: Coverage, after: bool, found: Cause | None
) -> None:
    assert cause(coverage, UNDATED, after=after) is found


@pytest.mark.parametrize(
    ("lost", "time_us", "unread"),
    [
        (Lost(from_us=200, to_us=300), 199, False),
        (Lost(from_us=200, to_us=300), 200, True),
        (Lost(from_us=200, to_us=300), 300, True),
        (Lost(from_us=200, to_us=300), 301, False),
        (Lost(from_us=None, to_us=300), 100, True),
        (Lost(from_us=200, to_us=None), 1 << 62, True),
        (Lost(from_us=None, to_us=None), 150, True),
    ],
)
def test_within_a_hole_nobody_can_say_and_both_its_ends_belong_to_it(lost: Lost, time_us: int, unread: bool) -> None:
    coverage = Coverage(start_us=100, from_the_beginning=False, trimmed=False, lost=(lost,))
    assert (cause(coverage, time_us) is Cause.UNREAD) is unread


times = st.integers(0, 60)
spans = st.builds(Lost, from_us=st.none() | times, to_us=st.none() | times)


@given(times, st.lists(spans, max_size=3), st.booleans(), st.lists(times, max_size=20))
def test_every_row_is_judged_alone_and_only_where_the_log_heard(
    start: int, lost: list[Lost], trimmed: bool, rows: list[int]
) -> None:
    coverage = Coverage(start_us=start, from_the_beginning=False, trimmed=trimmed, lost=tuple(lost))
    column = np.array(rows, np.int64)
    told = coverage.causes(column, after_first_key=np.ones(len(rows), np.bool_))
    for row, found in zip(rows, told, strict=True):
        heard = row >= start and not any(
            (hole.from_us is None or row >= hole.from_us) and (hole.to_us is None or row <= hole.to_us) for hole in lost
        )
        assert (found is None) == heard
