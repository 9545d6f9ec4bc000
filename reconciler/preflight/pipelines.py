"""Whether the declared pipeline can announce what happens: subscriptions, publications, WAL level, replica identity."""

from __future__ import annotations

from collections.abc import Iterator

from databases.connect import renamed
from reconciler.catalog import Facts
from reconciler.pipelines import debezium, publications
from reconciler.preflight.finding import Finding, fail, ok, warn
from reconciler.preflight.ground import Connection, Ground, Subject
from schemas.settings import FenceSettings

_SUBSCRIBED = """
SELECT DISTINCT coalesce(s.subname::text, '(of another database)') FROM pg_catalog.pg_subscription_rel r
  LEFT JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
 WHERE r.srrelid = ANY (%s::bigint[]::oid[])"""

_SLOT = """
SELECT s.plugin::text, s.active, coalesce(pg_catalog.to_jsonb(s) ->> 'wal_status', ''), s.database::text,
       pg_catalog.current_database()::text
  FROM pg_catalog.pg_replication_slots s WHERE s.slot_name::text = %s"""


def look(ground: Ground) -> Iterator[Finding]:
    fence = ground.settings.fence
    if ground.source is not None:
        for subject in ground.subjects:
            if subject.source is not None:
                yield from _subscribed(ground, ground.source, subject, subject.source)
    if fence.pipeline != "debezium":
        told = "what commits before the fence counts as announced after a silence of fence.settle"
        yield ok("pipeline", f"{fence.pipeline}: {told}")
        yield from _idle(fence)
    elif ground.fence_at is not None:
        yield from _server(ground.fence_at)
        yield from _declared(ground, ground.fence_at)
        if fence.slot is not None:
            yield from _slot(ground.fence_at, fence.slot)
        for subject in ground.subjects:
            if subject.source is not None:
                yield from _published(ground, ground.fence_at, subject, subject.source)


def _idle(fence: FenceSettings) -> Iterator[Finding]:
    """Whoever names a connector believes that it is asked."""
    named = [f"fence.{name}" for name in ("connect", "connector", "slot", "publication", "marker") if getattr(fence, name)]
    if named:
        yield warn(
            "pipeline",
            f"{', '.join(named)}: nobody looks at it while fence.pipeline is {fence.pipeline}",
            try_="set fence.pipeline: debezium, or take it out",
        )


def _subscribed(ground: Ground, connection: Connection, subject: Subject, found: Facts) -> Iterator[Finding]:
    oids = [found.oid, *(leaf.oid for leaf in found.relation.below)]
    with renamed("ask the source for subscriptions"):
        names = [row[0] for row in connection.execute(_SUBSCRIBED, [oids]).fetchall()]
    if names and ground.settings.source.kind != "copy":
        yield fail(
            "pipeline",
            f"{found.relation.shown} is filled by the subscription {', '.join(map(repr, names))}: a copy, not where rows"
            f" are created, though source.kind is {ground.settings.source.kind}",
            subject.name,
            try_="declare source.kind: copy and name its origin, or connect to the origin",
        )


def _server(connection: Connection) -> Iterator[Finding]:
    with renamed("ask the source for its WAL level"):
        row = connection.execute("SELECT pg_catalog.current_setting('wal_level')").fetchone()
    level = row[0] if row else "unknown"
    if level != "logical":
        yield fail(
            "pipeline",
            f"wal_level is {level}, so nothing can be decoded from the source's WAL",
            try_="ALTER SYSTEM SET wal_level = logical, and restart",
        )
    else:
        yield ok("pipeline", "debezium: wal_level is logical")


