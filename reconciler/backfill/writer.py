"""Write to the registry, one short transaction at a time, each under the lease.

Where ledger and registry are one database, the statement that writes locks the lease's row in the same breath, and the
lock lasts until the commit: no takeover can slip in between, and a stale epoch writes nothing. Where they are two, the
row is locked by a transaction of the ledger that is opened before the registry's and ended after it; that lock is gone
if the ledger's server restarts in the middle, and then a batch that is just being committed may land after a takeover.
So it is bounded: an idle transaction is ended by the registry's server after `_IDLE`, long before the lease expires.

Transactions set what they rely upon themselves, so that a transaction-mode pooler may stand in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from databases.connect import connect, renamed
from databases.ledger import Ledger
from reconciler.backfill.journal import Journal
from reconciler.backfill.standing import prepared
from reconciler.identity import identify
from reconciler.lease import Held
from schemas.errors import RefusedRows, RefusedWrite, RowRefused, UnavailableError

T = TypeVar("T")

#: Conflicts with appliers that another try may get past.
_PASSING = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
_TRIES = 5
_LOCK, _IDLE, _STATEMENT = "5s", "5s", "5min"

_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog; SET LOCAL timezone = 'UTC';"
    " SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL row_security = off;"
    f" SET LOCAL lock_timeout = '{_LOCK}'; SET LOCAL idle_in_transaction_session_timeout = '{_IDLE}';"
    f" SET LOCAL statement_timeout = '{_STATEMENT}'; SET LOCAL array_nulls = on;"
    # A crash of the server must not take back what was told; who waits for standbys too is not held up by us.
    " SELECT pg_catalog.set_config('synchronous_commit', 'on', true)"
    " WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
).encode()
#: The ledger's side outlives the registry's, whatever the registry's statements take.
_BEGIN_BESIDE = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '10s';"
    b" SET LOCAL idle_in_transaction_session_timeout = '15min'"
)

#: The ledger's tables can be used over the registry's connection: they are there, and our role there has the rights.
_WITHIN_REACH = """
SELECT pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
       AND pg_catalog.has_table_privilege(c.oid, 'UPDATE')
       AND (c.relname = 'lease' OR pg_catalog.has_table_privilege(c.oid, 'INSERT'))) AND pg_catalog.count(*) = 3
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname IN ('lease', 'backfill', 'removal') AND c.relkind = 'r'"""


def switched_off(registry: psycopg.Connection[Any]) -> str | None:
    """Why our rows would pass by the registry's foreign keys and triggers; None: they are looked at."""
    with renamed("ask the registry for its session_replication_role"):
        row = registry.execute("SELECT pg_catalog.current_setting('session_replication_role')").fetchone()
    if row is None or row[0] != "replica":
        return None
    return "session_replication_role of our sessions is 'replica': no foreign key and no trigger would look at our rows"


def _not() -> bool:
    return False


