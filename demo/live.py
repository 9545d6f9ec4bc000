"""An application at work: it creates rows, announces each, and an applier registers what was announced.

A part of the announcements can be made to get lost, as a faulty release would lose them. Everything that was lost is known
here, so that what fencepost says can be held against it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import sql

from demo.broker import Broker
from demo.losses import Creation, Fate
from demo.postgres import Postgres
from demo.traffic import CREATED, Kind
from schemas.errors import FencepostError

BATCH = 20
EVERY_S = 0.1


@dataclass
class Application:
    """Runs in a thread as long as the `with` block. `losing` may be set at any time: of so many rows one is not announced."""

    server: Postgres
    broker: Broker
    kind: Kind
    losing: int | None = None
    created: int = 0
    lost: set[int] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _failed: BaseException | None = None

    def __enter__(self) -> Application:
        self._thread = threading.Thread(target=self._work, name="application", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raises what the thread met."""
        if self._failed is not None:
            raise FencepostError("the demo's application stopped") from self._failed

    def _work(self) -> None:
        try:
            with self.server.connect("app") as source, self.server.connect("tracking") as target:
                while not self._stop.wait(EVERY_S):
                    self._turn(source, target)
        except Exception as error:  # noqa: BLE001 - told by `check`, in the thread that waits
            self._failed = error

    def _turn(self, source: psycopg.Connection[object], target: psycopg.Connection[object]) -> None:
        """Commit first, announce after: what an application does, and where it loses."""
        rows = self._insert(source)
        told = [row for row in rows if not self._loses(row[0])]
        self.broker.send(self.kind.topic, [(str(key).encode(), self._event(key, at)) for key, at in told])
        into = sql.SQL("INSERT INTO {} ({}, state) SELECT unnest(%s::bigint[]), 2").format(
            sql.Identifier("public", self.kind.registry), sql.Identifier(self.kind.registry_key)
        )
        target.execute(into, [[key for key, _ in told]])
        self.created += len(rows)

    def _insert(self, source: psycopg.Connection[object]) -> Sequence[tuple[int, datetime]]:
        query = sql.SQL("INSERT INTO {} (size) SELECT 1024 FROM generate_series(1, %s) RETURNING id, created_at").format(
            sql.Identifier("public", self.kind.source)
        )
        rows: Sequence[tuple[int, datetime]] = source.execute(query, [BATCH]).fetchall()  # type: ignore[assignment]
        return rows

    def _loses(self, key: int) -> bool:
        lost = self.losing is not None and key % self.losing == 0
        if lost:
            self.lost.add(key)
        return lost

    def _event(self, key: int, at: datetime) -> bytes:
        return self.kind.encode(Creation(key, at, Fate.FINE), CREATED)
