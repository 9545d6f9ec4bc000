"""Which server this is: system identifier, timeline, database oid, and how far its history had come.

Recorded in the ledger at the first run and at each run that recognised the server; compared at every run, so that a
clone, a restored backup or a swapped connection string is noticed. Asks nothing that needs a privilege.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa

from databases.connect import renamed
from databases.ledger import Ledger
from schemas import ledger as tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A server and database, at a point of its history. `lsn` is a WAL position as a number, `xid` the next 64-bit id."""

    side: str
    system: str
    timeline: int
    database_oid: int
    database: str
    lsn: int
    xid: int

    @property
    def lsn_text(self) -> str:
        return lsn_text(self.lsn)

    @property
    def described(self) -> str:
        return f"system {self.system}, timeline {self.timeline}, database {self.database} (oid {self.database_oid})"


def lsn_number(text: str) -> int:
    """`16/B374D848` as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def lsn_text(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


#: A page of the WAL begins with a header; the longest is that of a segment's first page.
_PAGE, _HEADER = 8192, 40


def position(connection: psycopg.Connection[Any]) -> str:
    """How far a primary's history has come, in a place that whoever follows it can reach."""
    row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row
    return without_header(row[0])


def without_header(lsn: str) -> str:
    """The same point of history, where the last record ended.

    When it fills a page, or the segment was switched, the server names the place behind the next page's header: nothing is
    written there yet, and as long as the server is quiet no standby and no slot comes so far. Pure.
    """
    number = lsn_number(lsn)
    into = number % _PAGE
    return lsn_text(number - into) if 0 < into <= _HEADER else lsn


def identify(connection: psycopg.Connection[Any], side: str) -> Identity:
    """Ask a server who it is."""
    with renamed(f"ask the {side} who it is"):
        row = connection.execute(
            "SELECT s.system_identifier::text, c.timeline_id, d.oid::bigint, d.datname,"
            " CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,"
            " pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
            # The checkpoint's timeline lags behind a promotion; the name of the current WAL file does not.
            " CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END"
            " FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d WHERE d.datname = current_database()"
        ).fetchone()
        assert row
        system, timeline, oid, database, lsn, xid, current = row
        if current:
            timeline = int(current[:8], 16)
    return Identity(
        side=side,
        system=system,
        timeline=timeline,
        database_oid=oid,
        database=database,
        lsn=lsn_number(lsn) if lsn else 0,
        xid=xid,
    )


def recorded(ledger: Ledger, side: str) -> Identity | None:
    """The newest identity the ledger knows of a side."""
    t = tables.identity
    with ledger.begin("read the recorded identities") as connection:
        row = connection.execute(sa.select(t).where(t.c.side == side).order_by(t.c.id.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    return Identity(
        side=side,
        system=row.system,
        timeline=row.timeline,
        database_oid=row.database_oid,
        database=row.database,
        lsn=lsn_number(row.lsn),
        xid=row.xid,
    )


def record(ledger: Ledger, *all_met: Identity) -> None:
    """Remember servers that were recognised, or met for the first time."""
    rows = [
        {
            "side": met.side,
            "system": met.system,
            "timeline": met.timeline,
            "database_oid": met.database_oid,
            "database": met.database,
            "lsn": met.lsn_text,
            "xid": met.xid,
        }
        for met in all_met
    ]
    with ledger.begin("record whom we met") as connection:
        connection.execute(sa.insert(tables.identity), rows)


def contradiction(before: Identity | None, now: Identity) -> str | None:
    """Why `now` cannot be the server that was recorded; None where it can."""
    if before is None:
        return None
    if before.system != now.system:
        return f"the {now.side} was system {before.system}; this is another server, {now.system}"
    if before.database_oid != now.database_oid:
        return f"the {now.side}'s database was {before.database} (oid {before.database_oid}); this is {now.described}"
    if before.timeline != now.timeline:
        return f"the {now.side} was on timeline {before.timeline} and is on {now.timeline}: it was promoted or restored"
    if now.lsn < before.lsn:
        return f"the {now.side}'s WAL stood at {before.lsn_text} and stands at {now.lsn_text}: its history went back"
    if now.xid < before.xid:
        return f"the {now.side}'s next transaction id was {before.xid} and is {now.xid}: its history went back"
    return None