class Writer:
    """The registry's connection, the lease and the journal, together."""

    def __init__(self, ledger: Ledger, held: Held, registry: psycopg.Connection[Any]) -> None:
        self.held, self.registry = held, prepared(registry)
        registry.autocommit = True  # transactions begin and end in statements of ours
        self.server = identify(registry, "registry")
        if (why := switched_off(registry)) is not None:
            raise RefusedWrite(why, hint="take that setting from our role and from the database, then run again")
        self._beside = contextlib.ExitStack()
        try:
            own = self._beside.enter_context(_ledger_connection(ledger))
            self.inside = self._same_database(ledger, own)
            self._lock = None if self.inside else self._beside.enter_context(_ledger_connection(ledger))
            self.journal = Journal(registry if self.inside else own, ledger)
        except BaseException:
            self._beside.close()
            raise

    def _same_database(self, ledger: Ledger, own: psycopg.Connection[Any]) -> bool:
        there = identify(own, "ledger")
        if (there.system, there.database_oid) != (self.server.system, self.server.database_oid):
            return False
        with renamed("look for the ledger from the registry's connection"):
            row = self.registry.execute(_WITHIN_REACH, [ledger.schema]).fetchone()
        return bool(row and row[0])

    def close(self) -> None:
        self._beside.close()

    def lease(self) -> sql.Composable:
        """The query `held` of a statement that writes."""
        return self.held.locked() if self.inside else sql.SQL("SELECT")

    def transaction(self, what: str, table: str, work: Callable[[], T], collided: Callable[[], bool] = _not) -> T:
        """Do `work` in one transaction under the lease, again where an applier was in the way.

        `collided` is told of a row that another stands in the way of, and says whether `work` has another way.
        Raises RefusedWrite where the lease is lost, RefusedRows where the registry's rules forbid the rows (RowRefused where it
        may be one of them), UnavailableError otherwise.
        """
        with renamed(what), _rules(what, table):
            for left in reversed(range(_TRIES)):
                self.held.check()
                try:
                    with self._leased(), _transaction(self.registry, _BEGIN):
                        done = work()
                        self._still_ours()
                    return done
                except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation):
                    if not left or not collided():
                        raise
                except _PASSING:
                    if not left:
                        raise
                except (psycopg.OperationalError, psycopg.InternalError):
                    self._refused_if_taken()
                    raise
        raise UnavailableError(f"cannot {what}")  # for the reader of types: the loop above always ends

    def wrote(self, rows: int) -> None:
        """Told inside `work` how many rows a statement wrote: none may mean that the lease is another's."""
        if rows == 0 and self.inside and not self.held.stands(self.registry):
            raise self.held.refusal()

    def xid(self) -> int:
        row = self.registry.execute("SELECT pg_catalog.pg_current_xact_id()::text").fetchone()
        assert row
        return int(row[0])

    def _still_ours(self) -> None:
        """The last look before a commit that no lock of this database guards."""
        if not self.inside and not self.held.stands(self.journal.connection):
            raise self.held.refusal()

    def _refused_if_taken(self) -> None:
        """A process that was paused finds its transaction ended by the server: say why it may not go on."""
        with contextlib.suppress(UnavailableError):
            if not self.held.renew():
                raise self.held.refusal()

    @contextlib.contextmanager
    def _leased(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        with _transaction(self._lock, _BEGIN_BESIDE):
            if self._lock.execute(self.held.locked()).rowcount != 1:
                raise self.held.refusal()
            yield


@contextlib.contextmanager
def _transaction(connection: psycopg.Connection[Any], begin: bytes) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def _ledger_connection(ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    connection = connect(ledger.dsn, "the ledger")
    try:
        yield connection
    finally:
        connection.close()


#: Classes of SQLSTATE that speak of the server and its sessions, not of our rows, wherever they come up.
_SERVERS = ("08", "25", "40", "53", "55P", "57", "58", "XX")
#: A value that its column, or an index of it, cannot hold.
_VALUES = (
    psycopg.DataError,
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.CannotCoerce,
    psycopg.errors.ProgramLimitExceeded,
)
#: What PostgreSQL cannot do with our statements on such a table.
_NOT_WITH_IT = (psycopg.errors.FeatureNotSupported, psycopg.errors.ObjectNotInPrerequisiteState)
_NOT_FOUND = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn)
_TRIGGER = "look at the triggers of that table, and at what they want of a row: registry.insert can set more columns"
_OTHERWISE = (
    "a rule on INSERT, or a deferrable constraint where a row is in the way, leaves our statement no way: drop it, or let the"
    " application register these rows"
)
_LOOKING = "our sessions look into no schema by themselves; ALTER FUNCTION … SET search_path for the trigger's function"


@contextlib.contextmanager
def _rules(what: str, table: str) -> Iterator[None]:
    """Name the rule of the registry that forbids our rows. Details are left out: they quote rows."""
    try:
        yield
    except psycopg.errors.NotNullViolation as error:
        raise RowRefused(
            f"cannot {what}: the column {error.diag.column_name!r} of {table} must not be empty",
            hint=f"set it under registry.insert: {{{error.diag.column_name}: …}}",
        ) from None
    except psycopg.IntegrityError as error:
        named = f" (constraint {error.diag.constraint_name!r} of {table})" if error.diag.constraint_name else ""
        raise RowRefused(
            f"cannot {what}: {error.diag.message_primary}{named}",
            hint="the registry's constraint forbids these rows; look at registry.insert, or at the constraint",
        ) from None
    except psycopg.errors.RaiseException as error:
        raise RowRefused(
            f"cannot {what}: a trigger of {table} refused it: {error.diag.message_primary}", hint=_TRIGGER
        ) from None
    except _VALUES as error:
        trigger = ", or a trigger of it failed" if error.diag.context else ""
        raise RowRefused(
            f"cannot {what}: {error.diag.message_primary}",
            hint=f"a value of registry.insert, or a key, does not fit its column of {table}{trigger}",
        ) from None
    except _NOT_WITH_IT as error:
        raise RefusedRows(f"cannot {what}: {error.diag.message_primary}", hint=_OTHERWISE) from None
    except psycopg.Error as error:
        # `context` is where it came up, below our own statement.
        if not error.diag.context or (error.sqlstate or "XX").startswith(_SERVERS):
            raise
        raise RowRefused(
            f"cannot {what}: a trigger of {table} failed: {error.diag.message_primary}",
            hint=_LOOKING if isinstance(error, _NOT_FOUND) else _TRIGGER,
        ) from None
