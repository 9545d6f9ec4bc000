"""Settle runs whose process died without a word, so that the ledger says `killed` of them and not `running` for ever.

Dead is a run whose process is known to be gone, or which gave no sign of life for a minute and whose process cannot be
seen from here. One that was paused, and is there, is at work. The settled run takes its place in the chain like any
other, and every lease it held is free at once; under a new epoch, so that it could not write even if it lived after all.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import alive, history
from schemas import ledger as tables
from schemas.errors import FencepostError
from schemas.verdict import utc

#: Runs of versions that gave no sign of life are taken for dead after so long.
UNHEARD = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspect:
    run: str
    holder: str | None
    heard_at: datetime | None  #: the last sign of life
    silent: bool  #: too long ago


def settle(ledger: Ledger) -> tuple[str, ...]:
    """Close every run whose process is dead; their ids. Keeps nobody from a verdict: what cannot be settled now is left."""
    settled = []
    with suppress(FencepostError):
        for suspect in _running(ledger):
            if _is_dead(suspect) and _close(ledger, suspect):
                settled.append(suspect.run)
    return tuple(settled)


def _is_dead(suspect: _Suspect) -> bool:
    seen = alive.is_dead(suspect.run, suspect.holder)
    return suspect.silent if seen is None else seen


def _running(ledger: Ledger) -> list[_Suspect]:
    with ledger.begin("look for runs that were killed") as connection:
        return [_read(row) for row in connection.execute(_SUSPECTS.order_by(tables.run.c.id))]


def _close(ledger: Ledger, suspect: _Suspect) -> bool:
    """Asked again under a lock on the run: it may have ended, or given a sign of life, since it was suspected."""
    lease, run = tables.lease.c, suspect.run
    with ledger.begin("settle a run that was killed") as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        # Both locked before they are read: what waits for a lock answers from before it waited.
        connection.execute(sa.select(tables.run.c.id).where(tables.run.c.id == run).with_for_update())
        connection.execute(sa.select(lease.name).where(lease.name == alive.lease_of(run)).with_for_update())
        row = connection.execute(_SUSPECTS.where(tables.run.c.id == run)).one_or_none()
        if row is None or not _is_dead(now := _read(row)):
            return False
        freed = sa.update(tables.lease).where(lease.run == run, lease.name != alive.lease_of(run))
        connection.execute(freed.values(epoch=lease.epoch + 1, holder=None, run=None, expires_at=None))
        history.killed(connection, run, _note(now))
    return True


def _note(suspect: _Suspect) -> str:
    since = "" if suspect.heard_at is None else f"; its last sign of life was at {utc(suspect.heard_at)}"
    return f"its process ended without a word: killed, or its machine went down{since}"


_sign = tables.lease.alias("sign")
_SUSPECTS = (
    sa.select(
        tables.run.c.id,
        tables.run.c.started_at,
        _sign.c.name,
        _sign.c.holder,
        _sign.c.expires_at,
        (_sign.c.expires_at > sa.func.clock_timestamp()).label("lives"),
        sa.exists()
        .where(tables.lease.c.run == tables.run.c.id, tables.lease.c.expires_at > sa.func.clock_timestamp())
        .label("writes"),
    )
    .select_from(tables.run.outerjoin(_sign, _sign.c.name == alive.LEASE + tables.run.c.id))
    .where(tables.run.c.state == history.State.RUNNING)
)


def _read(row: sa.Row[*tuple[object, ...]]) -> _Suspect:
    if row.name is None:
        old = row.started_at < datetime.now(UTC) - UNHEARD
        return _Suspect(run=row.id, holder=None, heard_at=None, silent=old and not row.writes)
    return _Suspect(run=row.id, holder=row.holder, heard_at=row.expires_at - alive.LIFE, silent=not row.lives)
