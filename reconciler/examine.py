"""What every judging recipe begins and ends with: the scene, the run's record, proofs, the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from databases.ledger import Ledger
from reconciler import alive, history, identity, killed, orphans, outcome, world
from reconciler.announced import AnnouncedReader
from reconciler.catalog import remember_kinds
from reconciler.judge import gap_lines, judge
from reconciler.logbook import Logbook
from reconciler.look import Sight
from reconciler.outcome import Outcome, TypeOutcome
from reconciler.ports import CatchUp, Locate, Remembering, Say, Topics
from reconciler.proofs import Shown
from reconciler.scene import Scene, Subject, resolve_ahead, source_faults
from reconciler.sweeping.evidence import evidence
from reconciler.window import Evidence, Since
from schemas.errors import FencepostError
from schemas.keys import KeySet
from schemas.settings import Settings
from schemas.verdict import Proof, utc

T = TypeVar("T")
#: Every wait for others is bounded by this where --wait does not say otherwise.
WAIT = timedelta(seconds=30)


@dataclass(slots=True)
class Run:
    """One judging command at work."""

    id: str
    settings: Settings
    ledger: Ledger
    scene: Scene
    shown: Shown
    logbook: Logbook
    say: Say
    started_at: datetime
    wait: timedelta | None
    plan: str | None = None
    notes: list[str] = field(default_factory=list)
    finished: bool = False

    def stand_down(self, why: str) -> None:
        """Close this run without a report: another does the work."""
        history.interrupted(self.ledger, self.id, why)

    def finish(self, proofs: Sequence[Proof], types: Sequence[TypeOutcome]) -> Outcome:
        """Make the report, store it, remember the servers that were recognised."""
        report = outcome.report(
            self.shown,
            proofs,
            types,
            run=self.id,
            started_at=self.started_at,
            finished_at=datetime.now(UTC),
            plan=self.plan,
            notes=self.notes,
        )
        history.finish(self.ledger, self.id, report, _found(types))
        if all(proof.held for proof in proofs if proof.name == "identity"):
            identity.record(self.ledger, *(met.now for met in self.shown.met))
        self.finished = True
        return Outcome(report=report, lines={t.subject.name: _lines(t) for t in types})


def words(names: Sequence[str], since: str | None, *, deletes: bool) -> list[str]:
    """What was asked on the command line, for telling two runs of one kind apart."""
    return [*names, f"since={since}", f"deletes={deletes}"]


def _found(types: Sequence[TypeOutcome]) -> dict[str, dict[tuple[str, str], KeySet]]:
    out: dict[str, dict[tuple[str, str], KeySet]] = {}
    for t in types:
        found = {(c.value, cause.value): keys for (c, cause), keys in t.judged.classes.gaps.items()}
        for orphan_class, keys in t.orphans.by_class.items() if t.orphans else ():
            found[orphan_class.value, "orphan"] = keys
        out[t.subject.name] = found
    return out


def _lines(t: TypeOutcome) -> Callable[[], Iterator[dict[str, object]]]:
    def lines() -> Iterator[dict[str, object]]:
        yield from gap_lines(t.subject, t.judged)
        if t.orphans is not None:
            yield from orphans.lines(t.subject, t.orphans)

    return lines


@contextmanager
def begin(
    settings: Settings,
    ledger: Ledger,
    kind: str,
    names: Sequence[str],
    *,
    asked: Sequence[str],
    since: Since,
    deletes: bool,
    wait: timedelta | None,
    without_log: bool,
    topics: Topics | None,
    catch_up: CatchUp | None,
    say: Say,
) -> Iterator[Run]:
    """Resolve everything before a run is recorded, so that a wrong setting leaves the ledger as it was."""
    say = told = Remembering(say)
    say.phase("looking the tables up")
    with ExitStack() as stack:
        topics_are_there = _beside(stack, topics, list(settings.chosen(list(names)))) if topics and not without_log else None
        there = _beside(stack, ledger.exists)
        scene = stack.enter_context(
            resolve_ahead(settings, names, lambda side: identity.recorded(ledger, side) if there() else None)
        )
        since.start(scene.now())  # a window that lies ahead is refused before anything is recorded
        if topics_are_there is not None:
            topics_are_there()
        ledger.upgrade()
        killed.settle(ledger)
        with ledger.begin("remember the key types") as connection:
            remember_kinds(connection, {s.name: s.source.table.kinds for s in scene.subjects})
        shown = Shown(
            kind=kind,
            types={s.name: s.shown() for s in scene.subjects},
            deletes=deletes,
            without_log=without_log,
            met=scene.met,
            pipeline=settings.fence.pipeline,
            brokers=settings.event_log.kafka.servers,
            snapshot_faults=source_faults(scene, kind),
            copied=scene.copy is not None,
        )
        if since.auto:
            _rest_on_sweeps(ledger, scene, shown)
        scene.patience_s = deadline_s = (WAIT if wait is None else wait).total_seconds()
        run = Run(
            id=history.begin(ledger, kind, history.settings_hash(settings, asked), world=world.of(scene)),
            settings=settings,
            ledger=ledger,
            scene=scene,
            shown=shown,
            logbook=Logbook(scene, shown, ledger, catch_up, deadline_s, say),
            say=say,
            started_at=datetime.now(UTC),
            wait=wait,
        )
        with alive.kept(ledger, run.id):
            try:
                yield run
            except KeyboardInterrupt as stopped:
                with suppress(FencepostError):
                    _add(stopped, history.interrupted(ledger, run.id, f"interrupted by the operator, while {told.step}"))
                raise
            except Exception as error:
                # A ledger that is away too must not hide why we failed; the run then reads as one that was killed.
                with suppress(FencepostError):
                    _add(error, history.fail(ledger, run.id, error))
                raise


def _add(error: BaseException, more: str | None) -> None:
    if more is not None:
        error.add_note(more)


def _beside(stack: ExitStack, ask: Callable[..., T], *arguments: object) -> Callable[[], T]:
    """Begin to ask, while others are asked too: each has connections of its own to open. What waits for the answer."""
    beside = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="beside"))
    return beside.submit(ask, *arguments).result


def _rest_on_sweeps(ledger: Ledger, scene: Scene, shown: Shown) -> None:
    for subject in scene.subjects:
        found = evidence(ledger, scene, subject)
        if isinstance(found, str):
            shown.types[subject.name].window_fault = found
        else:
            shown.types[subject.name].rests_on = found


#: Of fewer rows half may well be missing.
MANY = 20


def _suspect(subject: Subject, gaps: int, rows: int) -> list[str]:
    """More than half missing is seldom a loss: most often the two keys are not the same ids."""
    if rows < MANY or gaps * 2 <= rows:
        return []
    source, registry = subject.data_type.source, subject.data_type.registry
    keys = f"source.key {', '.join(source.key)} and registry.key {', '.join(registry.key)}"
    told = f"{gaps:,} of {rows:,} source rows are missing, more than half: before anything is inserted make sure that {keys}"
    return [f"{told} mean the same ids, and that the registry is the one meant; --max-backfill bounds what is inserted"]


def type_outcomes(
    r: Run,
    sights: Mapping[str, Sight],
    readers: Mapping[str, AnnouncedReader],
    in_flight: Mapping[str, KeySet],
    locate: Locate | None,
) -> list[TypeOutcome]:
    """Judge every data type of a look, and note what proofs will ask about it."""
    asked = locate if r.logbook.readable else None
    return type_outcomes_of(r.scene, r.shown, sights, readers, in_flight, asked, r.settings.fence.skew)


def type_outcomes_of(
    scene: Scene,
    shown: Shown,
    sights: Mapping[str, Sight],
    readers: Mapping[str, AnnouncedReader],
    in_flight: Mapping[str, KeySet],
    locate: Locate | None,
    skew: timedelta,
) -> list[TypeOutcome]:
    """As `type_outcomes`, for a look that belongs to no stored run."""
    out = []
    for subject in scene.subjects:
        sight = sights[subject.name]
        told = shown.types[subject.name]
        told.plan, told.rows, told.registered = sight.plan, sight.differences.rows, sight.differences.registered
        told.needles = sight.differences.needles
        judged = judge(
            subject,
            sight.candidates,
            unaccepted=sight.unaccepted,
            in_flight=in_flight.get(subject.name, subject.key_type.empty()),
            reader=readers[subject.name],
            coverage=sight.coverage,
            locate=locate,
            skew=skew,
        )
        told.in_flight = len(judged.in_flight)
        notes = [] if told.rests_on is None else _lost_since(told.rests_on, sight.candidates.missing)
        notes += _suspect(subject, judged.gaps, sight.differences.rows)
        out.append(TypeOutcome(subject=subject, sight=sight, judged=judged, remaining=judged.gaps, notes=notes))
    return out


def _lost_since(rests_on: Evidence, missing: KeySet) -> list[str]:
    """Rows that stood at the sweep: not lost on their way, but since."""
    lost = len(rests_on.verified.among(missing))
    if not lost:
        return []
    return [f"{lost} of the rows without an accepted registry row had one at the sweep that ended {utc(rests_on.finished_at)}"]
