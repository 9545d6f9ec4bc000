"""Which servers answered: version, role, whether they are what the settings declare them to be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from databases.connect import renamed
from reconciler.preflight.finding import Finding, fail, ok, warn
from reconciler.preflight.ground import Connection, Ground
from schemas.settings import Settings

#: The oldest version our tests run on.
OLDEST_TESTED = 150000

_SERVER = """
SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int,
       pg_catalog.current_setting('server_encoding'), current_user::text, pg_catalog.current_database()::text,
       pg_catalog.pg_is_in_recovery(),
       (SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name = 'default_transaction_read_only'),
       r.rolconnlimit,
       (SELECT pg_catalog.array_agg(s.name || ' is ' || s.reset_val || ' ms' ORDER BY s.name) FROM pg_catalog.pg_settings s
         WHERE s.name IN ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')
           AND s.reset_val::bigint BETWEEN 1 AND %s)
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"""


def look(ground: Ground) -> Iterator[Finding]:
    for what, connection in ground.servers:
        yield from _answers(ground.settings, what, connection)


def _answers(settings: Settings, what: str, connection: Connection) -> Iterator[Finding]:
    with renamed(f"ask {what} who it is"):
        held_ms = settings.source.snapshot_max // timedelta(milliseconds=1)
        row = connection.execute(_SERVER, [held_ms]).fetchone()
    assert row
    version, number, encoding, role, database, recovering, read_only, limit, ends = row
    seen = f"{what}: PostgreSQL {version.split(' ')[0]}, {encoding}, database {database!r} as {role!r}"
    if number < OLDEST_TESTED:
        yield warn("reach", f"{seen}: older than any version fencepost is tested on (15 to 18)")
    else:
        yield ok("reach", seen)
    yield from _kind(settings, what, recovering)
    if what == "the registry" and (recovering or read_only == "on"):
        reason = "is in recovery" if recovering else f"starts the transactions of {role!r} read-only"
        yield fail("reach", f"the registry {reason}: nothing can be inserted", try_="connect to the target's primary")
    if ends:
        yield warn(
            "reach",
            f"{what} ends sessions of {role!r} sooner than a snapshot may be held (source.snapshot_max): {', '.join(ends)}",
            try_="; ".join(f"ALTER ROLE {role} SET {words.split(' ')[0]} = 0" for words in ends),
        )
    needed = settings.source.slices + 2
    if 0 <= limit < needed:
        yield fail(
            "reach",
            f"{what} allows the role {role!r} {limit} connections; {settings.source.slices} slices need {needed}",
            try_=f"ALTER ROLE {role} CONNECTION LIMIT {needed + 2}, or fewer source.slices",
        )


def _kind(settings: Settings, what: str, recovering: bool) -> Iterator[Finding]:
    kind = settings.source.kind
    if what == "the registry":
        return
    if what == "the source" and kind == "standby":
        if not recovering:
            yield fail("reach", "the source is declared a standby, but is not in recovery: it was promoted, or never one")
        return
    if recovering:
        called = "a primary" if what == "the source" and kind == "primary" else what.removeprefix("the ")
        yield fail(
            "reach",
            f"{what} is in recovery, so it is a standby and not {called}: the fence cannot be taken there",
            try_="declare source.kind: standby and name its primary, or connect to the primary",
        )
