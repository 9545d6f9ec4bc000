"""Hold still while the source is busy, and say why. A sweep is never in a hurry.

Asked between two ranges, when no snapshot is held. What our role may not see is told once and brakes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Any

import psycopg

from databases.connect import renamed
from reconciler.ports import Say
from reconciler.probe import Reader
from reconciler.probe.blobs import ranked
from reconciler.scene import Scene, Subject
from schemas.durations import show
from schemas.keys import Key
from schemas.settings import BrakeSettings

#: How often a source that was busy is asked again.
POLL_S = 1.0

#: Physical standbys: a logical subscriber that lags is no sign of load. A stalled one is told as ever later.
_LAGGING = """
SELECT concat_ws(' at ', nullif(r.application_name, ''), host(r.client_addr)),
       extract(epoch FROM r.replay_lag)::float8, r.state
  FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
 WHERE s.slot_type IS DISTINCT FROM 'logical' AND (r.state IS NULL OR r.state IN ('streaming', 'catchup'))
"""
_OWN_LAG = """
SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
 WHERE pg_is_in_recovery() AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
"""
#: Where a session's state is masked, one that has a transaction open counts.
_ACTIVE = """
SELECT count(*) FROM pg_stat_activity a
 WHERE a.application_name <> 'fencepost' AND a.pid <> pg_backend_pid()
   AND coalesce(a.backend_type, 'client backend') = 'client backend'
   AND (a.state = 'active' OR (a.state IS NULL AND EXISTS (
         SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'virtualxid' AND l.granted)))
"""


@dataclass(slots=True)
class Brakes:
    """The limits of the settings, held against the source."""

    scene: Scene
    limits: BrakeSettings
    unseen: list[str] = field(default_factory=list)  #: what we may not look at

    def pressed(self, subject: Subject, at: Key | None) -> list[str]:
        """Why to wait now. Raises UnavailableError."""
        with renamed("ask the source how busy it is"):
            return [*self._late(), *self._crowded(), *self._slow(subject, at)]

    def _late(self) -> Iterator[str]:
        most = self.limits.replica_lag
        told = f"sweep.brakes.replica_lag: {show(most)}"
        for name, late_s, state in self.scene.fence_at.execute(_LAGGING):
            if state is None:
                self._not_seen("how late the source's standbys are (pg_stat_replication needs pg_read_all_stats)")
            elif late_s is not None and late_s > most.total_seconds():
                yield f"the standby {name} replays {late_s:.0f} s late ({told})"
        if self.scene.fence_at is not self.scene.source:
            row = self.scene.source.execute(_OWN_LAG).fetchone()
            if row and row[0] is not None and row[0] > most.total_seconds():
                yield f"the source, a standby, replays {row[0]:.0f} s late ({told})"

    def _crowded(self) -> Iterator[str]:
        most = self.limits.active_sessions
        if most is None:
            return
        row = self.scene.source.execute(_ACTIVE).fetchone()
        if row and row[0] > most:
            yield f"{row[0]} sessions are active (sweep.brakes.active_sessions: {most})"

    def _slow(self, subject: Subject, at: Key | None) -> Iterator[str]:
        most = self.limits.statement_time
        if most is None or not subject.source.table.by_range:
            return
        took = _looked_up(self.scene.source, subject, at)
        if took > most:
            yield f"looking up one key took {show(took)} (sweep.brakes.statement_time: {show(most)})"

    def _not_seen(self, what: str) -> None:
        if what not in self.unseen:
            self.unseen.append(what)


def _looked_up(source: psycopg.Connection[Any], subject: Subject, at: Key | None) -> timedelta:
    with source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        began = time.monotonic()
        ranked(Reader(source, subject.source.table), at, None, 0)
        return timedelta(seconds=time.monotonic() - began)


def hold(brakes: Brakes, subject: Subject, at: Key | None, stop: Event, say: Say) -> None:
    """Wait while any limit is passed, or until told to stop."""
    while not stop.is_set() and (reasons := brakes.pressed(subject, at)):
        say.waiting(f"for the source: {'; '.join(reasons)}")
        stop.wait(POLL_S)
