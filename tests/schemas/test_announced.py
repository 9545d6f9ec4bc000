"""The algebra of last words held to event lists: true whatever the order of reading, exact where the order is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.announced import Announced, fold, union
from schemas.keys import key_type
from schemas.ledger import Said

INT = key_type("int")
CREATE, DELETE = True, False


@dataclass(frozen=True, slots=True)
class Event:
    key: int
    op: bool
    time: int | None
    partition: int
    offset: int


Word = str | None
Words = dict[int, str]


def last_words(events: Sequence[Event]) -> Words:
    """Naively, per key: the last operation, by offset within a partition and by time between them."""
    words = {}
    for key in sorted({e.key for e in events}):
        mine = [e for e in events if e.key == key]
        ends = [max((e for e in mine if e.partition == p), key=lambda e: e.offset) for p in {e.partition for e in mine}]
        words[key] = _word(mine, ends)
    return words


def _word(mine: list[Event], ends: list[Event]) -> str:
    if len({e.op for e in ends}) > 1:
        times = [e.time for e in ends]
        known = [t for t in times if t is not None]
        newest = {e.op for e in ends if e.time == max(known, default=None)}
        if len(known) < len(times) or len(newest) > 1:
            return "unsure"
        (op,) = newest
    else:
        op = ends[0].op
    if op is DELETE:
        return "deleted"
    return "recreated" if any(e.op is DELETE for e in mine) else "created"


def segment(events: Sequence[Event]) -> Announced:
    """One flush as the tracker folds it: words by key, and the span of times, unknown where one time is."""
    words = last_words(events)
    times = [e.time for e in events if e.time is not None]
    dated = bool(events) and len(times) == len(events)
    return Announced(
        first_us=min(times) if dated else None,
        last_us=max(times) if dated else None,
        **{said.value: INT.of([k for k, w in words.items() if w == said.value]) for said in Said},
    )


def words_of(announced: Announced) -> Words:
    return {int(key): said.value for said, keys in announced.sets().items() for key in keys}


def naive_fold(segments: Sequence[Announced], *, ordered: bool) -> Words:
    """The rule of the module's first lines, key by key: later words win; contradictions of overlapping spans are unsure."""
    out: Words = {}
    for index, later in enumerate(segments):
        words = words_of(later)
        for key, word in words.items():
            before = out.get(key)
            doubted = not ordered and any(
                _overlap(earlier, later) and _contradict(words_of(earlier).get(key), word) for earlier in segments[:index]
            )
            if doubted:
                out[key] = "unsure"
            elif word == "created" and before in ("deleted", "recreated", "unsure"):
                out[key] = "recreated"
            else:
                out[key] = word
    return out


def _overlap(earlier: Announced, later: Announced) -> bool:
    return earlier.last_us is None or later.first_us is None or earlier.last_us >= later.first_us


def _contradict(earlier: Word, later: Word) -> bool:
    lives = {"created", "recreated"}
    return (
        (earlier in lives and later == "deleted")
        or (earlier == "deleted" and later in lives)
        or (earlier == "unsure" and later in {*lives, "deleted"})
    )


@st.composite
def histories(draw: st.DrawFn, *, partitions: int, undated: bool = False) -> list[list[Event]]:
    """A log and the flushes it was read in: times rise with offsets, but partitions are read at their own speed."""
    count = draw(st.integers(1, 14))
    logs: list[list[Event]] = [[] for _ in range(partitions)]
    for time in range(count):
        partition = draw(st.integers(0, partitions - 1))
        known = not (undated and draw(st.booleans()))
        event = Event(
            key=draw(st.integers(0, 3)),
            op=draw(st.booleans()),
            time=time * 10 if known else None,
            partition=partition,
            offset=len(logs[partition]),
        )
        logs[partition].append(event)
    flushes: list[list[Event]] = []
    while any(logs):
        flush: list[Event] = []
        for number, log in enumerate(logs):
            some = draw(st.integers(0, len(log)))
            flush += log[:some]
            logs[number] = log[some:]
        if flush:
            flushes.append(flush)
        elif not draw(st.booleans()):
            flushes.append([log.pop(0) for log in logs if log])
    return flushes


def true_words(flushes: Sequence[Sequence[Event]]) -> dict[int, bool]:
    """The last operation on each key, as it truly happened: the clock of these histories never lies."""
    ordered = sorted((e for flush in flushes for e in flush), key=lambda e: e.time or 0)
    return {e.key: e.op for e in ordered}


@given(histories(partitions=3))
@settings(max_examples=150)
def test_credit_and_deletion_are_never_claimed_against_the_truth(flushes: list[list[Event]]) -> None:
    told = words_of(fold(INT, [segment(f) for f in flushes], ordered=False))
    for key, op in true_words(flushes).items():
        assert told[key] in (("created", "recreated", "unsure") if op is CREATE else ("deleted", "unsure"))


@given(histories(partitions=3, undated=True), st.booleans())
@settings(max_examples=150)
def test_a_fold_is_the_rule_applied_key_by_key(flushes: list[list[Event]], ordered: bool) -> None:
    segments = [segment(f) for f in flushes]
    assert words_of(fold(INT, segments, ordered=ordered)) == naive_fold(segments, ordered=ordered)


