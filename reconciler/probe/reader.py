"""Ask one table questions inside a snapshot that the caller opened; every answer is complete, or an error.

A statement that was cancelled, timed out or lost its connection is never "no rows": it raises UnavailableError with the
driver's error as its cause. Nothing here opens, ends or retries a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from threading import Lock, RLock
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.sql import Composable, Composed

from databases.connect import remedy
from databases.session import cursor_on_server
from reconciler.probe.arrays import Array, ArrayDumper
from reconciler.probe.tables import Table, quoted
from schemas.errors import CatalogError, FencepostError, MisfitError, UnavailableError

Query: TypeAlias = sql.SQL | sql.Composed | bytes
Params: TypeAlias = Sequence[Any] | Mapping[str, Any]

#: A condition of the settings that PostgreSQL cannot put to a column: no such operator, or a literal the column cannot hold.
_MISFITS = (psycopg.errors.UndefinedFunction, psycopg.errors.DatatypeMismatch, psycopg.DataError)
_COMPARED = (
    "source.scope and registry.accepted compare a column with values of its own kind: text with 'quoted text', numbers with"
    " numbers, booleans with true and false"
)


class Plan(Enum):
    """What the planner is held to, for the rest of the transaction or until the next statement asks otherwise."""

    INDEX = "off off"  #: ranges of the key's index; a misjudged estimate must not turn 500 jumps into 500 table scans
    HEAP = "off on"  #: ranges of pages
    FREE = "on on"  #: as the planner likes


class Reader:
    """One connection, one table, and the condition its rows must meet. Threads may share it: a statement at a time."""

    def __init__(self, connection: psycopg.Connection[Any], table: Table, where: sql.Composed | None = None) -> None:
        self.connection, self.table, self.where = connection, table, where
        #: For a worker that has several statements to send, one upon the other.
        self.turn = Lock()
        self._plan: Plan | None = None
        self._one_at_a_time = RLock()
        self._failed: FencepostError | None = None
        self._texts: dict[Hashable, bytes] = {}
        connection.adapters.register_dumper(Array, ArrayDumper)
        self._must_be_in_a_snapshot()

    def _must_be_in_a_snapshot(self) -> None:
        # Outside one, each statement would see another state, and SET LOCAL would not hold: sets of two times compared.
        status = self.connection.info.transaction_status
        if status == TransactionStatus.INTRANS:
            ((isolation,),) = self.rows(sql.SQL("SELECT pg_catalog.current_setting('transaction_isolation')"))
            if isolation in ("repeatable read", "serializable"):
                return
        raise UnavailableError(f"cannot read {self.table.qualified}: the connection is not inside a snapshot")

    def rows(
        self, query: Query, params: Params = (), *, plan: Plan | None = None, binary: bool = True
    ) -> list[tuple[Any, ...]]:
        """All rows of a statement. In text, types without a binary reader (enums) come as str."""
        with self._one_at_a_time, self._remembering(), self.naming():
            if plan is not None and plan is not self._plan:
                self._hold(plan)
            with self.connection.cursor(binary=binary) as cursor:
                return cursor.execute(query, params, prepare=False).fetchall()

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """A failed statement ends the transaction: whoever comes after it is told why, not that it has ended."""
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except FencepostError as error:
            self._failed = error
            raise

    def row(self, query: Query, params: Params = (), *, plan: Plan | None = None) -> Any:
        """The only row of an aggregate."""
        rows = self.rows(query, params, plan=plan)
        if len(rows) != 1:
            raise UnavailableError(f"cannot read {self.table.qualified}: {len(rows)} rows came where one was due")
        return rows[0]

    def stream(self, query: Query, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """All rows of a statement in batches, through a cursor on the server."""
        with self.naming():
            if self._plan is not Plan.FREE:
                self._hold(Plan.FREE)
            with cursor_on_server(self.connection, "fencepost_probe") as cursor:
                cursor.execute(query, ())
                while batch := cursor.fetchmany(size):
                    yield batch

    def _hold(self, plan: Plan) -> None:
        self._plan = None
        self.connection.execute(
            "SELECT pg_catalog.set_config('enable_seqscan', %s, true),"
            " pg_catalog.set_config('enable_bitmapscan', %s, true), pg_catalog.set_config('jit', 'off', true),"
            " pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)",
            plan.value.split(),
            prepare=False,
        )
        self._plan = plan

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Rename the driver's errors at this door."""
        what = f"cannot read {self.table.qualified}"
        try:
            yield
        except psycopg.Error as error:
            if self.where is not None and isinstance(error, _MISFITS):
                raise MisfitError(f"{what} where {self._shown()}: {_words(error)}", hint=_COMPARED) from None
            # 42: no such table, column or operator, or no right to it; 22P02: a literal its column cannot hold.
            wrong = (error.sqlstate or "").startswith(("42", "22P02"))
            raise (CatalogError if wrong else UnavailableError)(f"{what}: {_words(error)}", hint=remedy(error)) from error

    def _shown(self) -> str:
        """The condition, short enough for a message; the scope is printed in every report."""
        text = "" if self.where is None else self.where.as_string(self.connection).replace("%%", "%")
        return text if len(text) <= 200 else f"{text[:200]}…"

    def sql(self, template: Any, **more: Composable) -> sql.Composed:
        """Fill in `{table}` (with the alias t), `{key}` (its first key column) and `{where}` (` AND …` or nothing)."""
        return sql.SQL(template).format(
            table=sql.SQL("{} AS t").format(quoted(self.table.schema, self.table.name)),
            key=sql.SQL("t.{}").format(quoted(self.table.key[0])),
            where=self.and_where(),
            **more,
        )

    def once(self, name: Hashable, make: Callable[[], Composed]) -> bytes:
        """The text of a statement that is asked for every slice; composing it costs more than some of them take."""
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = make().as_bytes(self.connection)
        return text

    def and_where(self) -> Composable:
        return sql.SQL("") if self.where is None else sql.SQL(" AND ({})").format(self.where)

    def incomplete(self, what: str) -> UnavailableError:
        return UnavailableError(f"cannot read {self.table.qualified}: an answer is not complete: {what}")


def _words(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
