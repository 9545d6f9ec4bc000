"""Let one process at a time write registry rows, by a row in the ledger that carries an epoch.

Every acquisition and every release raises the epoch, so an epoch names one holder for ever: a process that was paused,
and wakes after another took over, writes under an epoch that is no more. Only a ledger that is put back from a backup
gives epochs out a second time; so the holder, whose name has a token, has to be the same too. The expiry, by the ledger
server's clock, only says when another may take over; it never lets a stale holder write.

`expires_at` may change beside a writer, `epoch` may not: a write locks the lease row FOR KEY SHARE until it commits. The
unique constraint on (name, epoch) makes the epoch a key, so a takeover waits for that lock, while a renewal, which moves
only the expiry, does not. No session state is used anywhere, so a transaction-mode pooler may stand in between.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from types import TracebackType
from typing import Self

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import insert

from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import FencepostError, RefusedWrite, UnavailableError

#: The lease on writing registry rows.
WRITER = "registry"
TTL = timedelta(seconds=15)
#: How long an acquisition waits for a batch that is being written under the lease.
PATIENCE = timedelta(seconds=10)
#: The constraint besides the primary key; its name is the same in every language of a server.
_EPOCH = "lease_name_epoch_key"


class Rank(IntEnum):
    """Who goes first: a higher rank takes the lease from a living holder of a lower one, between two of its batches."""

    BACKGROUND = 0  #: sweep and audit
    CUTOVER = 1  #: cutover and undo


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Another process holds the lease: follow its run, or come back when it has ended."""

    holder: str
    run: str | None
    epoch: int
    rank: int = Rank.CUTOVER

    @property
    def described(self) -> str:
        return f"{self.holder}" + (f" (run {self.run})" if self.run else "")


def _called(name: str) -> str:
    return "the lease on registry writes" if name == WRITER else f"the lease {name!r}"


def who() -> str:
    """Who is at the keyboard, and where: the name that an accepted loss carries."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def whoami() -> str:
    """A holder's name: who, where, which process, and a token, for process ids are used again."""
    return f"{who()} pid {os.getpid()} {secrets.token_hex(4)}"


def acquire(
    ledger: Ledger,
    run: str,
    *,
    rank: Rank = Rank.CUTOVER,
    holder: str | None = None,
    name: str = WRITER,
    ttl: timedelta = TTL,
) -> Held | Taken:
    """Take the lease where it is free, expired, or held at a lower rank. Enter the `Held` to keep it renewed."""
    holder = holder or whoami()
    t = tables.lease
    expiry = sa.func.clock_timestamp() + ttl
    wanted = insert(t).values(name=name, epoch=1, holder=holder, run=run, rank=int(rank), expires_at=expiry)
    free = sa.or_(t.c.expires_at.is_(None), t.c.expires_at <= sa.func.clock_timestamp(), t.c.rank < wanted.excluded.rank)
    # The clock is read again in SET: what VALUES read may be old, if the row was locked by a batch until now.
    taking = wanted.on_conflict_do_update(
        index_elements=[t.c.name],
        set_={
            "epoch": t.c.epoch + 1,
            "holder": wanted.excluded.holder,
            "run": wanted.excluded.run,
            "rank": wanted.excluded.rank,
            "expires_at": expiry,
        },
        where=free,
    ).returning(t.c.epoch)
    try:
        with ledger.begin(f"take {_called(name)}") as connection:
            connection.execute(
                sa.text("SELECT pg_catalog.set_config('lock_timeout', :ms, true)"),
                {"ms": str(int(PATIENCE.total_seconds() * 1000))},
            )
            epoch = connection.execute(taking).scalar_one_or_none()
    except UnavailableError as error:
        if _EPOCH in str(error):  # the row was made a moment ago by another; an upsert waits at one of its indexes only
            return acquire(ledger, run, rank=rank, holder=holder, name=name, ttl=ttl)
        in_use = holder_of(ledger, name)
        if in_use is None or "lock timeout" not in str(error):
            raise
        return in_use
    if epoch is not None:
        return Held(ledger, name=name, epoch=epoch, holder=holder, run=run, ttl=ttl)
    return holder_of(ledger, name) or acquire(ledger, run, rank=rank, holder=holder, name=name, ttl=ttl)


