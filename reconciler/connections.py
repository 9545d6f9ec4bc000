"""Connections that a snapshot gave back a moment ago, kept for the next one, and opened ahead while others are waited for.

A new connection costs the server a process, and that process a catalog it has never seen: for a small table that is most
of a compare. Kept are seconds, no longer: what lies between may forget a connection that is silent, and tell neither end.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from databases.connect import connect
from schemas.errors import FencepostError
from schemas.settings import Dsn

KEPT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What kind of connection: one is like another where all of this is the same."""

    dsn: Dsn
    what: str
    statement_timeout: timedelta
    lock_timeout: timedelta

    def open(self) -> psycopg.Connection[Any]:
        return connect(
            self.dsn, self.what, statement_timeout=self.statement_timeout, lock_timeout=self.lock_timeout, read_only=True
        )


class Connections:
    """Not safe between threads; those that open ahead are its own. Close it."""

    def __init__(self) -> None:
        self._idle: list[tuple[Wanted, float, psycopg.Connection[Any]]] = []
        self._openers: list[tuple[Thread, Wanted, list[tuple[float, psycopg.Connection[Any]]]]] = []

    def ahead(self, wanted: Wanted, count: int) -> None:
        """Begin to open so many, side by side. One that fails is opened again when it is taken, and then tells why."""
        for _ in range(count):
            into: list[tuple[float, psycopg.Connection[Any]]] = []
            opener = Thread(target=_open, args=(wanted, into), name="open-ahead", daemon=True)
            opener.start()
            self._openers.append((opener, wanted, into))

    def take(self, wanted: Wanted, count: int) -> list[psycopg.Connection[Any]]:
        """So many, outside any transaction. Raises UnavailableError with all of them closed."""
        self._collect()
        taken: list[psycopg.Connection[Any]] = []
        for entry in [entry for entry in self._idle if entry[0] == wanted][:count]:
            self._idle.remove(entry)
            _, since, connection = entry
            if time.monotonic() - since <= KEPT_S and not connection.closed:
                taken.append(connection)
            else:
                connection.close()
        try:
            while len(taken) < count:
                taken.append(wanted.open())
        except BaseException:
            for connection in taken:
                connection.close()
            raise
        return taken

    def give_back(self, wanted: Wanted, connection: psycopg.Connection[Any]) -> None:
        """Its transaction ends here. One that is not as it should be is closed."""
        with suppress(psycopg.Error):
            if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                connection.execute("ROLLBACK")
            if connection.info.transaction_status == TransactionStatus.IDLE:
                # In front: the one given back last leads the next snapshot, and has the catalogs at hand.
                self._idle.insert(0, (wanted, time.monotonic(), connection))
                return
        connection.close()

    def _collect(self) -> None:
        for opener, wanted, into in self._openers:
            opener.join()
            # Since when it was opened, not since now: reading the log may have taken an hour meanwhile.
            self._idle += [(wanted, since, connection) for since, connection in into]
        self._openers.clear()

    def close(self) -> None:
        self._collect()
        for _, _, connection in self._idle:
            connection.close()
        self._idle.clear()


def _open(wanted: Wanted, into: list[tuple[float, psycopg.Connection[Any]]]) -> None:
    with suppress(FencepostError):
        connection = wanted.open()
        into.append((time.monotonic(), connection))
