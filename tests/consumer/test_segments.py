"""A flush folds to the last operation per key, by the order rules of design §2: held to a naive model."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.segments import fold_batches
from schemas.events import NO_TIME, EventBatch, Op
from schemas.keys import IntKey, IntKeys, Key, KeyType, TextKey
from schemas.ledger import Said

Event = tuple[int, int, Op, int]  # partition, key, op, time


def batches(key_type: KeyType, events: list[Event], *, cut: int = 3) -> list[EventBatch]:
    """The events in log order, as runs of one partition, each at most `cut` long."""
    runs: list[list[tuple[int, Event]]] = []
    offsets: dict[int, int] = defaultdict(int)
    for event in events:
        place = event[0]
        if not runs or runs[-1][0][1][0] != place or len(runs[-1]) == cut:
            runs.append([])
        runs[-1].append((offsets[place], event))
        offsets[place] += 1
    return [
        EventBatch(
            data_type="job",
            topic="jobs",
            partition=run[0][1][0],
            keys=key_type.column([canonical(key_type, e[1]) for _, e in run]),
            ops=np.array([e[2] for _, e in run], np.uint8),
            times=np.array([e[3] for _, e in run], np.int64),
            offsets=np.array([o for o, _ in run], np.int64),
        )
        for run in runs
    ]


def canonical(key_type: KeyType, number: int) -> Key:
    return number if isinstance(key_type, IntKey) else key_type.canonical(f"key {number:>0{1 + number % 40}}")


def naive(events: list[Event]) -> dict[int, Said]:
    """Key by key, in plain words."""
    out = {}
    for key in {e[1] for e in events}:
        last: dict[int, tuple[int, Op]] = {}
        ops = set()
        for partition, k, op, time in events:
            if k == key:
                last[partition] = (time, op)
                ops.add(op)
        final = {op for _, op in last.values()}
        if len(final) > 1:
            newest = max(time for time, _ in last.values())
            if any(time == NO_TIME for time, _ in last.values()) or len({o for t, o in last.values() if t == newest}) > 1:
                out[key] = Said.UNSURE
                continue
            final = {o for t, o in last.values() if t == newest}
        created = final == {Op.CREATE}
        out[key] = Said.DELETED if not created else Said.RECREATED if Op.DELETE in ops else Said.CREATED
    return out


some_events = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-3, 4), st.sampled_from(Op), st.one_of(st.integers(0, 4), st.just(NO_TIME))),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("key_type", [IntKey(), TextKey()], ids=["int", "text"])
@settings(max_examples=150, deadline=None)
@given(events=some_events, cut=st.integers(1, 5))
def test_the_last_operation_of_each_key_wins_as_a_naive_model_says(key_type: KeyType, events: list[Event], cut: int) -> None:
    segment = fold_batches(key_type, batches(key_type, events, cut=cut))
    expected = {canonical(key_type, key): said for key, said in naive(events).items()}
    found = {key: said for said, keys in segment.said.sets().items() for key in keys}
    assert found == expected
    assert sum(map(len, segment.said.sets().values())) == len(expected)  # disjoint
    assert (segment.creates, segment.deletes) == tuple(sum(e[2] == op for e in events) for op in (Op.CREATE, Op.DELETE))


@given(events=some_events)
def test_the_span_of_times_is_told_only_where_every_event_has_one(events: list[Event]) -> None:
    said = fold_batches(IntKey(), batches(IntKey(), events)).said
    times = [e[3] for e in events]
    assert (said.first_us, said.last_us) == ((None, None) if NO_TIME in times else (min(times), max(times)))


def test_offsets_and_first_events_are_told_per_partition() -> None:
    made = batches(IntKey(), [(0, 1, Op.CREATE, 5), (1, 2, Op.CREATE, 9), (0, 3, Op.CREATE, 4), (0, 4, Op.CREATE, NO_TIME)])
    segment = fold_batches(IntKey(), made)
    assert segment.offsets == {"jobs": {0: (0, 3), 1: (0, 1)}}
    assert segment.firsts == {("jobs", 0): (0, 5), ("jobs", 1): (0, 9)}
    assert segment.newest == {("jobs", 0): 5, ("jobs", 1): 9}


def test_a_flush_of_creations_builds_one_key_set() -> None:
    class Counting(IntKey):
        built = 0

        def keys(self, column: Any) -> IntKeys:
            Counting.built += len(column) > 0
            return super().keys(column)

    fold_batches(Counting(), batches(IntKey(), [(p, k, Op.CREATE, k) for p in range(3) for k in range(50)]))
    assert Counting.built == 1


def test_a_key_change_deletes_before_it_creates_at_one_offset() -> None:
    batch = EventBatch(
        data_type="job", topic="jobs", partition=0, keys=np.array([1, 2, 2, 1]), ops=np.array([2, 1, 2, 1], np.uint8),
        times=np.array([7, 7, 7, 7]), offsets=np.array([0, 0, 1, 1]),
    )  # fmt: skip
    said = fold_batches(IntKey(), [batch]).said
    assert (list(said.recreated), list(said.deleted)) == ([1], [2])
