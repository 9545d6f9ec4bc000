"""Bring the ledger up to the ends of the log, seen at the start, without joining the consumer group.

Whoever judges calls this after the fence. Where another tracker is at work the compare-and-set refuses us, and we follow
its progress. A partition that cannot be drained is told, never raised: the rows can still be compared.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

from consumer.attach import Attached
from consumer.formats.contract import Decoder
from consumer.intake import Flush
from consumer.say import Say, Silent
from consumer.session import Session, opened
from consumer.standing import reached, read_state
from consumer.streams.contract import Place, StreamFactory
from databases.ledger import Ledger
from schemas.errors import PositionMoved
from schemas.keys import KeyType
from schemas.log_state import LogState
from schemas.settings import Settings

log = logging.getLogger("fencepost.tracker")

#: Another tracker that has not moved for so long is not at work any more; we read again ourselves.
STALLED_S = 2.0
LOOK_EVERY_S = 0.1


def catch_up(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    *,
    names: Collection[str] = (),
    deadline_s: float = 30.0,
    say: Say | None = None,
    on_flush: Callable[[Flush], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    patient: bool = False,
    streams: StreamFactory | None = None,
    decoders: Mapping[str, Decoder] | None = None,
) -> LogState:
    """Read the topics of these data types (all by default) up to their high watermarks of now.

    `deadline_s` bounds each wait in which nothing moves (an open transaction, another tracker, a silent broker), not the
    reading. Raises UnavailableError where broker or schema registry are away, SettingsError for a topic that does not
    exist, FloodError as `consumer.aside` has it. `patient`: a tracker of ours is at work, so it is followed from the start.
    """
    with opened(settings, ledger, key_types, names, streams=streams, decoders=decoders) as session:
        session.on_flush = on_flush
        attached = session.attach()
        return _CatchUp(session, attached, deadline_s, say or Silent(), should_stop).run(patient=patient)


class _CatchUp:
    def __init__(
        self, session: Session, attached: Attached, deadline_s: float, say: Say, should_stop: Callable[[], bool]
    ) -> None:
        self.session, self.first, self.deadline_s, self.say = session, attached, deadline_s, say
        self.should_stop = should_stop
        self.targets = {place: span.high for place, span in attached.spans.items()}
        self.total = sum(max(0, high - attached.at[place]) for place, high in self.targets.items())
        self.followed = False
        self._moved_at, self._sum = time.monotonic(), -1

    def run(self, *, patient: bool = False) -> LogState:
        if self._behind(self.first.at) and not (patient and self._follow()):
            self.say.phase(f"reading {self.total:,} records of the event log")
            while not self._read_to_the_end():
                self.followed = True
                if self._follow():
                    break
                self.session.attach()
        if self.session.flushes:
            self.session.tidy()
        state = self._state()
        self.session.judge_numbers({(p.topic, p.partition): p.high for p in state.partitions if p.drained})
        return state

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_to_the_end(self) -> bool:
        """Read and store; False where another tracker moved a position, so that our flush was thrown away."""
        session = self.session
        session.start()
        try:
            while self._behind(session.intake.reached()) and not self._give_up(session.intake.reached()):
                # Not asking for more than there is ends the last read without waiting for what will not come.
                reading = session.read(LOOK_EVERY_S, max(1, self._left(session.intake.reached())))
                if reading.broken or reading.corrupt:
                    session.flush()
                    session.attach(broken=reading.broken, corrupt=reading.corrupt)
                    session.start()
                elif session.due:
                    session.flush()
                self._tell(session.intake.reached())
            session.flush()
        except PositionMoved as moved:
            log.info("following another tracker", extra={"event": "following", "why": str(moved)})
            return False
        return True

    def _follow(self) -> bool:
        """Wait while another tracker moves on; True where all is read or nothing moves until the deadline."""
        self.say.waiting("for another tracker, which reads the same partitions")
        quiet_since, last = time.monotonic(), -1
        while True:
            standings = reached(self.session.ledger, self.first.incarnation, list(self.targets))
            if not self._behind(standings) or self._give_up(standings):
                return True
            now = sum(standings.values())
            if now != last:
                quiet_since, last = time.monotonic(), now
            elif time.monotonic() - quiet_since > STALLED_S:
                return False
            self._tell(standings)
            time.sleep(LOOK_EVERY_S)

    def _behind(self, at: Mapping[Place, int]) -> bool:
        return any(at.get(place, 0) < high for place, high in self.targets.items())

    def _give_up(self, at: Mapping[Place, int]) -> bool:
        """Whether nothing has moved for as long as we may wait, or we were told to stop."""
        now, moved = time.monotonic(), sum(at.values())
        if moved != self._sum:
            self._moved_at, self._sum = now, moved
        return self.should_stop() or now - self._moved_at > self.deadline_s

    def _left(self, at: Mapping[Place, int]) -> int:
        return sum(max(0, high - at.get(place, 0)) for place, high in self.targets.items())

    def _tell(self, at: Mapping[Place, int]) -> None:
        self.say.advance(max(0, self.total - self._left(at)), self.total)
        if time.monotonic() - self._moved_at > 1.0:
            stuck = [f"{t}[{p}]" for (t, p), high in self.targets.items() if at.get((t, p), 0) < high]
            self.say.waiting(f"for records of {', '.join(stuck[:3])}: is a producer's transaction still open?")

    def _state(self) -> LogState:
        # Asked again only where something is left: an open transaction shows in the stable offset.
        spans = dict(self.first.spans)
        standings = reached(self.session.ledger, self.first.incarnation, list(self.targets))
        left = [place for place, high in self.targets.items() if standings.get(place, 0) < high]
        stable = {place: span.stable for place, span in self.session.stream.spans(left).items()}
        return read_state(self.session.ledger, self.first, spans, stable, records=self.session.records, followed=self.followed)