@given(histories(partitions=1, undated=True))
@settings(max_examples=100)
def test_one_partition_is_exact_whatever_its_times(flushes: list[list[Event]]) -> None:
    everything = [e for flush in flushes for e in flush]
    assert words_of(fold(INT, [segment(f) for f in flushes], ordered=True)) == last_words(everything)


@given(histories(partitions=3))
def test_flushes_that_time_keeps_apart_leave_no_doubt(flushes: list[list[Event]]) -> None:
    events = sorted((e for flush in flushes for e in flush), key=lambda e: e.time or 0)
    segments = [segment([e]) for e in events]
    told = words_of(fold(INT, segments, ordered=False))
    assert {key: word != "deleted" for key, word in told.items()} == true_words(flushes)
    assert "unsure" not in told.values()


@given(histories(partitions=1, undated=True), st.data())
def test_merging_a_run_of_one_partitions_segments_changes_nothing(flushes: list[list[Event]], data: st.DataObject) -> None:
    segments = [segment(f) for f in flushes]
    assert words_of(fold(INT, _merged(segments, data, ordered=True), ordered=True)) == words_of(
        fold(INT, segments, ordered=True)
    )


@given(histories(partitions=3), st.data())
@settings(max_examples=150)
def test_merging_runs_of_segments_stays_true(flushes: list[list[Event]], data: st.DataObject) -> None:
    merged = _merged([segment(f) for f in flushes], data, ordered=False)
    told = words_of(fold(INT, merged, ordered=False))
    for key, op in true_words(flushes).items():
        assert told[key] in (("created", "recreated", "unsure") if op is CREATE else ("deleted", "unsure"))


def _merged(segments: list[Announced], data: st.DataObject, *, ordered: bool) -> list[Announced]:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(segments)), max_size=3)) | {0, len(segments)})
    return [fold(INT, segments[low:high], ordered=ordered) for low, high in pairwise(cuts)]


@given(histories(partitions=2), st.integers(0, 4), st.integers(0, 4))
def test_folding_a_slice_is_slicing_the_fold(flushes: list[list[Event]], low: int, high: int) -> None:
    segments = [segment(f) for f in flushes]
    of_slices = fold(INT, [s.cut(low, high) for s in segments], ordered=False)
    assert words_of(of_slices) == words_of(fold(INT, segments, ordered=False).cut(low, high))


@given(histories(partitions=3, undated=True))
def test_the_four_sets_stay_disjoint(flushes: list[list[Event]]) -> None:
    total = fold(INT, [segment(f) for f in flushes], ordered=False)
    assert sum(len(keys) for keys in total.sets().values()) == len(union(INT, total.sets().values()))
    assert set(union(INT, total.sets().values())) == {e.key for flush in flushes for e in flush}


@given(histories(partitions=2, undated=True))
@example([[Event(1, CREATE, None, 0, 0)], [Event(2, CREATE, 5, 0, 1)]])
def test_a_merged_span_is_known_only_where_every_part_is(flushes: list[list[Event]]) -> None:
    segments = [segment(f) for f in flushes]
    total = fold(INT, segments, ordered=False)
    times = [e.time for flush in flushes for e in flush]
    if None in times:
        assert (total.first_us, total.last_us) == (None, None)
    else:
        known = [t for t in times if t is not None]
        assert (total.first_us, total.last_us) == (min(known), max(known))


@pytest.mark.parametrize(("said", "credited"), [("created", True), ("recreated", True), ("deleted", False), ("unsure", False)])
def test_only_a_creation_as_last_word_is_credited(said: str, credited: bool) -> None:
    with_seven = {said: INT.of([7])}
    words = Announced(**{s.value: with_seven.get(s.value, INT.empty()) for s in Said}, first_us=None, last_us=None)
    assert (7 in words.credited) is credited


def test_a_deletion_that_was_followed_by_a_creation_is_remembered_through_a_merge() -> None:
    flushes = [[Event(1, DELETE, 1, 0, 0)], [Event(1, CREATE, 2, 0, 1)], [Event(1, CREATE, 3, 0, 2)]]
    merged = fold(INT, [segment(f) for f in flushes[1:]], ordered=True)
    total = fold(INT, [segment(flushes[0]), merged], ordered=True)
    assert words_of(total) == {1: "recreated"}


def test_a_tie_between_partitions_is_neither_credit_nor_blame() -> None:
    flushes = [[Event(1, CREATE, 5, 0, 0)], [Event(1, DELETE, 5, 1, 0)]]
    assert words_of(fold(INT, [segment(f) for f in flushes], ordered=False)) == {1: "unsure"}


def test_a_later_word_that_time_places_after_all_others_settles_a_doubt() -> None:
    flushes = [[Event(1, CREATE, 5, 0, 0)], [Event(1, DELETE, 5, 1, 0)], [Event(1, CREATE, 9, 0, 1)]]
    assert words_of(fold(INT, [segment(f) for f in flushes], ordered=False)) == {1: "recreated"}
