"""Ask the source about batches, in a thread of its own, so that the registry need not wait.

Each question is one statement under a snapshot of its own: what the source holds now. The scope's condition is part of
it: a row that left the scope is as good as gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg

from databases.connect import renamed
from reconciler.backfill.batches import Batch, Mask
from reconciler.backfill.standing import prepared, standing, values
from reconciler.probe import Table, condition
from schemas.data_types import Condition, DataType
from schemas.errors import RefusedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the source said of a batch."""

    there: Mask
    values: list[list[str | None]]  #: per column asked for, of the rows that are there


class Source:
    """One connection to the source. Enter it; questions are answered in the order they were asked."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = prepared(connection)
        connection.autocommit = True  # else all questions would be answered from the first one's time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="source")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def look(
        self, data_type: DataType, table: Table, batch: Batch, columns: tuple[str, ...] = (), *, scoped: bool = True
    ) -> Future[Look]:
        """Which of these keys have a row now, and what it holds."""
        where = condition(data_type.source.scope) if scoped else None

        def ask() -> Look:
            with renamed(f"read {table.qualified} again"):
                if columns:
                    with _text(table, columns):
                        there, found = values(self.connection, table, batch, columns, where)
                    return Look(there=there, values=found)
                return Look(there=standing(self.connection, table, batch, where), values=[])

        return self._in_thread(ask)

    def asked(self, table: Table, scope: Sequence[Condition] = ()) -> dict[str, Any]:
        """What decides whether a key has a row, as JSON has it: the table, by its oid too, the key's columns, the scope."""
        terms = json.loads(json.dumps([[term.column, *term.operator] for term in scope]))
        named = {"table": [table.schema, table.name], "oid": self._oid(table)}
        return named | {"key": list(table.key), "scope": terms}

    def _oid(self, table: Table) -> int:
        query = (
            "SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s"
        )
        with renamed(f"look up {table.qualified}"):
            row = self.connection.execute(query, [table.schema, table.name]).fetchone()
        return int(row[0]) if row else 0

    def _in_thread(self, ask: Callable[[], Look]) -> Future[Look]:
        return self._thread.submit(ask)


@contextmanager
def _text(table: Table, columns: Sequence[str]) -> Iterator[None]:
    """A database of another encoding may hold what is no text to us: its rows stay missing, and all else is told."""
    try:
        yield
    except (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter) as error:
        raise RefusedRows(
            f"cannot read {', '.join(columns)} of {table.qualified}: {error.diag.message_primary}",
            hint="registry.insert carries values of the source over as UTF-8 text; leave that column out",
        ) from None
