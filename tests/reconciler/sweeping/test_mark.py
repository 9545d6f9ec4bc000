"""The low mark: never later than the start of anybody who may still commit, and unknown where that is unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.fence import Transaction
from reconciler.sweeping.mark import Earlier, bound, safe_since
from reconciler.world import changed

AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def running(since: datetime | None) -> Transaction:
    return Transaction(handle="1/1", pid=1, user="app", application="app", prepared=False, waited_for=True, since=since)


def prepared(at: datetime) -> Transaction:
    return Transaction(handle="gid", pid=None, user="app", application=None, prepared=True, waited_for=True, since=at)


def test_without_anybody_open_the_mark_is_the_clock() -> None:
    assert bound(AT, [], []) == (AT, None)


def test_the_oldest_of_those_open_is_the_mark() -> None:
    assert bound(AT, [running(AT - MINUTE), running(AT - 3 * MINUTE)], []) == (AT - 3 * MINUTE, None)


def test_a_start_that_nobody_tells_leaves_no_mark_and_says_who() -> None:
    low, why = bound(AT, [running(None), running(AT - MINUTE)], [])
    assert low is None
    assert why is not None
    assert "pid 1" in why


def test_a_prepared_transaction_is_bounded_by_the_mark_before_it_was_prepared() -> None:
    """When it was prepared says nothing of when it began."""
    marks = [Earlier(at=AT - 60 * MINUTE, low=AT - 90 * MINUTE), Earlier(at=AT - 5 * MINUTE, low=AT - 5 * MINUTE)]
    assert bound(AT, [prepared(AT - 10 * MINUTE)], marks) == (AT - 90 * MINUTE, None)
    assert bound(AT, [prepared(AT - 70 * MINUTE)], marks)[0] is None
    assert bound(AT, [prepared(AT - 10 * MINUTE)], [Earlier(at=AT - 60 * MINUTE, low=None)])[0] is None


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.booleans()), max_size=6), st.lists(st.integers(0, 100)))
def test_the_mark_is_never_later_than_the_true_start_of_anyone_open(open_: Any, looks: list[int]) -> None:
    """Minutes before the mark: begun, prepared. Earlier marks are those that a look at that minute would have made."""
    people = [(max(a, b), min(a, b), is_prepared) for a, b, is_prepared in open_]

    def seen(minute: int) -> Earlier:
        at = AT - minute * MINUTE
        return Earlier(at=at, low=min([at] + [AT - begun * MINUTE for begun, _, _ in people if begun >= minute]))

    listed = [prepared(AT - p * MINUTE) if is_prepared else running(AT - b * MINUTE) for b, p, is_prepared in people]
    low, why = bound(AT, listed, [seen(minute) for minute in looks])
    assert (low is None) is (why is not None)
    if low is not None:
        assert all(low <= AT - begun * MINUTE for begun, _, _ in people)


def test_clocks_may_differ_by_the_skew() -> None:
    assert safe_since(AT, timedelta(seconds=5)) == AT - timedelta(seconds=5)
    assert safe_since(None, timedelta(seconds=5)) is None


def test_what_of_the_world_has_changed_is_told_in_words() -> None:
    before = {"source table": "public.items (oid 1)", "scope": [["project_id", "in", [1]]]}
    assert changed(before, before) == []
    assert changed(before, before | {"source table": "public.items (oid 2)"}) == [
        "source table was public.items (oid 1) and is public.items (oid 2)"
    ]
    assert len(changed({}, before)) == 2
