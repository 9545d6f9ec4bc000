"""One consistent view of a database over several connections, taken after its tables were locked against change.

The tables are locked in ACCESS SHARE mode first, under `lock_timeout`: LOCK takes no snapshot of its own, so a rewrite
or TRUNCATE that commits while we wait is over before the snapshot exists. Then one REPEATABLE READ, READ ONLY snapshot is
exported, and every slice's connection, which has locked them too, imports it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from databases.connect import renamed
from reconciler.connections import Connections, Wanted
from reconciler.probe import Table
from schemas.errors import UnavailableError
from schemas.settings import Dsn, SourceSettings

_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a snapshot may cost its server: connections, and times to wait, to ask and to be held."""

    slices: int
    statement_timeout: timedelta
    lock_timeout: timedelta
    held_at_most: timedelta

    @staticmethod
    def of(settings: SourceSettings) -> Limits:
        """The same for both sides."""
        return Limits(
            slices=settings.slices,
            statement_timeout=settings.statement_timeout,
            lock_timeout=settings.lock_timeout,
            held_at_most=settings.snapshot_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Connections that see one state of one database."""

    what: str
    connections: tuple[psycopg.Connection[Any], ...]
    at: datetime  #: the server's clock when the snapshot stood
    lsn: str
    in_recovery: bool
    #: Which transactions it sees: where two snapshots of one server tell the same, they see the same rows. None on a
    #: standby, whose snapshots do not tell all.
    sees: str | None
    until: float  #: by `time.monotonic`; held longer, it keeps the server's vacuum from too much
    #: Of a source that has a copy: the copy's snapshot, taken after this one.
    copy: Snapshot | None = None

    @property
    def first(self) -> psycopg.Connection[Any]:
        return self.connections[0]

    def may_be_held(self) -> None:
        """To be asked between two statements. Raises UnavailableError where it was held for too long."""
        if time.monotonic() > self.until:
            raise UnavailableError(
                f"a snapshot of {self.what} was held for longer than source.snapshot_max",
                hint="raise source.snapshot_max, or ask when the servers are less busy",
            )


@contextmanager
def snapshot(
    dsn: Dsn,
    what: str,
    tables: Sequence[Table],
    limits: Limits,
    *,
    kept: Connections | None = None,
) -> Iterator[Snapshot]:
    """Lock `tables`, take a snapshot, share it over the limits' connections; all is given back at the end.

    Connections come from `kept` and go there; without it they are opened and closed. Raises UnavailableError where a lock
    is not to be had in time or a connection is lost.
    """
    wanted = Wanted(dsn=dsn, what=what, statement_timeout=limits.statement_timeout, lock_timeout=limits.lock_timeout)
    with ExitStack() as stack:
        if kept is None:
            kept = stack.enter_context(closing(Connections()))
        connections = kept.take(wanted, limits.slices)
        for connection in connections:
            stack.callback(kept.give_back, wanted, connection)
        leader, *others = connections
        with renamed(f"take a snapshot of {what}"):
            # All of them lock before the snapshot is shared: one that came later would queue behind an ALTER or TRUNCATE
            # that waits for the first, and both would wait until a timeout ends one of them.
            for connection in connections:
                connection.execute(_BEGIN)
                _lock(connection, what, tables)
            since = time.monotonic()
            row = leader.execute(
                "SELECT pg_export_snapshot(), clock_timestamp(), pg_is_in_recovery(),"
                " CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,"
                " CASE WHEN NOT pg_is_in_recovery() THEN txid_current_snapshot() END::text"
            ).fetchone()
            assert row
            exported, at, in_recovery, lsn, sees = row
            for connection in others:
                connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
        yield Snapshot(
            what=what,
            connections=tuple(connections),
            at=at.astimezone(UTC),
            lsn=lsn or "",
            in_recovery=in_recovery,
            sees=sees,
            until=since + limits.held_at_most.total_seconds(),
        )


def _lock(connection: psycopg.Connection[Any], what: str, tables: Sequence[Table]) -> None:
    for table in tables:
        name = sql.Identifier(table.schema, table.name)
        try:
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name))
        except psycopg.errors.LockNotAvailable:
            raise UnavailableError(
                f"{what}: table {table.schema}.{table.name} is locked by somebody who changes it",
                hint="wait until that ALTER, TRUNCATE or VACUUM FULL has ended, or raise source.lock_timeout",
            ) from None