def holder_of(ledger: Ledger, name: str = WRITER) -> Taken | None:
    """Who holds the lease now; None where nobody does."""
    t = tables.lease
    asked = sa.select(t.c.holder, t.c.run, t.c.epoch, t.c.rank).where(
        t.c.name == name, t.c.expires_at > sa.func.clock_timestamp()
    )
    with ledger.begin(f"ask who holds {_called(name)}") as connection:
        row = connection.execute(asked).one_or_none()
    return None if row is None else Taken(holder=row.holder, run=row.run, epoch=row.epoch, rank=row.rank)


class Held:
    """A lease of ours. As a context manager it is renewed in the background, and given back at the end."""

    def __init__(
        self, ledger: Ledger, *, name: str, epoch: int, holder: str, run: str, ttl: timedelta, every: timedelta | None = None
    ) -> None:
        self.ledger, self.name, self.epoch, self.holder, self.run, self.ttl = ledger, name, epoch, holder, run, ttl
        self.every = every or ttl / 3
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._renewals = threading.Thread(target=self._renew_for_ever, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._renewals.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._renewals.join()
        with contextlib.suppress(FencepostError):  # it expires by itself
            self.release()

    @property
    def lost(self) -> bool:
        """Whether a renewal already found that another holds it. False proves nothing: only the write itself does."""
        return self._lost.is_set()

    def renew(self) -> bool:
        """Move the expiry. False: the lease is another's, for good."""
        t = tables.lease
        moved = sa.update(t).where(*self.ours()).values(expires_at=sa.func.clock_timestamp() + self.ttl)
        with self.ledger.begin(f"renew {_called(self.name)}") as connection:
            ours = connection.execute(moved).rowcount == 1
        if not ours:
            self._lost.set()
        return ours

    def release(self) -> None:
        """Give it back; writes under its epoch are refused from here on. Another's is left alone."""
        t = tables.lease
        freed = sa.update(t).where(*self.ours()).values(epoch=t.c.epoch + 1, holder=None, run=None, expires_at=None)
        with self.ledger.begin(f"give {_called(self.name)} back") as connection:
            connection.execute(freed)

    def condition(self) -> sql.Composed:
        """`name = … AND …`: the rows of the lease table that are this very lease."""
        return sql.SQL("name = {} AND epoch = {} AND holder = {}").format(
            sql.Literal(self.name), sql.Literal(self.epoch), sql.Literal(self.holder)
        )

    def ours(self) -> tuple[sa.ColumnElement[bool], ...]:
        """As `condition`, for statements of the ledger's engine."""
        t = tables.lease
        return t.c.name == self.name, t.c.epoch == self.epoch, t.c.holder == self.holder

    def locked(self) -> sql.Composed:
        """One row, locked against a takeover until the transaction ends; no row where the lease is another's."""
        table = sql.Identifier(self.ledger.schema, tables.lease.name)
        return sql.SQL("SELECT FROM {} WHERE {} FOR KEY SHARE").format(table, self.condition())

    def stands(self, connection: psycopg.Connection[object]) -> bool:
        """Asked on a connection to the ledger's database, in whatever transaction it is in."""
        table = sql.Identifier(self.ledger.schema, tables.lease.name)
        query = sql.SQL("SELECT FROM {} WHERE {}").format(table, self.condition())
        return connection.execute(query).rowcount == 1

    def lock(self, db: sa.Connection) -> None:
        """Against a takeover, until this transaction of the ledger ends. Raises RefusedWrite where it is another's."""
        mine = sa.select(tables.lease.c.epoch).where(*self.ours())
        if db.execute(mine.with_for_update(read=True, key_share=True)).one_or_none() is None:
            raise self.refusal()

    def refusal(self) -> RefusedWrite:
        """What a write says that came too late."""
        self._lost.set()
        by = None
        with contextlib.suppress(FencepostError):
            by = holder_of(self.ledger, self.name)
        if by is not None and by.epoch != self.epoch:
            who = f"{by.described} took it over (epoch {by.epoch}, ours was {self.epoch})"
        else:
            who = f"it was taken over and given back since (ours was epoch {self.epoch})"
        return RefusedWrite(
            f"{_called(self.name)} is not ours any more: {who}",
            hint="nothing was written after it was lost; `fencepost runs` shows the other run",
        )

    def check(self) -> None:
        """Stop early where a renewal already knows. Raises RefusedWrite."""
        if self.lost:
            raise self.refusal()

    def _renew_for_ever(self) -> None:
        while not self._stop.wait(self.every.total_seconds()):
            # A ledger that is away for a moment is no lost lease: the epoch decides, at the next write.
            with contextlib.suppress(FencepostError):
                if not self.renew():
                    return
