"""Which window a run would look at, by which strategy, and how dear the tables are to read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from psycopg import sql

from databases.connect import renamed
from reconciler.catalog import Facts, Relation
from reconciler.preflight.finding import Finding, ok, warn
from reconciler.preflight.ground import Connection, Ground, Subject
from reconciler.window import Since, plan
from schemas.durations import show

#: Below this share of all-visible pages an index-only scan reads the table as well.
_VISIBLE = 0.8
#: Tables of fewer pages are read in no time, whatever their visibility map says.
_SMALL = 1000
#: Rows that no clock can place are counted so far and no further.
_COUNTED = 10_000


def look(ground: Ground, since: Since) -> Iterator[Finding]:
    if ground.source is None:
        return
    with renamed("read the source's clock"):
        row = ground.source.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
    assert row
    now = row[0].astimezone(UTC)
    start = since.start(now)
    for subject in ground.subjects:
        if subject.source is not None:
            yield from _strategy(ground.source, subject, subject.source, start, now)
            yield from _undatable(ground, ground.source, subject, subject.source, now)
        for what, found in (("the source", subject.source), ("the registry", subject.registry)):
            if found is not None:
                yield from _visibility(subject, what, found)


def _strategy(
    connection: Connection, subject: Subject, found: Facts, since: datetime | None, now: datetime
) -> Iterator[Finding]:
    rows = _rows(found.relation)
    if since is not None and found.created_at is None:
        yield warn(
            "window",
            f"no created_at is declared, so --since cannot narrow anything: all {rows} are compared",
            subject.name,
        )
        return
    chosen = plan(
        connection,
        subject.declared,
        found.table,
        since=since,
        until=now,
        indexed=found.created_at_index is not None,
        always_dated=found.always_dated,
        whole=False,
    )
    told = f"strategy {chosen.strategy}, {rows}"
    if found.created_at is not None:
        index = found.created_at_index
        told += f"; created_at ({found.created_at.type}) has " + (f"the index {index.name}" if index else "no index")
    unseen = chosen.window.cannot_see
    yield ok("window", f"{told}; not seen: {'; '.join(unseen)}" if unseen else told, subject.name)


def _rows(relation: Relation) -> str:
    return "an unknown number of rows (never analysed)" if relation.rows < 0 else f"about {relation.rows:.0f} rows"


def _undatable(ground: Ground, connection: Connection, subject: Subject, found: Facts, now: datetime) -> Iterator[Finding]:
    """Rows with a NULL, infinite or future time are in every window. Counting them without an index would cost a scan."""
    column = found.created_at
    if column is None:
        return
    if found.created_at_index is None:
        yield ok(
            "window",
            f"rows with a NULL, infinite or future {column.name} belong to every window; they were not counted (no index)",
            subject.name,
        )
        return
    if found.hidden:
        return
    moment = sql.Literal(now + ground.settings.fence.skew)
    if column.base != "timestamptz":
        moment = sql.SQL("({} AT TIME ZONE {})").format(moment, sql.Literal(found.table.zone))  # type: ignore[assignment]
    query = sql.SQL(
        "SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM {table} WHERE {at} IS NULL LIMIT {limit}) a)"
        " + (SELECT pg_catalog.count(*) FROM (SELECT FROM {table} WHERE {at} > {moment} LIMIT {limit}) b)"
        " + (SELECT pg_catalog.count(*) FROM (SELECT FROM {table} WHERE {at} = '-infinity' LIMIT {limit}) c)"
    ).format(
        table=sql.Identifier(found.table.schema, found.table.name),
        at=sql.Identifier(column.name),
        moment=moment,
        limit=sql.Literal(_COUNTED),
    )
    with renamed(f"count the rows of {found.relation.shown} that no clock can place"):
        row = connection.execute(query).fetchone()
    count = row[0] if row else 0
    if count:
        more = " or more" if count >= _COUNTED else ""
        skew = show(ground.settings.fence.skew)
        yield warn(
            "window",
            f"{count}{more} rows have a NULL, infinite or future {column.name} (beyond {skew}); they belong to every window",
            subject.name,
        )
    else:
        yield ok("window", f"every row's {column.name} lies in the past", subject.name)


def _visibility(subject: Subject, what: str, found: Facts) -> Iterator[Finding]:
    relation = found.relation
    if relation.pages < _SMALL:
        return
    share = relation.visible_pages / relation.pages
    if share < _VISIBLE:
        yield warn(
            "window",
            f"{what}: only {share:.0%} of the pages of {relation.shown} are marked all-visible, so that reading its index"
            " reads the table too",
            subject.name,
            try_=f"VACUUM (ANALYZE) {relation.shown}",
        )
