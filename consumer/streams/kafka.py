"""Kafka as an EventStream. The only file that talks to confluent_kafka's clients.

Reads many records per call and touches as little of each as it can. librdkafka's words go to a logger, never to stderr;
its errors are renamed here.
"""

from __future__ import annotations

import gc
import logging
import operator
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.streams.contract import Place, Reading, Shape, Span
from consumer.streams.kafka_closing import close
from consumer.streams.kafka_errors import DAMAGED, GONE, NOT_YET, REFUSALS, TOO_LARGE, complaint
from consumer.streams.kafka_questions import EARLIEST, LATEST, Questions, librdkafka, told
from consumer.streams.kafka_settings import consumer_values, refuse_cooperation
from schemas.errors import FencepostError, SettingsError, UnavailableError
from schemas.events import RawBatch
from schemas.settings import KafkaSettings

log = logging.getLogger("fencepost.kafka")

ASK_WITHIN_S = 8.0
#: A broker that is slower than this to tell topic ids is asked for its records' hashes instead.
TOPIC_IDS_WITHIN_S = 1.5
#: How the cluster id of librdkafka's mock cluster begins (the demo's broker): it never answers a question for topic ids.
MOCK_CLUSTER = "mockCluster"
DOWN_FOR_S = 8.0
#: A broker that has just come back may know no topic at all.
KNOWS_WITHIN_S = 2.0
RETRY_EVERY_S = 0.2
#: How long a consumer may take to close: one of a group stores what it holds and takes its leave.
CLOSES_WITHIN_S, LEAVES_WITHIN_S = 5.0, 60.0


