"""The ledger: there, of our version, or to be created; and whether its keys are of the kind the source has now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from databases.connect import connect, renamed
from databases.ledger import head
from reconciler import catalog
from reconciler.preflight.finding import Finding, fail, ok, warn
from reconciler.preflight.ground import Ground
from schemas.errors import LedgerError
from schemas.settings import Dsn

_LEDGER_RIGHTS = """
SELECT current_user::text, pg_catalog.current_database()::text,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), n.oid IS NOT NULL,
       n.oid IS NOT NULL AND pg_catalog.has_schema_privilege(n.oid, 'CREATE')
  FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = %s"""


def look(ground: Ground) -> Iterator[Finding]:
    """An absent ledger is fine: the first command that writes it creates it, if it may."""
    if ground.ledger is None:
        if ground.settings.ledger.dsn is None:
            yield fail("ledger", "the ledger lives in the registry's database, which does not answer")
        return
    ledger, schema = ground.ledger, ground.settings.ledger.schema_
    try:
        if not ledger.exists():
            yield from _may_be_created(ledger.dsn, schema)
            return
        ledger.require()
        with ledger.begin("read the ledger") as connection:
            remembered = catalog.remembered_kinds(connection)
    except LedgerError as error:
        yield warn("ledger", str(error), try_=error.hint)
        return
    yield ok("ledger", f"version {head()} in schema {schema!r} of {ledger.dsn.described}")
    for subject in ground.subjects:
        kinds = remembered.get(subject.name)
        if kinds and subject.source is not None and kinds != subject.source.table.kinds:
            now = ", ".join(subject.source.table.kinds)
            yield fail(
                "ledger",
                f"its keys in the ledger are of kind {', '.join(kinds)}, the source's are now {now}",
                subject.name,
                try_="give the data type a new name, so that the old keys stay readable",
            )


def _may_be_created(dsn: Dsn, schema: str) -> Iterator[Finding]:
    with closing(connect(dsn, "the ledger", read_only=True)) as connection, renamed("look for the ledger"):
        row = connection.execute(_LEDGER_RIGHTS, [schema]).fetchone()
    assert row
    role, database, may_create, schema_there, may_fill = row
    absent = f"no ledger yet in schema {schema!r} of {dsn.described}"
    if may_fill if schema_there else may_create:
        yield ok("ledger", f"{absent}; the first command that writes it creates it")
    else:
        right = f"CREATE ON SCHEMA {schema}" if schema_there else f"CREATE ON DATABASE {database}"
        yield fail(
            "ledger",
            f"{absent}, and the role {role!r} may not create it",
            try_=f"GRANT {right} TO {role}, or let a DBA run what `fencepost ledger ddl` prints",
        )
