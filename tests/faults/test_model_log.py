"""What the log says of a key that lived twice, in every order of reading, flushing and crashing; no server.

The tracker of this model is small, but its parts are the product's: a flush is `fold_batches`, the ledger's last word is
`fold`, and the class of a missing row is `classify`. One key is created, deleted and created again; its three events lie
in whatever partitions, with times that tell them apart, tie, or are unknown; any of them may never have been sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import pytest

from consumer.segments import fold_batches
from reconciler.classify import Seen, classify
from schemas.announced import Announced, fold
from schemas.events import NO_TIME, EventBatch, Op
from schemas.keys import key_type
from schemas.verdict import GapClass
from tests.faults import interleavings

INT = key_type("int")
KEY = 7
LIFE = (Op.CREATE, Op.DELETE, Op.CREATE)
TIMES = {"apart": (10, 20, 30), "tied": (10, 10, 10), "unknown": (NO_TIME,) * 3, "half known": (10, NO_TIME, 30)}


@dataclass(frozen=True)
class Event:
    place: int  #: in what happened; the product never hears of it
    op: Op
    partition: int
    time: int


Flush = tuple[Event, ...]
Log = tuple[Flush, ...]


@dataclass(frozen=True)
class Tracker:
    """Positions are events read of each partition; `stored` is what a crash leaves."""

    log: Log
    at: tuple[int, ...] = (0, 0)
    memory: Flush = ()
    stored_at: tuple[int, ...] = (0, 0)
    stored: tuple[Flush, ...] = ()


Step = interleavings.Step[Tracker]


def read(partition: int) -> Step:
    def step(t: Tracker) -> Tracker | None:
        place = t.at[partition]
        if place == len(t.log[partition]):
            return None
        at = tuple(n + (p == partition) for p, n in enumerate(t.at))
        return replace(t, at=at, memory=(*t.memory, t.log[partition][place]))

    return step


def flush(t: Tracker) -> Tracker:
    """Events and positions in one transaction."""
    return replace(t, memory=(), stored_at=t.at, stored=(*t.stored, t.memory) if t.memory else t.stored)


def crash(t: Tracker) -> Tracker:
    return replace(t, memory=(), at=t.stored_at)


def positions_first(t: Tracker) -> Tracker:
    """Wrong: the positions are stored before the events are."""
    return replace(t, stored_at=t.at)


@cache
def segment(events: Flush) -> Announced:
    """As the product folds one flush: a batch a partition, in offset order."""
    batches = []
    for partition in sorted({event.partition for event in events}):
        mine = [event for event in events if event.partition == partition]
        batches.append(
            EventBatch(
                data_type="job",
                topic="jobs",
                partition=partition,
                offsets=np.arange(len(mine), dtype=np.int64),
                keys=np.full(len(mine), KEY, np.int64),
                ops=np.array([event.op for event in mine], np.uint8),
                times=np.array([event.time for event in mine], np.int64),
            )
        )
    return fold_batches(INT, batches).said


@cache
def last_word(stored: tuple[Flush, ...], ordered: bool) -> str:
    """created, deleted, unsure, or nothing."""
    words = fold(INT, [segment(events) for events in stored], ordered=ordered)
    said = [
        name for name, keys in (("created", words.credited), ("deleted", words.deleted), ("unsure", words.unsure)) if len(keys)
    ]
    assert len(said) <= 1, said
    return said[0] if said else "nothing"


def logs(times: Sequence[int]) -> set[Log]:
    """Every way in which the three events may lie in two partitions, with any of them never sent."""
    out = set()
    for where, sent in product(product((0, 1), repeat=3), product((True, False), repeat=3)):
        every = [Event(n, op, p, time) for n, (op, p, time) in enumerate(zip(LIFE, where, times, strict=True))]
        events = [event for event, there in zip(every, sent, strict=True) if there]
        out.add(tuple(tuple(event for event in events if event.partition == p) for p in (0, 1)))
    return out


def everything_read(log: Log, *, save: Step = flush, fall: Step = crash) -> Iterator[Tracker]:
    """Both partitions are read in any order; it is flushed at any two moments, and crashes at any one; then all is read."""
    readers = [[read(partition)] * len(events) for partition, events in enumerate(log)]
    for end in set(interleavings.ends(Tracker(log), [*readers, [save, save], [fall]], may_stop=range(4))):
        for rest in interleavings.ends(end, [[read(p)] * (len(log[p]) - end.at[p]) for p in (0, 1)]):
            yield flush(rest)


def truth(log: Log) -> str:
    """What somebody who saw it happen would say: the last of the events that were sent."""
    sent = [event for partition in log for event in partition]
    return {Op.CREATE: "created", Op.DELETE: "deleted"}[max(sent, key=lambda e: e.place).op] if sent else "nothing"


def wrong(log: Log, *, ordered: bool = False, save: Step = flush) -> list[Tracker]:
    """The ends at which the ledger says what is not so. To be unsure is to say nothing wrong."""
    ends = everything_read(log, save=save)
    return [end for end in ends if last_word(end.stored, ordered) not in (truth(log), "unsure")]


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_no_order_of_reading_flushing_and_crashing_makes_the_ledger_say_what_is_not_so(times: Sequence[int]) -> None:
    """Failure modes 21 and 40."""
    for log in logs(times):
        assert not wrong(log), log


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_with_one_partition_the_ledger_is_never_unsure(times: Sequence[int]) -> None:
    for log in logs(times):
        if not log[1]:
            assert {last_word(end.stored, ordered=True) for end in everything_read(log)} == {truth(log)}, log


def test_one_flush_of_events_whose_times_are_apart_is_never_unsure() -> None:
    for log in logs(TIMES["apart"]):
        read_at_once = flush(Tracker(log, memory=tuple(event for partition in log for event in partition)))
        assert last_word(read_at_once.stored, ordered=False) == truth(log), log


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_a_drop_is_neither_made_up_nor_hidden_in_any_order(times: Sequence[int]) -> None:
    """The row is there and not registered: announced or not, that is what its class says, or that nobody can tell."""
    allowed = {
        "created": {GapClass.UNAPPLIED_CREATE, GapClass.UNHEARD_CREATE},
        "deleted": {GapClass.DROPPED_CREATE, GapClass.UNHEARD_CREATE},
        "nothing": {GapClass.DROPPED_CREATE},
    }
    for log in logs(times):
        assert {class_of(last_word(end.stored, ordered=False)) for end in everything_read(log)} <= allowed[truth(log)], log


@cache
def class_of(word: str) -> GapClass:
    row, none = INT.of([KEY]), INT.empty()
    said = {"credited": row if word == "created" else none, "unsure": row if word == "unsure" else none}
    seen = Seen(source=row, accepted=none, unaccepted=none, silent={}, stale=none, **said)
    (((gap_class, _), keys),) = classify(seen).gaps.items()
    assert keys == row
    return gap_class


@pytest.mark.parametrize(
    "broken",
    [
        lambda log: wrong(log, save=positions_first),
        lambda log: wrong(log, ordered=True),
    ],
    ids=["positions are stored before events", "the order of reading is taken for the order of events"],
)
def test_a_tracker_that_breaks_a_rule_says_what_is_not_so(broken: Callable[[Log], list[Tracker]]) -> None:
    assert any(broken(log) for log in logs(TIMES["apart"]))
