"""Behind the commands that reconcile: from what was asked on the command line to a recipe, from its outcome to an answer.

The front door mounts these; each imports its recipe when it runs. What is to be printed is handed back, not printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from databases.ledger import Ledger
from reconciler.ports import CatchUp, Locate, Silent, Topics
from reconciler.report import files
from reconciler.report.text import text
from schemas.errors import Exit, FencepostError, SettingsError
from schemas.keys import KeyType, key_type
from schemas.settings import Settings
from schemas.verdict import Report, utc
from terminal.desk import Answer, Desk
from terminal.layout import counted
from terminal.output import tell
from terminal.values import repeated, span_of
from terminal.values import wait as wait_of

if TYPE_CHECKING:
    from reconciler.outcome import Outcome

#: The high watermark of every (topic, partition), asked now.
Ends = Callable[[], Mapping[tuple[str, int], int]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked on the command line of a judging command."""

    since: str | None = None
    types: list[str] | None = None
    deletes: bool = False
    report: Path | None = None
    wait: str | None = None
    without_log: bool = False
    dry_run: bool = False
    plan: str | None = None
    max_backfill: int | None = None

    def checked(self, desk: Desk) -> dict[str, Any]:
        """As a recipe takes it. Raises SettingsError before anything is connected to."""
        from reconciler.window import Since

        Since.read(self.since)
        asked: dict[str, Any] = {
            "names": tuple(self.types or ()),
            "since": self.since,
            "deletes": self.deletes,
            "wait": None if self.wait is None else wait_of(self.wait),
            "without_log": self.without_log,
            "say": desk.say,
        }
        desk.settings.chosen(self.types)
        if self.report is not None:
            files.prepare(self.report)
        return asked

    def again(self, desk: Desk) -> str:
        """The options that the next command has to repeat."""
        return repeated(desk.common.config, self.since, self.types, deletes=self.deletes, without_log=self.without_log)

    @classmethod
    def behind(cls, report: Report, settings: Settings) -> Question:
        """What must have been asked for this report to come out."""
        starts = [t.window.since for t in report.data_types if t.window.since and t.window.evidence == "operator"]
        names = [t.name for t in report.data_types]
        on_a_sweep = any(t.window.evidence == "sweep" for t in report.data_types)
        return cls(
            since="auto" if on_a_sweep else utc(min(starts)) if starts else None,
            types=None if names == list(settings.data_types) else names,
            deletes=report.claims.deletes != "not asked" and report.kind != "sweep",  # which judges them unasked
        )


class EventLog(Protocol):
    """What recipes may ask of the event log."""

    @property
    def topics(self) -> Topics: ...
    @property
    def catch_up(self) -> CatchUp: ...
    @property
    def follow(self) -> CatchUp: ...
    @property
    def locate(self) -> Locate: ...


def run_gaps(desk: Desk, ledger: Ledger, asked: dict[str, Any], log: EventLog) -> Answer:
    from reconciler import gaps

    question = Question(**asked)
    known = question.checked(desk)
    outcome = gaps.run(desk.settings, ledger, **known, topics=log.topics, catch_up=log.catch_up, locate=log.locate)
    return _judged(desk, question, outcome)


def run_cutover(desk: Desk, ledger: Ledger, asked: dict[str, Any], log: EventLog) -> Answer:
    from reconciler import cutover

    question = Question(**asked)
    known = question.checked(desk)
    outcome = cutover.run(
        desk.settings,
        ledger,
        **known,
        topics=log.topics,
        catch_up=log.catch_up,
        locate=log.locate,
        dry_run=question.dry_run,
        plan=question.plan,
        max_backfill=question.max_backfill,
    )
    return _judged(desk, question, outcome)


