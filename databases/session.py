"""A connection that may lead through a transaction-mode pooler, where a session belongs to nobody for long.

There, what a `SET` leaves behind stays on a server session that the pooler lends to other clients next: our read-only mode
and search path would break their work, and theirs would change our answers. So through a pooler nothing is set for the
session: every transaction sets what it relies upon for itself alone, and a statement outside one is given one of its own.

A pooler is told by the process id: the one a client is given when it connects is the pooler's own invention.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus


class Session(psycopg.Connection[Any]):
    """A connection. `pins` is what has to be set in every transaction; empty where the session keeps it."""

    pins: bytes = b""
    pinned: bool = False  #: the transaction that is open has its pins

    def pin_every_transaction(self, pins: bytes) -> None:
        self.pins = pins
        self.cursor_factory = _Pinning

    @contextlib.contextmanager
    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[psycopg.Transaction]:
        if self.idle:
            self.pinned = False
        with super().transaction(savepoint_name, force_rollback) as transaction:
            yield transaction

    @property
    def idle(self) -> bool:
        return self.info.transaction_status == TransactionStatus.IDLE

    def is_pooled(self) -> bool:
        """Whether somebody stands between us and the server. Asked of a connection that is in no transaction."""
        row = self.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
        return row is not None and row[0] != self.info.backend_pid


class _Pinning(psycopg.Cursor[Any]):
    """Pins the transaction before its first statement."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        session = self.connection
        assert isinstance(session, Session)
        if not session.idle:
            if not session.pinned and session.info.transaction_status == TransactionStatus.INTRANS:
                self._pin(session)
            return super().execute(query, params, **options)
        session.pinned = False
        if not session.autocommit:  # the first statement of a transaction that psycopg opens
            self._pin(session)
            return super().execute(query, params, **options)
        if _begins(query):
            super().execute(query, params, **options)
            self._pin(session)
            return self
        return self._alone(session, query, params, options)

    def _pin(self, session: Session) -> None:
        # SET is no query: it may stand before SET TRANSACTION, and takes no snapshot.
        psycopg.Cursor(session).execute(session.pins)
        session.pinned = True

    def _alone(self, session: Session, query: Any, params: Any, options: dict[str, Any]) -> Self:
        """In a transaction of its own. Its rows are ours before it ends: a client's cursor fetches them all."""
        beside = psycopg.Cursor(session)
        beside.execute(b"BEGIN")
        try:
            self._pin(session)
            super().execute(query, params, **options)
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                beside.execute(b"ROLLBACK")
            raise
        beside.execute(b"COMMIT")
        return self


@contextlib.contextmanager
def cursor_on_server(connection: psycopg.Connection[Any], name: str) -> Iterator[psycopg.ServerCursor[Any]]:
    """A cursor that the server keeps; its rows come in binary. The driver leaves it open where its CLOSE finds the connection
    dead, and complains of that when it is collected, wherever we are by then."""
    cursor = connection.cursor(name=name, binary=True)
    try:
        yield cursor
    finally:
        try:
            cursor.close()
        except psycopg.Error:
            cursor.close()  # asks nobody any more
            raise


def _begins(query: Any) -> bool:
    text = query.decode("ascii", "replace") if isinstance(query, bytes) else query
    return isinstance(text, str) and text.lstrip()[:5].upper() == "BEGIN"
