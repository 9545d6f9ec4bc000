"""`fencepost sweep`: a full pass over each data type, in both directions, beside live writers and in no hurry.

ranges      each under one short snapshot a side, remembered as soon as it was seen; a killed pass goes on there
settle      what looked missing or left over is seen a second time, `settle` later and with the log read past it
judge       gaps and orphans by class and cause, as `gaps` does
heal        where told to: under the plan, cap, lease and ghost rules of a cutover, which takes precedence

A finished pass is what `--since auto` rests on. What is inserted behind the range that is being read is not in the pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event

from databases.ledger import Ledger
from reconciler import catalog, lease, orphans, proofs, settle, world
from reconciler.announced import AnnouncedReader
from reconciler.backfill import Pace
from reconciler.examine import WAIT, Run, begin, type_outcomes, words
from reconciler.lease import Held, Rank
from reconciler.look import Sight
from reconciler.outcome import Outcome, TypeOutcome
from reconciler.ports import CatchUp, Locate, Say, Topics, some
from reconciler.scene import Subject
from reconciler.sweeping import book, heal, mark, second
from reconciler.sweeping.book import Pass, Stage, Total
from reconciler.sweeping.brakes import Brakes, hold
from reconciler.sweeping.cut import Size
from reconciler.sweeping.look import Eye, Hidden
from reconciler.sweeping.verified import Verified
from reconciler.window import Since
from schemas.errors import RefusedWrite
from schemas.keys import KeySet
from schemas.settings import Settings
from schemas.verdict import utc

KIND = "sweep"
#: A pass whose process was killed is free when its lease has run out.
PATIENCE = lease.TTL + timedelta(seconds=3)


class Stopped(Exception):
    """We were told to stop; what was seen until then is remembered."""


def run(
    settings: Settings,
    ledger: Ledger,
    *,
    names: Sequence[str] = (),
    backfill: bool | None = None,
    rate: int | None = None,
    max_backfill: int | None = None,
    wait: timedelta | None = None,
    without_log: bool = False,
    stop: Event | None = None,
    topics: Topics | None = None,
    catch_up: CatchUp | None = None,
    locate: Locate | None = None,
    say: Say,
) -> Outcome | None:
    """One full pass, or the rest of one that was broken off; None where `stop` was set before its end.

    `backfill` and `rate` (keys a second) stand in the settings where they are not given. Raises RefusedWrite where other
    processes are sweeping all these data types, FencepostError where a side cannot be read.
    """
    stop = Event() if stop is None else stop
    fill = settings.sweep.backfill if backfill is None else backfill
    with begin(
        settings,
        ledger,
        KIND,
        names,
        asked=[*words(names, None, deletes=not without_log), f"backfill={fill}"],
        since=Since(),
        deletes=not without_log,
        wait=wait,
        without_log=without_log,
        topics=topics,
        catch_up=catch_up,
        say=say,
    ) as r:
        try:
            with _claimed(r, stop) as held:
                return _Sweep(r, held, stop, rate or settings.sweep.rate, locate).run(fill, max_backfill)
        except Stopped:
            r.stand_down("told to stop; what was seen until then is remembered, and the next sweep goes on from there")
            return None


@contextmanager
def _claimed(r: Run, stop: Event) -> Iterator[dict[str, Held]]:
    """The lease on each data type's passes. Types that another process is sweeping are left to it."""
    with ExitStack() as leases:
        held, taken = dict[str, Held](), dict[str, lease.Taken]()
        for subject in r.scene.subjects:
            found = _claim(r, subject, stop)
            if isinstance(found, Held):
                held[subject.name] = leases.enter_context(found)
            else:
                taken[subject.name] = found
        told = "; ".join(f"{name} is being swept by {other.described}" for name, other in taken.items())
        if not held:
            raise RefusedWrite(told, hint="wait until that run has ended: fencepost runs")
        if taken:
            r.notes.append(f"left out: {told}")
            r.scene.subjects = [s for s in r.scene.subjects if s.name in held]
            r.shown.types = {name: told for name, told in r.shown.types.items() if name in held}
        yield held


def _claim(r: Run, subject: Subject, stop: Event) -> Held | lease.Taken:
    """Wait for the lease of a process that may be dead; one that lives renews it."""
    patient_until = datetime.now(UTC) + PATIENCE
    while True:
        found = lease.acquire(r.ledger, r.id, rank=Rank.BACKGROUND, name=f"{KIND}:{subject.name}")
        if isinstance(found, Held) or datetime.now(UTC) > patient_until:
            return found
        r.say.waiting(f"for {found.described}, which is sweeping {subject.name} or was killed")
        if stop.wait(0.2):
            raise Stopped


