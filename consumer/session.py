"""Stream, decoders, intake and ledger put together: attach, read, flush. Whether and when is the caller's business.

Two callers: `consumer.tracker` shares partitions through the consumer group, `consumer.catch_up` takes them all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from consumer import merge, numbering
from consumer.attach import Attached, attach
from consumer.formats.contract import CHUNK_RECORDS, Decoder
from consumer.intake import Flush, Intake
from consumer.ledger import store
from consumer.routes import opened_decoders, readers, topics_of
from consumer.streams.contract import EventStream, Place, Reading, StreamFactory
from databases.ledger import Ledger
from schemas.errors import FencepostError
from schemas.keys import KeyType
from schemas.settings import Settings

log = logging.getLogger("fencepost.tracker")

#: Few enough that Python's cycle collector has little to walk. Of several chunks, so that their odd records, which are
#: walked apart, are walked once; each chunk's columns stay in the processor's cache.
READ_RECORDS = 3 * CHUNK_RECORDS
READ_TIMEOUT_S = 0.1
#: So many flushes between two looks at what can be merged.
TIDY_EVERY = 48


@dataclass(slots=True, kw_only=True)
class Session:
    """Everything open, for some topics."""

    settings: Settings
    ledger: Ledger
    key_types: Mapping[str, KeyType]
    stream: EventStream
    topics: Sequence[str]
    intake: Intake
    on_flush: Callable[[Flush], None] | None = None
    attached: Attached | None = None
    records: int = 0  #: stored so far
    flushes: int = 0
    _flushed_at: float = field(default_factory=time.monotonic)

    def attach(
        self,
        places: Collection[Place] | None = None,
        broken: Mapping[Place, str] | None = None,
        corrupt: Collection[Place] = (),
    ) -> Attached:
        """Drop what is not stored, hold positions against the log, and stand where the ledger stands."""
        self.intake.begin({}, {}, {})
        self.attached = found = attach(self.ledger, self.stream, self.topics, places, broken=broken, corrupt=corrupt)
        self.intake.begin(found.at, found.shape.topic_ids, found.event_us)
        self._flushed_at = time.monotonic()
        return found

    def start(self) -> None:
        """Let records flow from where `attach` stood us."""
        assert self.attached is not None
        self.stream.assign(self.attached.at, self.attached.epochs)

    def read(self, timeout_s: float = READ_TIMEOUT_S, limit: int = READ_RECORDS) -> Reading:
        """Read once and decode. Reports of `broken`, `corrupt` and `granted` are the caller's to act on."""
        reading = self.stream.read(min(limit, READ_RECORDS), timeout_s)
        if reading.granted is None:
            self.intake.take(reading)
        return reading

    @property
    def due(self) -> bool:
        tracker = self.settings.tracker
        if self.intake.records >= tracker.flush_records or self.intake.full:
            return True
        return time.monotonic() - self._flushed_at >= tracker.flush_every.total_seconds() and self.intake.dirty

    def flush(self) -> None:
        """Store, then commit. Raises PositionMoved, with nothing stored; the intake is then to be attached anew."""
        self._flushed_at = time.monotonic()
        if not self.intake.dirty:
            return
        assert self.attached is not None
        flush = self.intake.flush()
        store(
            self.ledger,
            self.attached.incarnation,
            flush,
            self.key_types,
            limit=self.settings.quarantine.limit,
            read_for=readers(self.settings, self.topics),
        )
        self.intake.stored_before_s = time.monotonic() - self._flushed_at
        # The ledger holds it: only now may dashboards hear of it. A crash in between repeats nothing, for reading
        # starts at the ledger's positions; the other order would tell of records that nobody stored.
        self.intake.settle(flush)
        self.stream.commit(flush.next_offsets)
        self.records += flush.records
        self.flushes += 1
        if self.on_flush is not None:
            self.on_flush(flush)
        if self.flushes % TIDY_EVERY == 0:
            self.tidy()

    def tidy(self) -> None:
        """Merge and retire old segments. A failure costs room, never truth, so it is only told."""
        assert self.attached is not None
        try:
            merge.tidy(self.ledger, self.attached.incarnation, self.key_types, self.settings.ledger.keep)
        except FencepostError as error:
            log.warning("segments were not merged", extra={"event": "merge_failed", "why": str(error)})
        self.judge_numbers(self.intake.ended())

    def judge_numbers(self, ended: Mapping[Place, int]) -> None:
        """Where events are numbered. An estimate is no reason to stop reading, so a failure is only told."""
        about = [one for one in self.settings.numberings() if {*one.topics} & {*self.topics}]
        if self.attached is None or not about:
            return
        try:
            numbering.judge(self.ledger, self.attached.incarnation, about, ended)
        except FencepostError as error:
            log.warning("numbers were not judged", extra={"event": "numbers_unjudged", "why": str(error)})


@contextmanager
def opened(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    names: Collection[str] = (),
    *,
    streams: StreamFactory | None = None,
    decoders: Mapping[str, Decoder] | None = None,
) -> Iterator[Session]:
    """A session over the topics of these data types (all by default). Nothing is asked of the log yet."""
    topics = topics_of(settings, names)
    with opened_decoders(settings, key_types, topics, decoders) as decode:
        stream = (streams or kafka(settings))([t for t, d in decode.items() if d.needs_timestamps])
        try:
            yield Session(
                settings=settings,
                ledger=ledger,
                key_types=key_types,
                stream=stream,
                topics=topics,
                intake=Intake(
                    decoders=decode,
                    key_types=key_types,
                    numberings={topic: one.name for one in settings.numberings() for topic in one.topics if topic in topics},
                ),
            )
        finally:
            stream.close()


def kafka(settings: Settings) -> StreamFactory:
    from consumer.streams.kafka import KafkaStream  # late: commands that need no broker start faster

    return lambda timestamps: KafkaStream(settings.event_log.kafka, timestamps)


class Streams:
    """As `kafka`, for the streams of one command: they ask over one connection. Close it."""

    def __init__(self, settings: Settings) -> None:
        from consumer.streams.kafka_questions import Questions

        self._settings = settings.event_log.kafka
        self._questions = Questions(self._settings)
        self.close = self._questions.close

    def __call__(self, timestamps: Collection[str]) -> EventStream:
        from consumer.streams.kafka import KafkaStream

        return KafkaStream(self._settings, timestamps, self._questions)
