"""The low mark: since when rows may be younger than a pass.

`created_at` is mostly when a transaction began, not when its row became visible. So before a pass looks at its first row,
everyone with a transaction open is listed: what began earlier than all of them had ended, and its rows are seen. A
transaction that is prepared tells when it was prepared, not when it began: there an earlier mark is the bound. Where a
start is told to nobody of our rights, there is no low mark, and it is said why.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from databases.connect import renamed
from reconciler import fence
from reconciler.fence import Transaction
from reconciler.identity import lsn_number
from reconciler.ports import Say, names
from reconciler.probe import Reader
from reconciler.probe.blobs import extremes
from reconciler.scene import Scene, Subject
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
    """Mark the source before a pass over one data type begins."""
    with renamed("mark where the source stands"):
        # The clock first: whoever begins between the two is younger than it, and listed or not makes no difference.
        row = scene.fence_at.execute("SELECT clock_timestamp()").fetchone()
        assert row
        at = row[0].astimezone(UTC)
        listed = fence.open_transactions(scene.fence_at, [subject.source.oid])
        row = scene.fence_at.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row
        lsn: str = row[0]
    low, why = bound(at, [t for t in listed if t.waited_for], earlier)
    if low is not None and not replayed(scene, lsn, wait_s, say):
        low, why = None, f"the standby had not replayed {lsn}, where its primary stood at the mark"
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
    return None, f"nobody told when {names(unknown)} began (a role with pg_read_all_stats is told more)"


def _began(transaction: Transaction, earlier: Sequence[Earlier]) -> datetime | None:
    if not transaction.prepared:
        return transaction.since
    # At the newest mark before it was prepared it was either open, and counted there, or had not begun.
    before = [mark for mark in earlier if transaction.since is not None and mark.at <= transaction.since]
    return max(before, key=lambda mark: mark.at).low if before else None


def replayed(scene: Scene, lsn: str, wait_s: float, say: Say) -> bool:
    """Whether a standby shows what its primary held at the mark."""
    if scene.fence_at is scene.source:
        return True
    deadline = time.monotonic() + wait_s
    while True:
        with renamed("ask the standby how far it has replayed"):
            row = scene.source.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
        if row and row[0] and lsn_number(row[0]) >= lsn_number(lsn):
            return True
        if time.monotonic() > deadline:
            return False
        say.waiting(f"for the standby to replay {lsn}")
        time.sleep(0.1)


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