class _Sweep:
    """One sweep at work."""

    def __init__(self, r: Run, held: Mapping[str, Held], stop: Event, rate: int | None, locate: Locate | None) -> None:
        self.r, self.held, self.stop, self.rate, self.locate = r, held, stop, rate, locate
        self.brakes = Brakes(r.scene, r.settings.sweep.brakes)
        self.pace = Pace(rate, sleep=self._sleep)
        self.passes: dict[str, Pass] = {}
        self.looked: dict[str, tuple[int, float]] = {}  #: rows that we saw, and the seconds it took; waits are not in them

    def run(self, fill: bool, max_backfill: int | None) -> Outcome:
        r = self.r
        r.logbook.follow()
        readers = r.logbook.readers()
        for subject in r.scene.subjects:
            self.passes[subject.name] = going_on = self._begun(subject)
            self._cover(subject, going_on, readers[subject.name])
        r.notes += [f"brakes nothing: {what}" for what in self.brakes.unseen]
        totals = {name: book.total(r.ledger, p) for name, p in self.passes.items() if p.stage is Stage.COVERED}
        self._tell_snapshots(totals)
        return self._judge(totals, fill, max_backfill)

    # -- ranges -------------------------------------------------------------------------------------------------------

    def _begun(self, subject: Subject) -> Pass:
        r = self.r
        found = book.going(r.ledger, r.scene, subject, r.id, deletes=r.shown.deletes)
        if found is not None and found.stage is not Stage.ABANDONED:
            done = "all of its ranges were seen" if found.stage is Stage.COVERED else f"{some(found.number, 'range')} so far"
            r.notes.append(f"{subject.name}: goes on with the pass begun {utc(found.started_at)}, of which {done}")
            return found
        if found is not None:
            r.notes.append(f"{subject.name}: the pass begun {utc(found.started_at)} was given up: {found.given_up}")
        earlier = book.earlier_marks(r.ledger, r.scene, subject)
        wait_s = (WAIT if r.wait is None else r.wait).total_seconds()
        stood = mark.take(r.scene, subject, earlier, wait_s=wait_s, say=r.say)
        if stood.why is not None:
            r.notes.append(f"{subject.name}: this pass makes no window by time safe: {stood.why}")
        return book.open_(r.ledger, r.scene, subject, r.id, stood, deletes=r.shown.deletes)

    def _cover(self, subject: Subject, going_on: Pass, reader: AnnouncedReader) -> None:
        """Look at every range that is left, and remember each."""
        r = self.r
        before_us = f", of which {some(going_on.number, 'range')} had been seen before" if going_on.number else ""
        r.say.phase(f"sweeping {subject.name}{before_us}")
        before = book.newest(r.ledger, subject.name, Stage.FINISHED)
        verified = Verified(r.ledger, subject.key_type, None if before is None else before.id, subject.name)
        eye = Eye(r.scene, r.shown, subject, reader, verified, r.shown.deletes)
        size = Size.of(subject.key_type.kind, self.rate)
        done, spent, one_piece = 0, 0.0, False
        expected = max(0, _expected(before, subject) - going_on.rows)
        try:
            while going_on.stage is Stage.RUNNING:
                self.pace.wait()
                hold(self.brakes, subject, going_on.at, self.stop, r.say)
                if self.stop.is_set():
                    raise Stopped
                began = time.monotonic()
                for part in eye.look(going_on.at, size):
                    spent += time.monotonic() - began
                    book.store(r.ledger, self.held[subject.name], going_on, part)
                    done += part.rows
                    r.say.advance(done, max(expected, done) if expected else None)
                    size.learn(part.size)
                    self.pace.charge(part.size)
                    one_piece = part.bucket is not None
                    began = time.monotonic()
        except Hidden:
            r.notes.append(f"{subject.name}: not swept, for rows are hidden from us: see the proof `visible`")
        if one_piece and self.rate is not None:
            r.notes.append(f"{subject.name}: its key has no order, so it was read in one piece, and no rate held that down")
        self.looked[subject.name] = (done, spent)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped

    def _tell_snapshots(self, totals: Mapping[str, Total]) -> None:
        for name, total in totals.items():
            told = f"{name}: {some(total.ranges, 'range')}, each under one snapshot a side, the registry's first"
            self.r.shown.snapshots.append(f"{told}, since {utc(self.passes[name].started_at)}")

    # -- judgement ----------------------------------------------------------------------------------------------------

    def _judge(self, totals: Mapping[str, Total], fill: bool, max_backfill: int | None) -> Outcome:
        r = self.r
        settled = settle.wait(r, max((t.last_at for t in totals.values() if t.last_at is not None), default=None), self.stop)
        settle.pipeline(r, self.stop)
        if self.stop.is_set():
            raise Stopped
        r.logbook.follow()
        readers, coverages = r.logbook.readers(), r.logbook.coverages()
        r.logbook.note(coverages)
        sights = second.sighted(r, totals, readers, coverages)
        for name, total in totals.items():
            seen, took = self.looked.get(name, (0, 0.0))
            sights[name].took_s = took * total.rows / seen if seen else None
        surplus = {s.name: totals[s.name].surplus if s.name in totals else s.key_type.empty() for s in r.scene.subjects}
        if any(map(len, surplus.values())):
            surplus = orphans.again(r.scene, r.shown, surplus, r.say)
        self._same_files(totals)
        outcomes = self._outcomes(sights, surplus, readers, settled)
        if fill:
            r.notes.append(heal.insert(r, outcomes, max_backfill))
        open_ = second.left(r, outcomes, readers) if any(t.judged.gaps for t in outcomes) else self._nothing()
        for t in outcomes:
            t.remaining = len(open_[t.subject.name])
        self._same_files(totals)
        report = r.finish(proofs.judge(r.shown), outcomes)
        self._finish(totals, outcomes, open_)
        return report

    def _same_files(self, totals: Mapping[str, Total]) -> None:
        """A TRUNCATE behind the range that is being read would go unnoticed: what was seen before it is taken for seen."""
        r = self.r
        for subject in r.scene.subjects:
            before = self.passes[subject.name].files
            if subject.name in totals and before is not None:
                relation = catalog.relation(r.scene.registry, "the registry", subject.data_type.registry.table)
                told = r.shown.types[subject.name]
                told.emptied = world.replaced(before, world.files(r.scene, relation, "registry"))

    def _nothing(self) -> dict[str, KeySet]:
        return {s.name: s.key_type.empty() for s in self.r.scene.subjects}

    def _outcomes(
        self,
        sights: Mapping[str, Sight],
        surplus: Mapping[str, KeySet],
        readers: Mapping[str, AnnouncedReader],
        settled: bool,
    ) -> list[TypeOutcome]:
        r = self.r
        in_flight = dict[str, KeySet]()
        for subject in r.scene.subjects:
            candidates = sights[subject.name].candidates
            judged_now = settled and (settle.announced(r, subject.name) or not r.logbook.readable)
            in_flight[subject.name] = subject.key_type.empty() if judged_now else candidates.missing | candidates.stale
        outcomes = type_outcomes(r, sights, readers, in_flight, self.locate)
        locate = self.locate if r.logbook.readable else None
        for t in outcomes if r.shown.deletes else ():
            keys = surplus[t.subject.name]
            waiting = t.subject.key_type.empty() if settled else keys
            t.orphans = orphans.judge(t.subject, keys - waiting, waiting, readers[t.subject.name], locate)
        return outcomes

    def _finish(self, totals: Mapping[str, Total], outcomes: Sequence[TypeOutcome], open_: Mapping[str, KeySet]) -> None:
        """After the report: a crash in between judges once more, the other order would leave a pass without a report."""
        for t in outcomes:
            name = t.subject.name
            if name not in totals:
                continue
            found = t.judged.gaps + (t.orphans.count if t.orphans else 0)
            book.finish(
                self.r.ledger,
                self.held[name],
                self.passes[name],
                finished_at=self.r.scene.now(),
                rows=totals[name].rows,
                verified=totals[name].verified,
                found=found,
                fixed=t.judged.gaps - t.remaining + (t.orphans.removed if t.orphans else 0),
                oldest_missing=second.oldest(t, open_[name]),
            )


