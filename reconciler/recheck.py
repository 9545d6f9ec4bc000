"""`fencepost recheck RUN`: does that verdict still stand?

Compares the tables of that run again, whole: any unregistered key counts, whatever its date. Writes nothing, not even the
ledger. A world that has moved (another server, a history gone back) is CANNOT TELL.
"""

from __future__ import annotations

from datetime import UTC, datetime

from databases.ledger import Ledger
from reconciler import outcome, proofs
from reconciler.coverage import Coverage
from reconciler.examine import type_outcomes_of
from reconciler.logbook import Logbook
from reconciler.look import look
from reconciler.outcome import Outcome
from reconciler.ports import Say
from reconciler.proofs import Shown
from reconciler.scene import resolve, source_faults
from reconciler.window import Since
from schemas.settings import Settings
from schemas.verdict import Report


def run(settings: Settings, ledger: Ledger, before: Report, *, say: Say) -> Outcome:
    """Look again at what `before` judged. Raises SettingsError where its data types are no longer in the settings."""
    started = datetime.now(UTC)
    names = [t.name for t in before.data_types]
    with resolve(settings, names, ledger) as scene:
        shown = Shown(
            kind="gaps",
            types={s.name: s.shown() for s in scene.subjects},
            without_log=True,
            met=scene.met,
            pipeline=settings.fence.pipeline,
            snapshot_faults=source_faults(scene),
        )
        logbook = Logbook(scene, shown, ledger, None, 0.0, say)
        readers = logbook.readers()
        coverages = {s.name: Coverage.nothing() for s in scene.subjects}
        seen = look(scene, shown, readers, coverages, since=Since(), say=say)
        types = type_outcomes_of(scene, shown, seen.sights, readers, {}, None, settings.fence.skew)
        report = outcome.report(
            shown,
            proofs.judge(shown),
            types,
            run=before.run,
            started_at=started,
            finished_at=datetime.now(UTC),
            notes=[f"run {before.run} said {before.verdict.value}; this looks again and is not stored"],
        )
    report.kind = "recheck"
    return Outcome(report=report)