def _declared(ground: Ground, connection: Connection) -> Iterator[Finding]:
    """Without Connect's REST the fence is bounded by silence; with it, the connector is asked as a run asks it."""
    fence = ground.settings.fence
    missing = [name for name in ("connect", "connector") if getattr(fence, name) is None]
    if missing:
        yield warn(
            "pipeline",
            f"fence.{' and fence.'.join(missing)} not set: nobody can tell how far Debezium's stored offset has come",
            try_="set fence.connect to Kafka Connect's URL and fence.connector to the connector's name",
        )
        return
    state = debezium.standing(ground.settings, connection)
    yield fail("pipeline", state.fault, try_=state.remedy) if state.fault else ok("pipeline", state.seen)
    for what in debezium.dropping(ground.settings):
        yield warn("pipeline", f"the connector {fence.connector!r} may drop records: {what}", try_="see Debezium's manual")


def _slot(connection: Connection, slot: str) -> Iterator[Finding]:
    with renamed(f"look for the slot {slot!r}"):
        row = connection.execute(_SLOT, [slot]).fetchone()
    if row is None:
        yield fail("pipeline", f"there is no replication slot {slot!r}", try_="look at the connector's slot.name")
        return
    plugin, active, status, database, ours = row
    if database != ours:
        yield fail("pipeline", f"the replication slot {slot!r} is of database {database!r}, the source's is {ours!r}")
    elif status == "lost":
        yield fail("pipeline", f"the replication slot {slot!r} is lost: WAL that Debezium had not read was removed")
    elif not active:
        yield warn("pipeline", f"the replication slot {slot!r} ({plugin}) is not being read now", try_="start the connector")
    else:
        yield ok("pipeline", f"the replication slot {slot!r} ({plugin}) is being read")


def _published(ground: Ground, connection: Connection, subject: Subject, found: Facts) -> Iterator[Finding]:
    fence, relation = ground.settings.fence, found.relation
    if subject.declared.event is not None:
        # The topic carries an outbox table, of which the settings do not tell the name.
        yield ok("pipeline", "announced through an outbox table, whose publication was not looked at", subject.name)
        return
    rows = publications.published(connection, found, fence.publication)
    if not rows:
        named = f"the publication {fence.publication!r} does not have" if fence.publication else "no publication has"
        add = f"ALTER PUBLICATION {fence.publication or '…'} ADD TABLE {relation.shown}"
        yield fail("pipeline", f"{named} {relation.shown}: nothing that happens there is announced", subject.name, try_=add)
        return
    yield from _terms(subject, found, rows)
    if left_out := publications.left_out(found, rows):
        yield fail("pipeline", f"partitions that no publication has: {', '.join(left_out[:5])}", subject.name)
    yield from _replica_identity(subject, found)


def _terms(subject: Subject, found: Facts, rows: list[tuple[object, ...]]) -> Iterator[Finding]:
    for name in sorted({str(row[0]) for row in rows}):
        mine = [row for row in rows if row[0] == name]
        silent = [what for what, at in (("insertions", 1), ("deletions", 2)) if not mine[0][at]]
        if silent:
            yield warn("pipeline", f"the publication {name!r} does not announce {' nor '.join(silent)}", subject.name)
        if any(row[3] for row in mine):
            yield warn("pipeline", f"the publication {name!r} filters rows: {mine[0][3]}", subject.name)
        columns = mine[0][4]
        left_out = sorted({*found.table.key} - {*columns}) if isinstance(columns, list) else []
        if left_out:
            yield fail("pipeline", f"the publication {name!r} leaves out the key column {left_out[0]}", subject.name)
        elif not silent:
            yield ok("pipeline", f"the publication {name!r} has {found.relation.shown}", subject.name)


def _replica_identity(subject: Subject, found: Facts) -> Iterator[Finding]:
    """A delete announces the replica identity's columns; without the key among them nobody knows which row it was."""
    identity, relation = found.relation.replica_identity, found.relation
    primary = next((index for index in relation.indexes if index.primary), None)
    keyed = identity == "f"
    if identity == "d" and primary is not None:
        keyed = {column.number for column in found.key} <= {*primary.columns}
    if identity == "i" or keyed:
        return
    yield warn(
        "pipeline",
        f"the replica identity of {relation.shown} does not hold its key, so deletions are announced without it",
        subject.name,
        try_=f"ALTER TABLE {relation.shown} REPLICA IDENTITY FULL, or USING INDEX its unique index",
    )