def _expected(before: object, subject: Subject) -> int:
    """About how many rows there are: as many as last time, or as the planner thinks. For progress only."""
    rows = getattr(before, "rows", None)
    return int(rows) if rows else int(max(0.0, subject.source.relation.rows))


def due(ledger: Ledger, settings: Settings, names: Sequence[str], every: timedelta) -> datetime | None:
    """When the next pass is due: `every` after the last finished one of these data types began; None: at once."""
    if not ledger.exists():
        return None
    begun = []
    for name in settings.chosen(list(names)):
        last = book.newest(ledger, name, Stage.FINISHED)
        if last is None:
            return None
        begun.append(last.started_at.astimezone(UTC))
    earliest: datetime = min(begun)
    return earliest + every


def loop(
    once: Callable[[Event], bool], next_due: Callable[[], datetime | None], every: timedelta, stop: Event, say: Say
) -> None:
    """Pass after pass until told to stop. `once` tells whether its pass came to an end."""
    ours: datetime | None = None
    told: datetime | None = None  # once for each pass: a line a minute would be all that a day's log has
    while not stop.is_set():
        at = next_due()
        if ours is not None:  # a type that cannot be swept is never done, and must not have us begin again at once
            at = ours if at is None else max(at, ours)
        left = 0.0 if at is None else (at - datetime.now(UTC)).total_seconds()
        if left <= 0:
            began = datetime.now(UTC)
            ours = began + every if once(stop) else None
        else:
            if at is not None and at != told:
                say.waiting(f"for the next pass, due {utc(at)}")
                told = at
            stop.wait(min(left, 60.0))