def run_sweep(desk: Desk, ledger: Ledger, asked: dict[str, Any], log: EventLog) -> Answer:
    from reconciler import sweep
    from schemas.errors import RefusedWrite, UnavailableError

    every = asked.pop("every", None)
    options = {name: asked.pop(name) for name in ("backfill", "rate") if name in asked}
    question = Question(**asked)
    known = question.checked(desk)
    del known["since"], known["deletes"]

    def once(stop: Event | None) -> Answer:
        outcome = sweep.run(
            desk.settings,
            ledger,
            **known,
            **options,
            max_backfill=question.max_backfill,
            stop=stop,
            topics=log.topics,
            catch_up=log.catch_up,
            locate=log.locate,
        )
        assert outcome is not None  # only an event can stop it, and nobody sets this one
        return _judged(desk, question, outcome)

    if every is None:
        return once(None)
    pause = span_of("--every", every)
    stop = Event()

    def again(stop: Event) -> bool:
        try:
            once(stop).given(desk)
        except (UnavailableError, RefusedWrite) as error:  # a server that is away, or another at work: not for ever
            desk.say.waiting(f"for a minute, then tries again: {error}")
            stop.wait(60)
            return False
        return True

    sweep.loop(again, lambda: sweep.due(ledger, desk.settings, known["names"], pause), pause, stop, desk.say)
    return Answer()


def run_audit(desk: Desk, ledger: Ledger, log: EventLog, track: Callable[..., object], stop: Event) -> Answer:
    from reconciler import audit, sweep
    from reconciler.auditing import frugal

    frugal.give_back()
    log.topics(tuple(desk.settings.data_types))
    types = key_types(desk, ledger)

    def swept(stop: Event) -> bool:
        try:
            sweep.run(desk.settings, ledger, stop=stop, topics=log.topics, catch_up=log.follow, locate=log.locate, say=Silent())
        except FencepostError as error:  # what is away is there again some day; what is wrong is told each time
            desk.say.waiting(f"for a minute, then tries to sweep again: {error}")
            stop.wait(60)
            return False
        return True

    def sweeps(stop: Event) -> None:
        every = desk.settings.sweep.every
        sweep.loop(swept, lambda: sweep.due(ledger, desk.settings, (), every), every, stop, Silent())

    service = audit.Audit(
        settings=desk.settings,
        ledger=ledger,
        catch_up=log.follow,
        locate=log.locate,
        track=lambda stop: track(types, stop),
        sweep=sweeps if "every" in desk.settings.sweep.model_fields_set else None,
    )
    service.run(stop)
    return Answer(plain={"looks": service.looks, "stopped": True}, text=lambda: f"{counted(service.looks, 'look')} taken")


def _judged(desk: Desk, question: Question, outcome: Outcome) -> Answer:
    """The verdict is told even where the report's folder fails; the command still has not done what it was asked."""
    report, options = outcome.report, question.again(desk)
    failure: FencepostError | None = None
    if question.report is not None:
        desk.say.phase(f"writing the report into {question.report}")
        try:
            lines = chain.from_iterable(lines() for lines in outcome.lines.values())
            files.write(question.report, report, lines, text(report, options=options))
        except FencepostError as error:
            failure = error
    return Answer(
        plain=report.json_text(),
        text=lambda: text(report, options=options, colour=desk.colour),
        code=report.verdict.exit_code,
        failure=failure,
    )


def run_recheck(desk: Desk, ledger: Ledger, asked: str) -> Answer:
    from reconciler import recall, recheck

    if not ledger.exists():
        return no_ledger(desk, None)
    past = recall.load(ledger, recall.resolve(ledger, asked))
    return _judged(desk, Question(), recheck.run(desk.settings, ledger, past, say=desk.say))


# -- looking and undoing ----------------------------------------------------------------------------------------------


def run_check(desk: Desk, asked: dict[str, Any], log_ends: Ends) -> Answer:
    from reconciler import preflight
    from reconciler.preflight.finding import failed, ok

    def look_at_log() -> list[preflight.Finding]:
        try:
            ends = log_ends()
        except FencepostError as error:
            return [failed("log", error)]
        topics = len({topic for topic, _ in ends})
        return [ok("log", f"{counted(topics, 'topic')}, {counted(len(ends), 'partition')}: all answer")]

    found = preflight.run_check(
        desk.settings,
        names=tuple(asked.get("types", ())),
        since=asked.get("since"),
        rehearse=asked.get("rehearse", False),
        log_check=look_at_log,
    )
    return Answer(plain=preflight.as_json(found), text=lambda: preflight.as_text(found), code=preflight.exit_code(found))


