"""`fencepost gaps`: the report before a cutover, beside live writers. Writes nothing but the ledger.

A row missing now may be on its way: it is judged once it was missing in two snapshots `settle` apart and the log has been
read past the first. Until then it is in flight, and some left at the end means that nobody can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from databases.ledger import Ledger
from reconciler import orphans, proofs, settle
from reconciler.examine import begin, type_outcomes, words
from reconciler.look import again, look
from reconciler.outcome import Outcome
from reconciler.ports import CatchUp, Locate, Say, Topics
from reconciler.window import Since
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
        settle.pipeline(r)
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
            judged_now = settled and (settle.announced(r, subject.name) or not r.logbook.readable)
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
