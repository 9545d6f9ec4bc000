"""The ledger's engine, its migrations, and where it is absent.

The ledger is created or upgraded on first use by commands that write it, under a lock that lasts one transaction; the
others say so where it is absent and create nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from databases.connect import connect
from databases.session import cursor_on_server
from schemas.errors import LedgerAway, LedgerError, UnavailableError
from schemas.settings import Dsn, Settings

MIGRATIONS = Path(__file__).parent.parent / "schemas" / "migrations"
#: Chosen once, at random; only one migration may run at a time in a database.
_LOCK = 0x66656E6365706F
#: A connection that lay idle for longer is asked whether it still leads anywhere. Far less than a server's restart takes.
IDLE_S = 0.05
#: A process that stands still in a transaction (paused, or its machine is gone without a word) holds what it has locked: a
#: lease that others would take over, the chain of runs. The server ends a transaction that has said nothing for so long.
SILENT = timedelta(seconds=20)
_VERSION = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.Text))


class Ledger:
    """A lazily opened pool of connections to the ledger; its tables are translated to the settings' schema."""

    def __init__(self, dsn: Dsn, schema: str) -> None:
        self.dsn, self.schema = dsn, schema
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=4,
            use_native_hstore=False,  # the ledger has none: one question less for each connection
        )
        sa.event.listen(engine, "do_executemany", _one_by_one)
        sa.event.listen(engine, "checkin", _given_back)
        sa.event.listen(engine, "checkout", partial(_still_there, engine.dialect))
        self.engine = engine.execution_options(schema_translate_map={None: schema})

    @classmethod
    def of(cls, settings: Settings) -> Ledger:
        return cls(settings.ledger_dsn, settings.ledger.schema_)

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return connect(self.dsn, "the ledger", autocommit=False, idle_timeout=SILENT)
        except UnavailableError as error:
            raise LedgerAway(str(error), hint=error.hint) from None

    @contextmanager
    def begin(self, what: str = "use the ledger", *, isolation: Any = None) -> Iterator[sa.Connection]:
        """A transaction. Raises LedgerAway where the ledger cannot be reached or refuses, LedgerError where absent."""
        try:
            with self.engine.connect() as connection:
                if isolation is not None:
                    connection = connection.execution_options(isolation_level=isolation)
                with connection.begin():
                    yield connection
        except sa.exc.DBAPIError as error:
            raise _renamed(error, what, self.dsn, self.schema) from None

    def stream(self, connection: sa.Connection, query: sa.Select[Any], batch: int) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, a few at a time and in binary: for those that hold many bytes, which as text are twice as many."""
        compiled = query.compile(
            dialect=self.engine.dialect, schema_translate_map={None: self.schema}, render_schema_translate=True
        )
        raw = connection.connection.driver_connection
        assert raw is not None
        try:
            with cursor_on_server(raw, "fencepost_ledger") as cursor:
                cursor.execute(str(compiled), compiled.params)
                while rows := cursor.fetchmany(batch):
                    yield from rows
        except psycopg.Error as error:
            wrapped = sa.exc.DBAPIError(str(compiled), None, error)
            raise _renamed(wrapped, "read the ledger", self.dsn, self.schema) from None

    def exists(self) -> bool:
        """Whether the ledger was ever created here."""
        with self.begin("look for the ledger") as connection:
            return self._version(connection) is not None

    def require(self) -> None:
        """Raises LedgerError where the ledger is absent or of another version."""
        with self.begin("look for the ledger") as connection:
            found = self._version(connection)
        if found is None:
            raise LedgerError(f"there is no ledger yet in schema {self.schema!r}", hint="`fencepost ledger upgrade` creates it")
        if found != head():
            raise LedgerError(
                f"the ledger is of version {found}, this fencepost of {head()}", hint="run `fencepost ledger upgrade`"
            )

    def upgrade(self) -> bool:
        """Create or upgrade; True where something changed. Several may call it at once: one works, the others wait."""
        with self.begin("create or upgrade the ledger") as connection:
            if self._version(connection) == head():
                return False
            connection.execute(sa.text("SET LOCAL lock_timeout = '30s'"))
            connection.execute(sa.text("SELECT pg_catalog.pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            before = self._version(connection)
            if before == head():
                return False
            if before is not None and before > head():
                raise LedgerError(
                    f"the ledger is of version {before}, newer than this fencepost's {head()}", hint="use a newer fencepost"
                )
            if not sa.inspect(connection).has_schema(self.schema):  # IF NOT EXISTS wants CREATE on the database all the same
                connection.execute(sa.schema.CreateSchema(self.schema))
            _alembic(self.schema, connection)
            return True

    def ddl(self) -> str:
        """What a DBA would have to run by hand."""
        out = StringIO()
        out.write(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}";\n\n')
        _alembic(self.schema, None, out)
        return out.getvalue()

    def _version(self, connection: sa.Connection) -> str | None:
        there = connection.execute(
            # Not to_regclass: after waiting for the lock it would still answer from a cache, that there is none.
            sa.text(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = :schema AND c.relname = 'alembic_version')"
            ),
            {"schema": self.schema},
        ).scalar_one()
        if not there:
            return None
        return connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none()

    def close(self) -> None:
        self.engine.dispose()


def _one_by_one(cursor: Any, statement: str, rows: Any, _: object) -> bool:
    """The driver would send them in a pipeline, and within one a server waits for ever for who says nothing (`SILENT`). They
    are few: many go by COPY (`databases.bulk`) or as arrays (`databases.arrays`)."""
    for row in rows:
        cursor.execute(statement, row)
    return True


def _given_back(_: object, record: Any) -> None:
    record.info["at"] = time.monotonic()


def _still_there(dialect: sa.Dialect, raw: Any, record: Any, _: object) -> None:
    """Ask a connection that lay idle whether it still leads anywhere; where it does not, the pool opens another.

    A command has its next statement a moment after the last, dozens of them: to ask before each doubles its round trips.
    """
    at = record.info.get("at")
    if at is None or time.monotonic() - at <= IDLE_S:
        return
    try:
        dialect.do_ping(raw)
    except psycopg.Error as error:
        raise sa.exc.InvalidatePoolError("the connection is gone") from error


def head() -> str:
    """The newest migration's number."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _alembic(schema: str, connection: sa.Connection | None, out: StringIO | None = None) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(output_buffer=out) if out is not None else Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head", sql=connection is None)


def _renamed(error: sa.exc.DBAPIError, what: str, dsn: Dsn, schema: str) -> Exception:
    cause = error.orig
    if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return LedgerError(f"there is no ledger in schema {schema!r} of {dsn.described}", hint="run `fencepost ledger upgrade`")
    if isinstance(cause, psycopg.errors.UndefinedColumn):
        where = f"the ledger in schema {schema!r} of {dsn.described}"
        return LedgerError(f"cannot {what}: {where} is of an older version", hint="run `fencepost ledger upgrade`")
    words = getattr(getattr(cause, "diag", None), "message_primary", None) or type(cause).__name__
    return LedgerAway(f"cannot {what} ({dsn.described}): {words}")
