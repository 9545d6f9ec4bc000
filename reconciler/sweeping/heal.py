"""Insert what a pass found missing, as a cutover does, and give way to one."""

from __future__ import annotations

from collections.abc import Sequence

from databases.connect import connect, renamed
from reconciler import lease
from reconciler.backfill.journal import Journal
from reconciler.examine import Run
from reconciler.lease import Rank
from reconciler.outcome import TypeOutcome
from reconciler.repair import Order, carry_out, finish_earlier, guarded
from schemas.errors import RefusedWrite


def insert(r: Run, outcomes: Sequence[TypeOutcome], max_backfill: int | None) -> str:
    """A sentence on what was done. Raises RefusedWrite where the registry's own rules forbid the rows."""
    held = lease.acquire(r.ledger, r.id, rank=Rank.BACKGROUND)
    if isinstance(held, lease.Taken):
        return f"nothing was inserted: registry rows are being written by {held.described}"
    with held:
        try:
            finish_earlier(r, held)
            order = Order(dry_run=False, plan=None, max_backfill=max_backfill)
            return carry_out(r, outcomes, order, held, guarded=guarded(r, outcomes))
        except RefusedWrite as refused:
            if not held.lost:
                raise
            _journalled(r, outcomes)
            return f"gave way in the middle: {refused}; what was inserted until then stands, the next pass does the rest"


def _journalled(r: Run, outcomes: Sequence[TypeOutcome]) -> None:
    """How far we had come when another took the lease: only the journal knows."""
    with connect(r.ledger.dsn, "the ledger") as connection, renamed("read the backfill's journal"):
        entries = Journal(connection, r.ledger).of_run(r.id)
    for t in outcomes:
        mine = [entry for entry in entries if entry.data_type == t.subject.name]
        t.backfilled = sum(len(entry.inserted - entry.removed) for entry in mine)
