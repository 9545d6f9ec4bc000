"""The fence: a point in the source's history which every earlier writer has passed.

`created_at` is when a transaction began, not when its row became visible. So every virtual transaction listed in
`pg_locks`, which every role can see, and every prepared one is waited for until it has ended; only then the WAL position
is read. Waited for is everyone who might write the source tables; listed but not waited for are the others. A writer
that begins after the fence is seen by the second compare, not here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from databases.connect import renamed
from reconciler.identity import lsn_number, without_header
from reconciler.ports import Say, names
from reconciler.writers import WRITERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One open transaction at the fence. `handle` is its virtual transaction id, or the gid of a prepared one."""

    handle: str
    pid: int | None
    user: str | None
    application: str | None
    prepared: bool
    waited_for: bool
    why_not: str | None = None
    since: datetime | None = None

    def described(self, now: datetime) -> str:
        who = f"prepared transaction {self.handle!r}" if self.prepared else f"pid {self.pid}"
        parts = [f"user {self.user}" if self.user else "", f"{self.application!r}" if self.application else ""]
        if self.since is not None:
            parts.append(f"open for {max(0, (now - self.since).total_seconds()):.0f} s")
        told = ", ".join(part for part in parts if part)
        return f"{who} ({told})" if told else who


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """When and where everything earlier had ended; `open_` are those that had not when the wait ended."""

    at: datetime
    lsn: str
    listed: int
    waited_s: float
    open_: tuple[Transaction, ...]
    passed_over: tuple[Transaction, ...]

    @property
    def held(self) -> bool:
        return not self.open_

    @property
    def lsn_number(self) -> int:
        return lsn_number(self.lsn)


#: A grant may have been taken back since a transaction wrote: its rows can still be committed, and so long it holds the
#: lock that it wrote under.
_LISTED = f"""{WRITERS}
SELECT l.virtualtransaction, l.pid, a.usename, a.application_name, a.xact_start,
       -- Who may not see the type still sees that nobody logged in to this database: only autovacuum works like that.
       coalesce(a.backend_type, CASE WHEN a.datid <> 0 AND coalesce(a.usesysid, 0) = 0 THEN 'autovacuum worker' END),
       a.datid IS NOT NULL AND a.datid <> 0 AND a.datid <> (SELECT oid FROM pg_database WHERE datname = current_database()),
       a.usesysid IS NULL OR EXISTS (
         SELECT FROM pg_locks w JOIN written t ON t.oid = w.relation
          WHERE w.pid = l.pid AND w.locktype = 'relation'
            AND w.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND w.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       ) OR EXISTS (SELECT FROM writers w WHERE pg_has_role(a.usesysid, w.oid, 'MEMBER'))
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock' AND l.pid <> pg_backend_pid()
"""  # noqa: S608 - both halves are constants
_PREPARED = """
SELECT gid, owner, prepared FROM pg_prepared_xacts WHERE database = current_database()
"""
_STILL = "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'virtualxid' AND granted AND mode = 'ExclusiveLock'"
_HARMLESS = {"autovacuum worker": "autovacuum", "autovacuum launcher": "autovacuum", "walsender": "a walsender"}


def take(connection: psycopg.Connection[Any], tables: Sequence[int], *, wait_s: float, say: Say) -> Fence:
    """Wait until every transaction open now has ended, at most `wait_s`, telling who holds us up.

    `tables` are the oids of the source tables: who can write none of them is not waited for.
    """
    with renamed("take the fence on the source"):
        everyone = open_transactions(connection, tables)
        waited_for = [t for t in everyone if t.waited_for]
        started = time.monotonic()
        told = 0.0
        watch = _Watch(connection, waited_for)
        still = waited_for
        while still and (elapsed := time.monotonic() - started) < wait_s:
            still = watch.still_open()
            if still and elapsed - told >= 1.0:
                told = elapsed
                now = datetime.now(UTC)
                say.waiting(f"for earlier writers: {names([t.described(now) for t in still], 3)}")
            if still:
                time.sleep(0.05)
        if still:
            still = watch.still_open()
        row = connection.execute("SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text").fetchone()
        assert row
    return Fence(
        at=row[0].astimezone(UTC),
        lsn=without_header(row[1]),
        listed=len(everyone),
        waited_s=time.monotonic() - started,
        open_=tuple(still),
        passed_over=tuple(t for t in everyone if not t.waited_for),
    )


def open_transactions(connection: psycopg.Connection[Any], tables: Sequence[int]) -> list[Transaction]:
    """Everyone with a transaction open, prepared ones among them."""
    out = []
    for handle, pid, user, application, since, backend, elsewhere, can_write in connection.execute(
        _LISTED, {"tables": list(tables)}
    ):
        why_not = _HARMLESS.get(backend or "")
        if why_not is None and elsewhere:
            why_not = "another database"
        if why_not is None and not can_write:
            why_not = "its role cannot write the source tables"
        out.append(
            Transaction(
                handle=handle,
                pid=pid,
                user=user,
                application=application,
                prepared=False,
                waited_for=why_not is None,
                why_not=why_not,
                since=since,
            )
        )
    return out + list(_prepared(connection).values())


def _prepared(connection: psycopg.Connection[Any]) -> dict[str, Transaction]:
    """By gid; a prepared transaction is always waited for."""
    return {
        gid: Transaction(handle=gid, pid=None, user=owner, application=None, prepared=True, waited_for=True, since=since)
        for gid, owner, since in connection.execute(_PREPARED)
    }


class _Watch:
    """Looks again and again at the transactions that were open at the fence.

    One that is prepared meanwhile gives its virtual id up without having ended, and nothing tells which gid it became. So
    when a virtual id goes, every transaction prepared since the fence is waited for too.
    """

    def __init__(self, connection: psycopg.Connection[Any], waited_for: Sequence[Transaction]) -> None:
        self.connection, self.still = connection, list(waited_for)

    def still_open(self) -> list[Transaction]:
        running = {row[0] for row in self.connection.execute(_STILL)}
        prepared = _prepared(self.connection)  # after `running`: what left the one for the other is then seen here
        left = [t for t in self.still if t.handle in (prepared if t.prepared else running)]
        if any(not t.prepared and t.handle not in running for t in self.still):
            known = {t.handle for t in left if t.prepared}
            left += [t for gid, t in prepared.items() if gid not in known]
        self.still = left
        return left