def run_status(desk: Desk, ledger: Ledger, log_ends: Ends, names: list[str]) -> Answer:
    from reconciler import status
    from reconciler.report import state

    found = status.run(desk.settings, ledger, ends=log_ends, names=names)
    return Answer(plain=found.plain(), text=lambda: state.text(found))


def run_undo(desk: Desk, ledger: Ledger, asked: str) -> Answer:
    from reconciler import recall, undo

    if not ledger.exists():
        return no_ledger(desk, None)
    taken = undo.run(desk.settings, ledger, recall.resolve(ledger, asked), say=desk.say)
    return Answer(plain=taken.plain(), text=taken.text)


# -- what was ---------------------------------------------------------------------------------------------------------


def run_runs(desk: Desk, ledger: Ledger, limit: int) -> Answer:
    from reconciler import recall
    from reconciler.report import past

    if not ledger.exists():
        return no_ledger(desk, {"runs": []})
    found = recall.runs(ledger, limit)
    return Answer(plain={"runs": [p.plain() for p in found]}, text=lambda: past.listed(found, desk.now))


def run_report(desk: Desk, ledger: Ledger, asked: str, *, verify: bool, csv: bool) -> Answer:
    from reconciler import recall
    from reconciler.report import past, table

    if not ledger.exists():
        return no_ledger(desk, None)
    if verify and csv:
        raise SettingsError("--verify checks the report, --csv prints its keys: one or the other", hint="ask twice")
    run = recall.resolve(ledger, asked)
    if verify:
        checked = recall.verify(ledger, run)
        code = Exit.CLEAR if checked.intact else Exit.FAILED
        return Answer(plain=checked.plain(), text=lambda: past.checked(checked), code=code)
    if csv:
        return Answer(stream=table.rows(recall.found_keys(ledger, run)))
    told = recall.load(ledger, run)
    report = told.report
    if report is None:
        return Answer(plain=told.text or told.plain(), text=lambda: past.without_verdict(told, desk.now))
    options = Question.behind(report, desk.settings).again(desk)
    return Answer(plain=told.text, text=lambda: text(report, options=options, colour=desk.colour))


# -- the ledger itself ------------------------------------------------------------------------------------------------


def run_upgrade(ledger: Ledger) -> Answer:
    changed = ledger.upgrade()
    where = f"the ledger in schema {ledger.schema} of {ledger.dsn.described}"
    words = f"{where} {'is now up to date' if changed else 'was up to date'}"
    return Answer(plain={"changed": changed, "schema": ledger.schema}, text=lambda: words)


def run_ddl(ledger: Ledger) -> Answer:
    script = ledger.ddl()
    return Answer(plain={"ddl": script}, text=lambda: script)


def key_types(desk: Desk, ledger: Ledger) -> dict[str, KeyType]:
    """What a tracker needs: a ledger, and the key type of every data type, remembered there."""
    from reconciler import catalog

    kinds = catalog.key_kinds(desk.settings, ())
    ledger.upgrade()
    with ledger.begin("remember the kinds of keys") as connection:
        catalog.remember_kinds(connection, kinds)
    return {name: key_type(found[0] if len(found) == 1 else found) for name, found in kinds.items()}


def no_ledger(desk: Desk, plain: object) -> Answer:
    """There is nothing to tell yet, and nothing is created to tell it."""
    words = f"there is no ledger yet in schema {desk.settings.ledger.schema_!r}, so nothing is recorded"
    if desk.common.json:
        tell(f"fencepost: {words}")
    return Answer(plain=plain, text=lambda: words)
