"""Missing numbers of events, whatever happens: a real ledger held against a plain model of sets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from consumer import numbering, sequences
from consumer.session import Session
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas import sequence_ledger as tables
from schemas.metrics import SEQUENCE_LATE, SEQUENCE_MISSING
from schemas.settings import Settings
from tests.consumer.numbers import GRACE_MIN, Follower, lacking, read, totals, write
from tests.consumer.support import age, rows, settings

_clusters = count()


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database, sequence="n")


@dataclass
class Model:
    """The same by plain sets: what was read when, when each partition was read to its end, what is missing."""

    log: MemoryLog
    now: int = 0
    read: list[tuple[int, int]] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)
    floor: int | None = None
    missing: set[int] = field(default_factory=set)
    ever: int = 0
    late: int = 0
    at: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0, 2: 0})
    written: dict[int, list[int]] = field(default_factory=lambda: {0: [], 1: [], 2: []})

    @property
    def seen(self) -> set[int]:
        return {n for n, _ in self.read}

    @property
    def open(self) -> set[int]:
        return set() if self.floor is None else set(range(self.floor + 1, max(self.seen) + 1)) - self.seen

    def flush(self, partition: int) -> None:
        fresh = self.written[partition][self.at[partition] :]
        self.at[partition] += len(fresh)
        self.read += [(n, self.now) for n in fresh]

    def judge(self) -> None:
        self.ended |= {p: self.now for p in self.at if self.at[p] == len(self.written[p])}
        through = min(self.ended.values()) if len(self.ended) == 3 else None
        if self.floor is None:
            if through is not None and self.read:
                self.floor = max(self.seen)
            return
        came = {n for n in self.missing if n in self.seen}
        self.missing -= came
        self.late += len(came)
        assert through is not None
        due = max((n for n, at in self.read if at <= through - GRACE_MIN), default=0)
        if due > self.floor:
            gone = set(range(self.floor + 1, due + 1)) - self.seen
            self.missing |= gone
            self.ever += len(gone)
            self.floor = due


PLACES = st.integers(0, 2)
SOME = st.lists(st.integers(2, 30), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("told"), PLACES, SOME),  # written, and read at once
        st.tuples(st.just("told"), PLACES, SOME),
        st.tuples(st.just("write"), PLACES, SOME),
        st.tuples(st.just("read"), PLACES),
        st.tuples(st.just("zombie"), PLACES, SOME),
        st.tuples(st.just("age"), st.sampled_from([6, 12])),
        st.tuples(st.just("judge"), st.sampled_from([0, 0, 6, 12])),
        st.tuples(st.just("restart")),
    ),
    min_size=4,
    max_size=30,
)
BEGIN = [("told", 0, [1]), ("read", 1), ("read", 2), ("judge", 0)]
END = [("read", 0), ("read", 1), ("read", 2), ("judge", 0), ("judge", 12)]


@hypothesis_settings(
    max_examples=max(1, 30 * hypothesis_settings().max_examples // 100),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink an example takes minutes here
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, begun=st.sampled_from([True, True, True, False]), shift=st.sampled_from([0, sequences.BLOCK - 15]))
def test_whatever_happens_the_ledger_says_what_plain_sets_say(
    about: Settings, ledger: Ledger, steps: list[Any], begun: bool, shift: int
) -> None:
    """Doubles, any order, several trackers, replays by a zombie, restarts: none of them makes a gap or hides one."""
    log = MemoryLog(f"cluster {next(_clusters)}")
    log.create("jobs", 3)
    model = Model(log)
    before = totals(ledger)
    with ExitStack() as stack:
        sessions = {p: stack.enter_context(Follower(about, ledger, log, [("jobs", p)])) for p in range(3)}
        incarnation = sessions[0].attached.incarnation if sessions[0].attached else 0
        for step in [*(BEGIN if begun else []), *steps, *END]:
            if step[0] in ("told", "write", "zombie"):
                write(log, [n + shift for n in step[2]], step[1])
                model.written[step[1]] += [n + shift for n in step[2]]
            if step[0] == "judge" and step[1]:
                age(ledger, step[1])
                model.now += step[1]
            match step:
                case ("told", p, _) | ("read", p):
                    read(sessions[p])
                    model.flush(p)
                case ("zombie", p, _):
                    # It has read the same records, and somebody stores them first.
                    with Follower(about, ledger, log, [("jobs", p)]) as zombie:
                        while zombie.read(0.0).batches:
                            pass
                        read(sessions[p])
                        model.flush(p)
                        _refused(zombie)
                case ("age", minutes):
                    age(ledger, minutes)
                    model.now += minutes
                case ("judge", _):
                    ended = {("jobs", p): len(model.written[p]) for p in range(3) if model.at[p] == len(model.written[p])}
                    numbering.judge(ledger, incarnation, about.numberings(), ended)
                    model.judge()
                    _agree(ledger, incarnation, model, before)
                case ("restart",):
                    for p in range(3):
                        sessions[p] = stack.enter_context(Follower(about, ledger, log, [("jobs", p)]))
        _agree(ledger, incarnation, model, before)


def _agree(ledger: Ledger, incarnation: int, model: Model, before: Mapping[str, int]) -> None:
    ranges = lacking(ledger, incarnation)
    assert {n for first, last in ranges for n in range(first, last + 1)} == model.missing
    standing = [row for row in rows(ledger, tables.sequence) if row.incarnation == incarnation]
    assert [(row.floor, row.open) for row in standing] == ([] if model.floor is None else [(model.floor, len(model.open))])
    grown = {name: value - before.get(name, 0) for name, value in totals(ledger).items()}
    assert (grown.get(SEQUENCE_MISSING.name, 0), grown.get(SEQUENCE_LATE.name, 0)) == (model.ever, model.late)


def _refused(zombie: Session) -> None:
    """Where it holds something that is stored already, nothing of it is stored."""
    from schemas.errors import PositionMoved

    if zombie.intake.dirty:
        with pytest.raises(PositionMoved):
            zombie.flush()
