"""`fencepost gaps`: the report before a cutover, beside live writers. Writes nothing but the ledger.

A row missing now may be on its way: it is judged once it was missing in two snapshots `settle` apart and the log has been
read past the first. Until then it is in flight, and some left at the end means that nobody can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from databases.connect import renamed
from databases.ledger import Ledger
from reconciler import orphans, pipelines, proofs, settle
from reconciler.examine import WAIT, Run, begin, type_outcomes, words
from reconciler.look import again, look
from reconciler.outcome import Outcome
from reconciler.ports import CatchUp, Locate, Say, Topics
from reconciler.window import Since
from schemas.errors import UnavailableError
from schemas.keys import KeySet
from schemas.settings import Settings


def run(
    settings: Settings,
    ledger: Ledger,
    *,
    names: Sequence[str] = (),
    since: str | None = None,
    deletes: bool = False,
    wait: timedelta | None = None,
    without_log: bool = False,
    topics: Topics | None = None,
    catch_up: CatchUp | None = None,
    locate: Locate | None = None,
    say: Say,
) -> Outcome:
    """Find what is missing, now, and why. Raises FencepostError where source or registry cannot be read."""
    asked = Since.read(since)
    with begin(
        settings,
        ledger,
        "gaps",
        names,
        asked=words(names, since, deletes=deletes),
        since=asked,
        deletes=deletes,
        wait=wait,
        without_log=without_log,
        topics=topics,
        catch_up=catch_up,
        say=say,
    ) as r:
        r.logbook.follow()
        readers, coverages = r.logbook.readers(), r.logbook.coverages()
        r.logbook.note(coverages)
        first = look(r.scene, r.shown, readers, coverages, since=asked, say=say, whole=deletes)
        surplus = orphans.find(r.scene, r.shown, readers, say) if deletes else {}
        candidates = any(s.candidates for s in first.sights.values()) or any(map(len, surplus.values()))
        settled = settle.wait(r, first.at if candidates else None)
        _pipeline(r)
        r.logbook.follow()
        if any(len(s.candidates.missing) or len(s.candidates.stale) for s in first.sights.values()):
            for name, seen in again(r.scene, r.shown, first, readers, say).items():
                sight = first.sights[name]
                sight.candidates.missing, sight.candidates.stale = seen.missing, seen.stale
                sight.unaccepted = seen.unaccepted
        if any(map(len, surplus.values())):
            surplus = orphans.again(r.scene, r.shown, surplus, say)
        if r.logbook.readable:  # a log that went away meanwhile takes nothing back of what it said
            readers = r.logbook.readers()
        in_flight: dict[str, KeySet] = {}
        for subject in r.scene.subjects:
            sight = first.sights[subject.name]
            judged_now = settled and (_passed(r, subject.name) or not r.logbook.readable)
            waiting = sight.candidates.missing | sight.candidates.stale
            in_flight[subject.name] = subject.key_type.empty() if judged_now else waiting
            if not judged_now:
                sight.candidates.unheard = subject.key_type.empty()
        outcomes = type_outcomes(r, first.sights, readers, in_flight, locate)
        for outcome in outcomes if deletes else ():
            keys = surplus[outcome.subject.name]
            waiting = keys if not settled else outcome.subject.key_type.empty()
            find = locate if r.logbook.readable else None
            outcome.orphans = orphans.judge(outcome.subject, keys - waiting, waiting, readers[outcome.subject.name], find)
        return r.finish(proofs.judge(r.shown), outcomes)


def _pipeline(r: Run) -> None:
    """What the first look saw was committed before now: a pipeline that can tell has to come so far.

    One that cannot is bounded by the silence that was just waited for.
    """
    if r.shown.without_log or not pipelines.exact(r.settings):
        return
    r.say.phase("waiting for the pipeline to pass what was seen")
    try:
        with renamed("ask the source how far its WAL has come"):
            row = r.scene.fence_at.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    except UnavailableError as error:  # a standby that the settings call a primary: the proof `snapshot` says so
        r.shown.pipeline_fault = str(error)
        return
    assert row
    wait_s = (WAIT if r.wait is None else r.wait).total_seconds()
    asked = pipelines.Asked(settings=r.settings, scene=r.scene, lsn=row[0], wait_s=wait_s, say=r.say)
    pipelines.note(r.shown, pipelines.passed(asked))


def _passed(r: Run, name: str) -> bool:
    """Whether everything that was committed before the first look is in the ledger."""
    return r.shown.pipeline_fault is None and r.logbook.drained(name)
