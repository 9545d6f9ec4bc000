"""Missing numbers of events, from a log in memory into a real ledger, held against a plain model of sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from consumer import numbering, sequences
from consumer import tracker as module
from consumer.catch_up import catch_up
from consumer.session import Session, opened
from consumer.streams.contract import Place
from consumer.streams.memory import MemoryLog
from consumer.tracker import Tracker
from databases.ledger import Ledger
from schemas import sequence_ledger as tables
from schemas.audit_ledger import total
from schemas.metrics import SEQUENCE_JUDGED, SEQUENCE_LATE, SEQUENCE_MISSING, UNNUMBERED
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, age, rows, settings
from tests.stack.processes import wait_until
from tests.stack.threads import beside

_clusters = count()
#: Settle and grace together, in minutes.
GRACE_MIN = 11


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database, sequence="n")


def write(
    log: MemoryLog, numbers: Iterable[Any], partition: int = 0, op: str = "created", name: str = "job", topic: str = "jobs"
) -> None:
    for n in numbers:
        log.append(topic, json.dumps({"type": name, "id": 1, "op": op, "at": 1_700_000_000, "n": n}).encode(), partition)


def follow(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    """As the audit does: read up to the ends, judge."""
    catch_up(about, ledger, KEY_TYPES, streams=log.stream, deadline_s=0.3)


def lacking(ledger: Ledger, incarnation: int | None = None) -> list[tuple[int, int]]:
    """The ranges that are missing, settled."""
    return [
        (first, last)
        for row in rows(ledger, tables.sequence_hour)
        if incarnation in (None, row.incarnation)
        for first, last in sequences.unpacked(bytes(row.ranges)).tolist()
    ]


def totals(ledger: Ledger) -> dict[str, int]:
    return {row.name: row.value for row in rows(ledger, total) if row.subject == "jobs"}


def standing(ledger: Ledger) -> tuple[int, int, int | None]:
    (row,) = rows(ledger, tables.sequence)
    return row.floor, row.high, row.open


# -- one thing at a time ----------------------------------------------------------------------------------------------


def test_a_number_that_no_event_has_is_open_first_and_missing_when_it_is_settled(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    write(log, [1, 2, 5])
    follow(about, ledger, log)
    assert standing(ledger) == (5, 5, 0), "what was written before nobody judges"
    write(log, [6, 9, 10])
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((5, 10, 2), [])
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((10, 10, 0), [(7, 8)])
    assert totals(ledger).items() >= {SEQUENCE_JUDGED.name: 5, SEQUENCE_MISSING.name: 2}.items()
    assert rows(ledger, tables.sequence_seen) == [], "what is judged is not kept"


def test_a_late_commit_closes_its_gap_before_it_settles_and_after(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [4, 8])
    follow(about, ledger, log)
    write(log, [3], partition=2)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(2, 2), (5, 7)]
    write(log, [6, 6])
    follow(about, ledger, log)
    follow(about, ledger, log)
    assert lacking(ledger) == [(2, 2), (5, 5), (7, 7)]
    assert totals(ledger).items() >= {SEQUENCE_MISSING.name: 4, SEQUENCE_LATE.name: 1}.items()


def test_a_flush_that_reaches_over_what_is_judged_is_kept_whole(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [8])
    follow(about, ledger, log)
    age(ledger, 6)
    write(log, [5, 9])
    follow(about, ledger, log)
    age(ledger, 6)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((8, 9, 0), [(2, 4), (6, 7)])
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((9, 9, 0), [(2, 4), (6, 7)])


def test_records_of_no_data_type_and_of_other_ops_fill_their_numbers(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2], name="somebody else's")
    write(log, [3], op="checksum_succeeded")
    write(log, [4])
    write(log, ["x", None])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((4, 4, 0), [])
    assert totals(ledger)[UNNUMBERED.name] == 2


def test_a_tracker_judges_also_while_nothing_comes(
    database: str, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    about = settings(database, sequence="n", tracker={"flush_every": "10ms"})
    tracking = Tracker(settings=about, ledger=ledger, key_types=KEY_TYPES, streams=log.stream)
    with beside(tracking.run):
        write(log, [1])
        wait_until(lambda: len(rows(ledger, tables.sequence)) == 1, "all partitions were read to their ends")
        write(log, [3], partition=2)
        wait_until(lambda: standing(ledger) == (1, 3, 1), "the gap is open")
        age(ledger, GRACE_MIN + 1)
        wait_until(lambda: lacking(ledger) == [(2, 2)], "it is settled")


def test_while_a_partition_is_not_read_to_its_end_nothing_is_missing(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2, 4])
    write(log, [3], partition=1)
    with Follower(about, ledger, log, [("jobs", 0)]) as one:
        read(one)
    for _ in range(2):
        age(ledger, GRACE_MIN + 1)
        judge(about, ledger, {("jobs", 0): 3, ("jobs", 2): 0})
        assert (standing(ledger), lacking(ledger)) == ((1, 4, 1), [])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((4, 4, 0), [])


def test_a_sequence_over_several_topics_is_judged_once_all_of_them_are_read(
    database: str, ledger: Ledger, log: MemoryLog
) -> None:
    about = settings(database, types={"job": ["jobs"], "upload": ["uploads"]}, sequence="n")
    log.create("uploads")
    write(log, [1])
    write(log, [2], topic="uploads")
    for names in (["job"], ["job"], ["job"], []):
        catch_up(about, ledger, KEY_TYPES, names=names, streams=log.stream, deadline_s=0.3)
        write(log, [3] if names else [6])
        write(log, [4] if names else [], topic="uploads")
        age(ledger, GRACE_MIN + 1)
        assert lacking(ledger) == []
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(5, 5)]


def test_after_a_hole_judgement_begins_anew_for_nobody_knows_which_numbers_it_held(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2, 3, 4, 6])
    log.delete_records("jobs", 0, 4)
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    write(log, [7, 9])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(8, 8)]


def test_what_was_read_without_the_setting_is_not_missed(
    about: Settings, database: str, ledger: Ledger, log: MemoryLog
) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2, 3])
    follow(settings(database), ledger, log)
    write(log, [4, 6])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    write(log, [8])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(7, 7)]


def test_what_cannot_be_judged_for_a_day_is_given_up(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [3])
    with Follower(about, ledger, log, [("jobs", 0)]) as one:
        read(one)
    age(ledger, 25 * 60)
    judge(about, ledger, {})
    assert (rows(ledger, tables.sequence_seen), rows(ledger, tables.sequence)) == ([], [])
    write(log, [4, 6])
    follow(about, ledger, log)
    assert standing(ledger) == (6, 6, 0)


def test_numbers_drawn_at_random_are_said_to_be_none(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [n * 10**12 for n in range(200)])
    follow(about, ledger, log)
    assert (rows(ledger, tables.sequence_seen), totals(ledger)[UNNUMBERED.name]) == ([], 200)


def test_ranges_are_kept_for_a_day_and_counts_for_eight(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [3])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    h = tables.sequence_hour
    for days, kept in ((2, [(2, 1, True)]), (7, [])):
        with ledger.begin() as db:
            db.execute(sa.update(h).values(hour=h.c.hour - sa.text(f"interval '{days} days'")))
        follow(about, ledger, log)
        assert [(row.judged, row.missing, row.ranges is None) for row in rows(ledger, h)] == kept


def test_without_the_setting_nothing_is_kept(database: str, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1, 5])
    follow(settings(database), ledger, log)
    assert [rows(ledger, t) for t in (tables.sequence_seen, tables.sequence_place, tables.sequence)] == [[], [], []]


# -- anything at all --------------------------------------------------------------------------------------------------


class Follower:
    """A session that follows some partitions, as one instance of several does."""

    def __init__(self, about: Settings, ledger: Ledger, log: MemoryLog, places: list[Place]) -> None:
        self.stack, self.args, self.places = ExitStack(), (about, ledger, log), places

    def __enter__(self) -> Session:
        about, ledger, log = self.args
        session = self.stack.enter_context(opened(about, ledger, KEY_TYPES, streams=log.stream))
        session.attach(self.places)
        session.start()
        return session

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def read(session: Session) -> None:
    while session.read(0.0).batches:
        pass
    session.flush()


def judge(about: Settings, ledger: Ledger, ended: Mapping[Place, int]) -> None:
    newest = max(row.incarnation for row in rows(ledger, tables.sequence_place))
    numbering.judge(ledger, newest, about.numberings(), ended)


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
