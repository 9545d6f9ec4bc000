"""Follow the log into the ledger until stopped: the loop, rebalances, and how it goes on when something is away.

Instances share partitions through the consumer group; that they never write over one another is the ledger's
compare-and-set, not the group. `consumer.session` reads and stores, `consumer.catch_up` is the way to an end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from consumer.formats.contract import Decoder
from consumer.intake import Flush
from consumer.say import Say, Silent
from consumer.session import READ_TIMEOUT_S, Session, opened
from consumer.streams.contract import Place, Reading, Shape, StreamFactory
from databases.ledger import Ledger
from schemas.errors import PositionMoved, SettingsError, UnavailableError
from schemas.keys import KeyType
from schemas.settings import Settings

log = logging.getLogger("fencepost.tracker")

#: How often to ask whether this is still the log we began with.
LOOK_EVERY_S = 60.0
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
TELL_EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class Tracker:
    """One instance. `run` returns when `stop` is set, with everything read so far stored."""

    settings: Settings
    ledger: Ledger
    key_types: Mapping[str, KeyType]
    say: Say = field(default_factory=Silent)
    on_flush: Callable[[Flush], None] | None = None
    streams: StreamFactory | None = None
    decoders: Mapping[str, Decoder] | None = None
    records: int = 0
    _owned: tuple[Place, ...] = ()
    _failures: int = 0
    _met: bool = False

    def run(self, stop: threading.Event) -> int:
        """Follow until stopped; how many records were stored. Raises what no waiting cures: FloodError, SettingsError."""
        log.info("tracker started", extra={"event": "tracker_started"})
        self.say.phase("following the event log")
        while not stop.is_set():
            try:
                self._follow(stop)
            except UnavailableError as error:
                pause = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
                self._failures += 1
                log.warning(
                    "something is away; trying again",
                    extra={"event": "tracker_waits", "why": str(error), "seconds": pause},
                )
                self.say.waiting(f"{pause:g} s, then trying again: {error}")
                stop.wait(pause)
        # The last line of a clean stop says so: a log that ends otherwise means something.
        log.info("tracker stopped, all it read is stored", extra={"event": "tracker_stopped", "records": self.records})
        return self.records

    def _follow(self, stop: threading.Event) -> None:
        """One session: until stopped, or something is away."""
        with opened(self.settings, self.ledger, self.key_types, streams=self.streams, decoders=self.decoders) as session:
            self._owned = ()
            session.on_flush = self._stored
            shape = self._shape(session)
            session.stream.join(session.topics, lambda lost: self._revoked(session, lost))
            looked = told = time.monotonic()
            while not stop.is_set():
                shape = self._step(session, shape)
                now = time.monotonic()
                if now - looked > LOOK_EVERY_S:
                    looked, shape = now, self._look(session, shape)
                if now - told > TELL_EVERY_S:
                    told = now
                    self.say.advance(self.records + session.intake.records, None)
            self._last_flush(session)

    def _step(self, session: Session, shape: Shape) -> Shape:
        try:
            reading = session.read(READ_TIMEOUT_S)
            if reading.granted is not None:
                shape = self._granted(session, reading, shape)
            elif reading.broken or reading.corrupt:
                session.flush()
                self._attach(session, reading.broken, reading.corrupt)
            elif session.due:
                session.flush()
        except PositionMoved as moved:
            # A zombie, a `gaps` beside us, or we are the zombie: what we hold may be stored twice or not at all.
            _told_moved(moved)
            self._attach(session)
        return shape

    def _granted(self, session: Session, reading: Reading, shape: Shape) -> Shape:
        self._owned = reading.granted or ()
        log.info("partitions granted", extra={"event": "partitions_granted", "partitions": len(self._owned)})
        if not self._owned:
            session.intake.begin({}, {}, {})
            return shape
        self._attach(session)
        return session.attached.shape if session.attached else shape

    def _attach(self, session: Session, broken: Mapping[Place, str] | None = None, corrupt: Collection[Place] = ()) -> None:
        session.attach(self._owned, broken, corrupt)
        session.start()

    def _revoked(self, session: Session, lost: bool) -> None:
        """Called inside `read`, while the partitions are still ours, unless lost: store what we have of them."""
        try:
            if not lost:
                session.flush()
        except (PositionMoved, UnavailableError) as error:
            log.warning(
                "partitions went before what was read of them was stored: whoever has them next reads it again",
                extra={"event": "revoked_unstored", "why": str(error)},
            )
        finally:
            # Whoever gets them next starts at the ledger's positions, so nothing is lost by forgetting.
            session.intake.begin({}, {}, {})

    def _last_flush(self, session: Session) -> None:
        try:
            session.flush()
        except PositionMoved as moved:
            _told_moved(moved)

    def _shape(self, session: Session) -> Shape:
        try:
            shape = session.stream.shape(session.topics)
        except SettingsError as error:
            if not self._met:
                raise
            raise UnavailableError(str(error)) from None  # deleted, and perhaps about to be created anew
        self._met = True
        return shape

    def _look(self, session: Session, before: Shape) -> Shape:
        """A topic recreated longer than our position raises no error anywhere: only its id tells."""
        shape = self._shape(session)
        if self._owned and _changed(before, shape):
            self._last_flush(session)
            self._attach(session)
        session.judge_numbers(session.intake.ended())  # also while nothing comes: what was missing then is missing now
        return shape

    def _stored(self, flush: Flush) -> None:
        self.records += flush.records
        self._failures = 0
        log.debug("flush stored", extra={"event": "flush_stored", "records": flush.records})
        if self.on_flush is not None:
            self.on_flush(flush)


def _told_moved(moved: PositionMoved) -> None:
    log.warning(
        "another reader was quicker: nothing of this flush is stored, reading goes on where the ledger stands",
        extra={"event": "position_moved", "why": str(moved)},
    )


def _changed(before: Shape, now: Shape) -> bool:
    if before.cluster_id != now.cluster_id:
        return True
    return any(
        topic_id and before.topic_ids.get(topic) and topic_id != before.topic_ids[topic]
        for topic, topic_id in now.topic_ids.items()
    )
