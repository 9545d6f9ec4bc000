"""`fencepost recheck RUN`: does that verdict still stand?

Compares the tables of that run again, whole: any unregistered key counts, whatever its date, and where that run judged
deletes, any registry row without a source row. By the rows alone, as they are now. Writes nothing, not even the ledger.
A world that has moved (another server, a history gone back, other tables, scope or accepted states) is CANNOT TELL: an
answer about other rows would pass for one about these.
"""

from __future__ import annotations

from datetime import UTC, datetime

from databases.ledger import Ledger
from reconciler import orphans, outcome, proofs, world
from reconciler.coverage import Coverage
from reconciler.examine import type_outcomes_of
from reconciler.logbook import Logbook
from reconciler.look import look
from reconciler.outcome import Outcome
from reconciler.ports import Say
from reconciler.proofs import Shown
from reconciler.recall import Past
from reconciler.scene import resolve, source_faults
from reconciler.window import Since
from schemas.errors import SettingsError
from schemas.settings import Settings
from schemas.verdict import Report

HINT = "`fencepost runs` lists those that did, with their verdicts"


def run(settings: Settings, ledger: Ledger, past: Past, *, say: Say) -> Outcome:
    """Look again at what `past` judged. Raises SettingsError where it gave no verdict, or where its data types are no
    longer in the settings."""
    before = past.report
    if before is None:
        what = f"run {past.run} ({past.kind}, {past.state})"
        raise SettingsError(f"{what} gave no verdict that could be checked again", hint=HINT)
    started = datetime.now(UTC)
    names, deletes = [t.name for t in before.data_types], before.claims.deletes != "not asked"
    with resolve(settings, names, ledger) as scene:
        shown = Shown(
            kind="gaps",
            types={s.name: s.shown() for s in scene.subjects},
            deletes=deletes,
            without_log=True,
            met=scene.met,
            pipeline=settings.fence.pipeline,
            snapshot_faults=source_faults(scene, "recheck"),
            copied=scene.copy is not None,
            moved=world.moved(past.world, scene),
        )
        logbook = Logbook(scene, shown, ledger, None, 0.0, say)
        readers = logbook.readers()
        coverages = {s.name: Coverage.nothing() for s in scene.subjects}
        seen = look(scene, shown, readers, coverages, since=Since(), say=say, whole=deletes)
        types = type_outcomes_of(scene, shown, seen.sights, readers, {}, None, settings.fence.skew)
        surplus = orphans.standing(scene, shown, readers, say) if deletes else {}
        for t in types if deletes else ():
            name, none = t.subject.name, t.subject.key_type.empty()
            t.orphans = orphans.judge(t.subject, surplus[name], none, readers[name], None)
        report = outcome.report(
            shown,
            proofs.judge(shown),
            types,
            run=before.run,
            started_at=started,
            finished_at=datetime.now(UTC),
            notes=_notes(before),
        )
    report.kind = "recheck"
    return Outcome(report=report)


def _notes(before: Report) -> list[str]:
    notes = [f"run {before.run} ({before.kind}) said {before.verdict.value}; this looks again and is not stored"]
    if before.kind == "gaps":
        notes.append("a gaps judges for its moment only, beside live writers: a row of a moment ago counts here at once")
    if before.claims.deletes != "not asked":
        notes.append("deletes are checked again by the rows alone; what the log said of them is as the ledger had it")
    return notes
