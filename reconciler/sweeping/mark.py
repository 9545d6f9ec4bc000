"""The low mark: since when rows may be younger than a pass.

`created_at` is mostly when a transaction began, not when its row became visible. So before a pass looks at its first row,
everyone with a transaction open is listed: what began earlier than all of them had ended, and its rows are seen. A
transaction that is prepared tells when it was prepared, not when it began: there an earlier mark is the bound. Where a
start is told to nobody of our rights, there is no low mark, and it is said why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from databases.connect import renamed
from reconciler import fence, replay
from reconciler.fence import Transaction
from reconciler.identity import position
from reconciler.ports import Say, names
from reconciler.probe import Reader
from reconciler.probe.blobs import extremes
from reconciler.scene import Scene, Subject
from schemas.errors import UnavailableError
from schemas.keys import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A mark of the same source that was recorded before."""

    at: datetime
    low: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """`low` is when the oldest transaction open at `at` had begun, or `at`; None where nobody could tell, and `why`."""

    at: datetime
    low: datetime | None
    why: str | None
    highest: Key | None
    lsn: str


def take(scene: Scene, subject: Subject, earlier: Sequence[Earlier], *, wait_s: float, say: Say) -> Mark:
    """Mark the source before a pass over one data type begins. Raises UnavailableError where the source is a standby that
    does not show in time what was there at the mark: a pass would vouch for rows that it cannot see."""
    with renamed("mark where the source stands"):
        # The clock first: whoever begins between the two is younger than it, and listed or not makes no difference.
        row = scene.fence_at.execute("SELECT clock_timestamp()").fetchone()
        assert row
        at = row[0].astimezone(UTC)
        listed = fence.open_transactions(scene.fence_at, [subject.source.oid])
        lsn = position(scene.fence_at)
    low, why = bound(at, [t for t in listed if t.waited_for], earlier)
    if not replay.reached(scene, lsn, wait_s, say):
        raise UnavailableError(replay.behind(scene, lsn, "where its primary stood before the pass"))
    return Mark(at=at, low=low, why=why, highest=_highest(scene, subject), lsn=lsn)


def bound(at: datetime, open_: Sequence[Transaction], earlier: Sequence[Earlier]) -> tuple[datetime | None, str | None]:
    """The earliest that any of these can have begun, and why that cannot be told. Pure."""
    low, unknown = at, []
    for transaction in open_:
        began = _began(transaction, earlier)
        if began is None:
            unknown.append(transaction.described(at))
        else:
            low = min(low, began)
    if not unknown:
        return low, None
    if all(t.prepared for t in open_ if _began(t, earlier) is None):
        return None, f"a prepared transaction tells nobody when it began: {names(unknown)}; sweep again once it has ended"
    return None, f"nobody told when {names(unknown)} began (a role with pg_read_all_stats is told more)"


def _began(transaction: Transaction, earlier: Sequence[Earlier]) -> datetime | None:
    if not transaction.prepared:
        return transaction.since
    # At the newest mark before it was prepared it was either open, and counted there, or had not begun.
    before = [mark for mark in earlier if transaction.since is not None and mark.at <= transaction.since]
    return max(before, key=lambda mark: mark.at).low if before else None


def _highest(scene: Scene, subject: Subject) -> Key | None:
    """The highest key of the source now, where keys have an order."""
    if not subject.source.table.by_range or subject.source.hidden:
        return None
    with renamed(f"read the highest key of {subject.source.table.qualified}"), scene.source.transaction():
        scene.source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        ends = extremes(Reader(scene.source, subject.source.table), None, None)
    return None if ends is None else ends[1]


def safe_since(low: datetime | None, skew: timedelta) -> datetime | None:
    """Rows dated before were visible to the pass, by whichever of the clocks they were dated."""
    return None if low is None else low - skew
