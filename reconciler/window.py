"""The window: which creations a run looks at, by what strategy, on what evidence, and what it cannot see.

Windows are a shortcut, the whole is the truth. Pure but for the two questions it asks the source's catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

from databases.connect import renamed
from reconciler.probe import Table
from reconciler.sweeping.verified import Verified
from schemas.data_types import DataType
from schemas.durations import duration, instant
from schemas.errors import SettingsError
from schemas.events import NO_TIME
from schemas.verdict import Window

#: The index on time pays only where the window is a small part of the table (measured; see bench).
SMALL_PART = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What the operator asked: everything, a span back from the source's clock, or a point in time."""

    ago: timedelta | None = None
    at: datetime | None = None
    auto: bool = False  #: since the last sweep

    @classmethod
    def read(cls, text: str | None) -> Since:
        """`72h`, `7d`, an ISO time with a zone; None is everything. Raises SettingsError."""
        if text is None:
            return cls()
        if text == "auto":
            return cls(auto=True)
        try:
            if text[:1].isdigit() and "-" not in text[1:]:
                ago = duration(text)
                if ago <= timedelta(0):
                    raise ValueError("the window would be empty")
                return cls(ago=ago)
            at = instant(text)
            if at.year < 2:
                raise ValueError("so early a time cannot be reckoned with; without --since everything is compared")
            return cls(at=at)
        except ValueError as error:
            raise SettingsError(
                f"--since {text!r} means nothing: {error}", hint="write --since 72h, 7d, or 2026-11-01T12:00:00Z"
            ) from None

    def start(self, now: datetime) -> datetime | None:
        """The window's start by the source's clock. Raises SettingsError where it lies ahead."""
        start = now - self.ago if self.ago is not None else self.at
        if start is not None and start > now:
            raise SettingsError(
                f"--since {start.isoformat()} lies ahead of the source's clock, {now.isoformat()}",
                hint="a window begins in the past; without --since every row is compared",
            )
        return start


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A finished sweep that holds for the tables as they are: what `--since auto` rests on."""

    sweep: str
    since: datetime | None  #: rows dated before were all in it; None where nobody can say
    started_at: datetime
    finished_at: datetime
    count: int
    verified: Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one data type's window is read."""

    strategy: str  # full | created_at_index | key_bisect
    since_us: int | None
    window: Window

    def inside(self, time_us: int) -> bool:
        """Whether a row of that time is in the window. A row that no clock can place always is."""
        return self.since_us is None or time_us == NO_TIME or time_us >= self.since_us


_UNDATED = "rows dated before the window's start, also where the date was set by hand (imports, backdated rows)"
_SWITCHED = "rows that came into scope later without being created"


def plan(
    connection: psycopg.Connection[Any],
    data_type: DataType,
    table: Table,
    *,
    since: datetime | None,
    until: datetime,
    indexed: bool,
    always_dated: bool,
    whole: bool,
    rests_on: Evidence | None = None,
) -> Plan:
    """Choose the strategy. `whole`: the deletes claim needs the whole key range whatever the window.

    On a sweep rests a window that sees every key: what is new is what it did not verify, whatever its date.
    A row without a date belongs to every window and may have any key: only where none can be may the key cut.
    """
    if rests_on is not None:
        cannot_see = [_SWITCHED] if data_type.source.scope else []
        window = Window(strategy="full", since=rests_on.since, until=until, evidence="sweep", cannot_see=cannot_see)
        return Plan(strategy="full", since_us=None, window=window)
    evidence = "full" if since is None or table.created_at is None else "operator"
    if since is None or table.created_at is None:
        cannot_see = [_SWITCHED] if data_type.source.scope else []
        window = Window(strategy="full", since=None, until=until, evidence="full", cannot_see=cannot_see)
        return Plan(strategy="full", since_us=None, window=window)
    strategy = "full"
    cannot_see = [_UNDATED]
    if not whole and indexed and _share(connection, table, since) <= SMALL_PART:
        strategy = "created_at_index"
    elif not whole and _cut_by_key(data_type, table, always_dated):
        strategy = "key_bisect"
        cannot_see.append("rows keyed below the window's first key, whatever their date (settings: monotonic)")
    if data_type.source.scope:
        cannot_see.append(_SWITCHED)
    window = Window(strategy=strategy, since=since, until=until, evidence=evidence, cannot_see=cannot_see)
    return Plan(strategy=strategy, since_us=microseconds(_reach(table, since)), window=window)


def _cut_by_key(data_type: DataType, table: Table, always_dated: bool) -> bool:
    return data_type.source.monotonic and always_dated and table.kind in ("int", "uuid") and table.by_range


def _reach(table: Table, since: datetime) -> datetime:
    """From when on a row's date is in the window: a date without a time is a whole day, which may end inside."""
    if table.created_kind != "date":
        return since
    local = since.astimezone(ZoneInfo(table.zone or "UTC"))
    return datetime(local.year, local.month, local.day, tzinfo=local.tzinfo)


def microseconds(at: datetime) -> int:
    """Since the epoch, UTC, exactly."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond


def _share(connection: psycopg.Connection[Any], table: Table, since: datetime) -> float:
    """The planner's guess of the window's part of the table; it chooses a strategy, never an answer."""
    assert table.created_at
    query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} {}").format(
        sql.Identifier(table.schema, table.name),
        sql.SQL("WHERE {} >= {}").format(sql.Identifier(table.created_at), sql.Literal(since)),
    )
    everything = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(sql.Identifier(table.schema, table.name))
    with renamed(f"estimate the window of {table.schema}.{table.name}"):
        some = _rows(connection, query)
        whole = _rows(connection, everything)
    return some / max(whole, 1.0)


def _rows(connection: psycopg.Connection[Any], query: sql.Composed) -> float:
    row = connection.execute(query).fetchone()
    return float(row[0][0]["Plan"]["Plan Rows"]) if row else 0.0