class KafkaStream:
    """One consumer, opened when first needed. `questions`: those of others, to be shared with them."""

    def __init__(self, settings: KafkaSettings, timestamps: Collection[str] = (), questions: Questions | None = None) -> None:
        self._settings, self._timestamps = settings, frozenset(timestamps)
        refuse_cooperation(settings)
        self._questions, self._shared = questions or Questions(settings), questions is not None
        self._consumer_client: Consumer | None = None
        self._partitions = 16
        self._topics: set[str] = set()
        self._words = ""  # what librdkafka last complained about
        self._down_since: float | None = None
        self._granted: tuple[Place, ...] | None = None
        self._interrupted = self._joined = False
        self._failure: BaseException | None = None
        self._oversize = ""  # an answer of the broker's that the client refuses to receive

    # -- questions ----------------------------------------------------------------------------------------------------

    def shape(self, topics: Collection[str]) -> Shape:
        found = self._listed(topics)
        for topic in topics:
            error = found.topics[topic].error if topic in found.topics else None
            if topic not in found.topics or (error and error.code() in REFUSALS):
                raise SettingsError(
                    f"the topic {topic!r} does not exist on {self._settings.servers}, or we may not see it",
                    hint="compare 'topics' in the settings with the broker's; fencepost never creates a topic",
                )
        partitions = {t: len(found.topics[t].partitions) for t in topics}
        self._partitions = max(1, sum(partitions.values()))
        mocked = str(found.cluster_id).startswith(MOCK_CLUSTER)
        ids: dict[str, str | None] = dict.fromkeys(topics) if mocked else self._topic_ids(topics)
        return Shape(cluster_id=found.cluster_id, topic_ids=ids, partitions=partitions)

    def _listed(self, topics: Collection[str]) -> Any:
        """All topics: a request that names one may bring it into being where the broker creates topics by itself."""
        began = time.monotonic()
        while True:
            with self._renamed("ask for topics"):
                found = self._admin.list_topics(timeout=ASK_WITHIN_S)
            left = time.monotonic() - began < (ASK_WITHIN_S if found.topics else KNOWS_WITHIN_S)
            untold = [t for t in topics if t in found.topics and not found.topics[t].partitions]
            untold = [t for t in untold if (e := found.topics[t].error) is None or e.code() not in REFUSALS]
            # Taken at its word, a topic without partitions would be one that was read to its end.
            if untold and not left:
                why = next((e.str() for t in untold if (e := found.topics[t].error)), "it names no partition of it")
                raise UnavailableError(f"cannot ask for topics: {self._settings.servers} does not tell {untold[0]!r}: {why}")
            if not untold and (found.topics or not topics or not left):
                return found
            time.sleep(RETRY_EVERY_S)

    def _topic_ids(self, topics: Collection[str]) -> dict[str, str | None]:
        ids: dict[str, str | None] = dict.fromkeys(topics)
        if not topics:
            return ids
        asked = self._admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=TOPIC_IDS_WITHIN_S)
        for topic, answer in asked.items():
            try:
                ids[topic] = str(answer.result(TOPIC_IDS_WITHIN_S + 1).topic_id)
            except (KafkaException, TimeoutError) as error:
                log.debug("no topic id told", extra={"event": "topic_id_untold", "topic": topic, "why": str(error)})
        return ids

    def spans(self, places: Collection[Place]) -> dict[Place, Span]:
        if not places:
            return {}
        deadline = None
        with self._renamed("ask for offsets"):
            while True:
                try:
                    return self._spans(places)
                except KafkaException as error:
                    if error.args[0].code() not in NOT_YET:
                        raise
                    # From its first answer on: until it came back it may have had us wait for as long as we would.
                    deadline = deadline or time.monotonic() + ASK_WITHIN_S
                    if time.monotonic() > deadline:
                        raise
                time.sleep(RETRY_EVERY_S)

    def _spans(self, places: Collection[Place]) -> dict[Place, Span]:
        start = self._offsets(places, EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        stable = self._offsets(places, LATEST, IsolationLevel.READ_COMMITTED)
        # Asked last: what was stable a moment ago can only be below it.
        high = self._offsets(places, LATEST, IsolationLevel.READ_UNCOMMITTED)
        return {p: Span(start=told(start[p]), stable=told(stable[p]), high=told(high[p])) for p in places}

    def _offsets(self, places: Collection[Place], spec: Any, isolation: Any) -> dict[Place, Any]:
        asked = self._admin.list_offsets(
            {TopicPartition(*place): spec for place in places},
            isolation_level=isolation,
            request_timeout=ASK_WITHIN_S,
        )
        return {(tp.topic, tp.partition): answer for tp, answer in asked.items()}

    # -- reading ------------------------------------------------------------------------------------------------------

    def assign(self, at: Mapping[Place, int], epochs: Mapping[Place, int] | None = None) -> None:
        wanted = []
        for (topic, partition), offset in at.items():
            epoch = (epochs or {}).get((topic, partition))
            if epoch is None:
                wanted.append(TopicPartition(topic, partition, offset))
            else:  # the leader is then asked whether it still holds what we read
                wanted.append(TopicPartition(topic, partition, offset, leader_epoch=epoch))
        with self._renamed("assign partitions"):
            # Unassigned first: assigning a partition that is already ours would not move it back.
            self._consumer.unassign()
            self._consumer.assign(wanted)
        self._topics = {topic for topic, _ in at}

    def join(self, topics: Collection[str], on_revoked: Callable[[bool], None]) -> None:
        # Callbacks only note down: an exception must come out of `read`, not get lost in librdkafka's thread, and
        # partitions begin where the ledger says, which is asked after `read` has returned.
        def granted(consumer: Any, partitions: list[Any]) -> None:
            consumer.assign([])
            self._interrupted, self._granted = True, tuple(sorted((p.topic, p.partition) for p in partitions))

        def revoked(consumer: Any, _partitions: list[Any], lost: bool) -> None:
            self._interrupted, self._granted = True, ()
            try:
                on_revoked(lost)
            except BaseException as error:  # noqa: BLE001 - raised again by `read`
                self._failure = error
            finally:
                consumer.unassign()

        self._joined = True
        with self._renamed("join the group"):
            self._consumer.subscribe(
                sorted(topics),
                on_assign=granted,
                on_revoke=lambda c, p: revoked(c, p, False),
                on_lost=lambda c, p: revoked(c, p, True),
            )

    def read(self, max_records: int, timeout_s: float) -> Reading:
        with _uncollected():
            return self._read(max_records, timeout_s)

    def _read(self, max_records: int, timeout_s: float) -> Reading:
        reading = Reading()
        with self._renamed("read"):
            messages = self._consumer.consume(max_records, timeout_s)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._interrupted:
            # A rebalance happened inside this call: these records may be of an assignment that is no more, whose
            # offsets do not follow on from where the ledger will have us start. They are read again.
            self._interrupted = False
            reading.granted, self._granted = self._granted, None
            return reading
        if not messages:
            if self._oversize:
                raise UnavailableError(
                    f"cannot read: a batch in the event log is larger than the client may receive: {self._oversize}",
                    hint="raise 'receive.message.max.bytes' under event_log.kafka, or set it no longer",
                )
            self._still_there()
            return reading
        self._down_since = None
        if any(map(Message.error, messages)):
            messages = self._without_errors(messages, reading)
        if messages:
            reading.batches = list(self._runs(messages, reading.epochs))
        return reading

    def _runs(self, messages: list[Any], epochs: dict[Place, int]) -> Iterator[RawBatch]:
        """Cut into runs of one partition. What must be asked of every message is asked by `map`, in C."""
        cuts = self._cuts(messages)
        values = list(map(Message.value, messages))
        for low, high in pairwise(cuts):
            run = messages[low:high]
            first, last = run[0], run[-1]
            topic, partition, offset = last.topic(), last.partition(), first.offset()
            if last.offset() - offset == len(run) - 1:
                # Offsets rise strictly, so as many of them as the span is long leave no choice.
                offsets = np.arange(offset, offset + len(run), dtype=np.int64)
            else:
                offsets = np.fromiter(map(Message.offset, run), np.int64, len(run))
            epoch = last.leader_epoch()
            if epoch is not None:
                epochs[topic, partition] = epoch
            stamps = None
            if topic in self._timestamps:
                stamps = np.array([m.timestamp()[1] for m in run], np.int64)
            yield RawBatch(
                topic=topic,
                partition=partition,
                offsets=offsets,
                values=values if len(run) == len(values) else values[low:high],
                timestamps=stamps,
            )

    def _cuts(self, messages: list[Any]) -> list[int]:
        n = len(messages)
        partitions = list(map(Message.partition, messages))
        changes = np.zeros(n - 1, np.bool_)
        if partitions.count(partitions[0]) != n:
            numbers = np.array(partitions, np.int32)
            changes |= numbers[1:] != numbers[:-1]
        if len(self._topics) != 1:
            topics = list(map(Message.topic, messages))
            if topics.count(topics[0]) != n:
                changes |= np.fromiter(map(operator.ne, topics[1:], topics), np.bool_, n - 1)
        return [0, *(np.flatnonzero(changes) + 1).tolist(), n]

    def _without_errors(self, messages: list[Any], reading: Reading) -> list[Any]:
        good = []
        for message in messages:
            error = message.error()
            if error is None:
                # What librdkafka makes of the bytes behind a damaged batch is not to be believed, its place least of all.
                if not reading.corrupt or (message.topic(), message.partition()) not in reading.corrupt:
                    good.append(message)
                continue
            place, code = (message.topic(), message.partition()), error.code()
            if place in reading.corrupt:
                continue
            if code == KafkaError._PARTITION_EOF:
                reading.ends[place] = max(message.offset(), reading.ends.get(place, 0))
            elif code in GONE:
                reading.broken[place] = error.str()
            elif code in DAMAGED:
                reading.corrupt[place] = error.str()
            elif error.fatal() or code in REFUSALS:
                raise UnavailableError(f"cannot read {_named(place)} from {self._settings.servers}: {error.str()}")
            else:
                self._complained(error)
        return good

    def peek(self, at: Mapping[Place, int]) -> dict[Place, tuple[int, bytes | None]]:
        other = KafkaStream(self._settings)
        found: dict[Place, tuple[int, bytes | None]] = {}
        done: set[Place] = set()
        deadline = time.monotonic() + ASK_WITHIN_S
        try:
            other.assign(at)
            while len(done) < len(at) and time.monotonic() < deadline:
                reading = other.read(500, 0.1)
                for raw in reading.batches:
                    found.setdefault((raw.topic, raw.partition), (int(raw.offsets[0]), raw.values[0]))
                done |= {*found, *reading.ends, *reading.broken, *reading.corrupt}
        finally:
            other.close()
        return found

    def intact(self, place: Place, offset: int) -> bool:
        # A client of its own for each question: one that has met damage stands in the midst of it.
        other = KafkaStream(self._settings)
        deadline = time.monotonic() + ASK_WITHIN_S
        try:
            other.assign({place: offset})
            while time.monotonic() < deadline:
                reading = other.read(1, 0.1)
                if reading.batches or reading.ends:
                    return True
                if reading.corrupt:
                    return False
                if reading.broken:  # a false alarm, or retention has come by: the caller looks at the spans again
                    other.assign({place: offset})
        finally:
            other.close()
        raise UnavailableError(f"cannot find where {_named(place)} can be read again: no answer at offset {offset}")

    def commit(self, offsets: Mapping[Place, int]) -> None:
        if self._consumer_client is None:  # it is being closed; the ledger has the positions, these are for dashboards
            return
        try:
            self._consumer.commit(offsets=[TopicPartition(*p, o) for p, o in offsets.items()], asynchronous=True)
        except KafkaException as error:
            log.debug("offsets not committed", extra={"event": "commit_failed", "why": str(error)})

    def close(self) -> None:
        consumer, self._consumer_client = self._consumer_client, None
        if not self._shared:
            self._questions.close()
        if consumer is not None:
            close(consumer, LEAVES_WITHIN_S if self._joined else CLOSES_WITHIN_S)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure

    # -- clients ------------------------------------------------------------------------------------------------------

    @property
    def _admin(self) -> AdminClient:
        with self._renamed("open a client"):
            return self._questions.client()

    @property
    def _consumer(self) -> Consumer:
        if self._consumer_client is None:
            values: dict[str, Any] = consumer_values(self._settings, self._partitions)
            with self._renamed("open a client"):
                self._consumer_client = Consumer(values | {"error_cb": self._complained}, logger=librdkafka)
        return self._consumer_client

    def _complained(self, error: Any) -> None:
        """librdkafka's error callback: it recovers by itself from all but what `read` raises."""
        self._words = complaint(error, self._words)
        if TOO_LARGE in error.str():
            self._oversize = error.str()
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION) and self._down_since is None:
            self._down_since = time.monotonic()

    def _still_there(self) -> None:
        """Silence is no end of data: once all brokers were said to be down, ask before believing in an idle topic."""
        if self._down_since is None or time.monotonic() - self._down_since < DOWN_FOR_S:
            return
        with self._renamed("read"):
            self._consumer.list_topics(timeout=ASK_WITHIN_S / 2)
        self._down_since = None

    @contextmanager
    def _renamed(self, what: str) -> Iterator[None]:
        try:
            yield
        except FencepostError:
            raise
        except KafkaException as error:
            cause = error.args[0]
            if isinstance(cause, KafkaError) and cause.code() in (KafkaError._INVALID_ARG, KafkaError._CONFLICT):
                raise SettingsError(
                    f"event_log.kafka cannot be used: {cause.str()}", hint="librdkafka's CONFIGURATION.md lists its settings"
                ) from None
            words = cause.str() if isinstance(cause, KafkaError) else str(cause)
            before = self._words or self._questions.words
            more = f" ({before})" if before and before not in words else ""
            raise UnavailableError(
                f"cannot {what}: the event log at {self._settings.servers} does not answer: {words}{more}",
                hint="is 'bootstrap.servers' right, the broker up, and SASL or TLS as it wants?",
            ) from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Thousands of messages at once wake Python's cycle collector for nothing: they hold no cycles, and are gone soon."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _named(place: Place) -> str:
    return f"{place[0]}[{place[1]}]" if place[1] >= 0 else place[0]
