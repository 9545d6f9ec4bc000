"""What the last finished pass vouches for, held against the world as it is now: what `--since auto` rests on.

The keys that it verified are known one by one. So new rows are not looked for by their dates: the whole of both tables is
learned again, from those keys, which costs little where little has changed, and shows every new key whatever its date, and
every verified one that has lost its registry row since.
"""

from __future__ import annotations

from datetime import UTC

from databases.ledger import Ledger
from reconciler import world
from reconciler.scene import Scene, Subject
from reconciler.sweeping import book, mark
from reconciler.sweeping.book import Stage
from reconciler.sweeping.verified import Verified
from reconciler.window import Evidence
from schemas.verdict import utc


def evidence(ledger: Ledger, scene: Scene, subject: Subject) -> Evidence | str:
    """The evidence, or why there is none."""
    last = book.newest(ledger, subject.name, Stage.FINISHED)
    if last is None:
        begun = book.newest(ledger, subject.name, Stage.RUNNING, Stage.COVERED)
        if begun is not None:
            return f"--since auto rests on a whole sweep, and the one begun {utc(begun.started_at)} has not come to its end"
        return "--since auto rests on the last full sweep, and the ledger knows of none"
    now = book.bound(scene, subject, deletes=True)
    faults = world.changed(last.bound | {book.DIRECTIONS: now[book.DIRECTIONS]}, now)
    if faults:
        return f"the last full sweep, begun {utc(last.started_at)}, holds no more: {'; '.join(faults)}"
    low = None if last.low is None else last.low.astimezone(UTC)
    return Evidence(
        sweep=last.id,
        since=mark.safe_since(low, scene.settings.fence.skew),
        started_at=last.started_at.astimezone(UTC),
        finished_at=last.finished_at.astimezone(UTC),
        count=last.verified,
        verified=Verified(ledger, subject.key_type, last.id, subject.name),
    )
