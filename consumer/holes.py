"""The stretches of the log that nobody read: list them, show one, accept their loss by name and reason.

A hole cannot be read again: what stood there is gone, or another log stands in its place. Accepting it ends the question,
not the loss: `deletes` and the drop rate may be answered again, but rows of that time stay `unread`, for nobody heard
whether they were announced. Holes are recorded by `consumer.attach` and `consumer.ledger`.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from consumer.settlement import Name, Settlement, number_of, with_reason
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import LedgerError
from schemas.ledger import Settled
from schemas.log_state import Hole

hole = tables.hole


def list_(ledger: Ledger, *, state: str | None = Settled.OPEN, limit: int = 100) -> list[Hole]:
    """The oldest first; `state=None` lists all."""
    query = sa.select(hole).order_by(hole.c.id).limit(limit)
    if state is not None:
        query = query.where(hole.c.state == state)
    with ledger.begin("read the holes") as db:
        return [Hole.from_row(row) for row in db.execute(query)]


def count(ledger: Ledger, *, state: str | None = Settled.OPEN) -> int:
    query = sa.select(sa.func.count()).select_from(hole)
    if state is not None:
        query = query.where(hole.c.state == state)
    with ledger.begin("read the holes") as db:
        return int(db.execute(query).scalar_one())


def show(ledger: Ledger, name: Name) -> Hole:
    """One hole. Raises LedgerError where there is none of this name."""
    return _chosen(ledger, [name])[0]


def accept(ledger: Ledger, names: Sequence[Name], *, reason: str, by: str) -> Settlement:
    """Take the loss of what stood there, by name and reason."""
    why = with_reason(reason)
    chosen = _chosen(ledger, names)
    open_ = [found.id for found in chosen if found.state == Settled.OPEN]
    update = (
        sa.update(hole)
        .where(hole.c.id.in_(open_), hole.c.state == Settled.OPEN)
        .values(state=Settled.ACCEPTED, settled_by=by, settled_reason=why)
        .returning(hole.c.id)
    )
    with ledger.begin("accept holes in the log") as db:
        # Two operators at once: the second is told, and the first one's reason stands.
        ours = set(db.execute(update).scalars())
    failed = {found.name: "it is already accepted" for found in chosen if found.id not in ours}
    return Settlement(settled=tuple(found.name for found in chosen if found.id in ours), failed=failed)


def not_again(ledger: Ledger, names: Sequence[Name]) -> Settlement:
    """What `--again` says of holes."""
    why = "nothing is left to read again: the log does not hold it any more; accept its loss instead"
    return Settlement(settled=(), failed={found.name: why for found in _chosen(ledger, names)})


def _chosen(ledger: Ledger, names: Sequence[Name]) -> list[Hole]:
    numbers = {number_of(name): name for name in names}
    with ledger.begin("read the holes") as db:
        rows = db.execute(sa.select(hole).where(hole.c.id.in_(numbers)).order_by(hole.c.id))
        found = {row.id: Hole.from_row(row) for row in rows}
    for number, name in numbers.items():
        if number not in found:
            raise LedgerError(f"there is no {name}", hint="`fencepost quarantine list` shows the open ones")
    return [found[number] for number in numbers]
