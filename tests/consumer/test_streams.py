"""One contract, over the stream in memory and over Kafka, so that the one in memory cannot drift."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import NewPartitions

from consumer.streams.contract import EventStream, Place, Span
from consumer.streams.kafka import KafkaStream
from consumer.streams.kafka_questions import Questions
from consumer.streams.memory import MemoryLog
from schemas.errors import SettingsError, UnavailableError
from schemas.events import RawBatch
from schemas.settings import KafkaSettings
from tests.stack.kafka import Kafka
from tests.stack.processes import wait_until

Records = dict[Place, list[tuple[int, bytes | None]]]
#: Not any old time: brokers retire records by the times that producers give them, here within a second.
NOW_MS = int(time.time()) * 1000


class MemoryBroker:
    """What a test does to the log from outside."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.topic = "t"
        self.open = self.log.stream

    def create(self, partitions: int) -> None:
        self.log.create(self.topic, partitions)

    def delete(self) -> None:
        self.log.delete(self.topic)

    def grow(self, partitions: int) -> None:
        self.log.grow(self.topic, partitions)

    def append(self, *values: bytes | None, partition: int = 0) -> None:
        for value in values:
            self.log.append(self.topic, value, partition, stamp=NOW_MS)

    def transaction(self, *values: bytes) -> Callable[[bool], None]:
        for value in values:
            self.log.append(self.topic, value, state="open")
        return lambda commit: self.log.end(self.topic, 0, commit=commit)

    def delete_records(self, before: int) -> None:
        self.log.delete_records(self.topic, 0, before)

    def damage(self, value: bytes) -> None:
        (record,) = (r for r in self.log.topics[self.topic][0].records if r.value == value)
        self.log.damage(self.topic, 0, record.offset, record.offset + 1)


class KafkaBroker:
    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.kafka, self.topic = kafka, topic
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})

    def open(self, timestamps: Any = ()) -> KafkaStream:
        values = {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.topic, "session.timeout.ms": "6000"}
        return KafkaStream(KafkaSettings.model_validate(values | {"topic.metadata.refresh.interval.ms": "500"}), timestamps)

    def create(self, partitions: int) -> None:
        self.kafka.create_topic(self.topic, partitions)

    def delete(self) -> None:
        self.kafka.delete_topic(self.topic)

    def grow(self, partitions: int) -> None:
        for done in self.kafka.admin.create_partitions([NewPartitions(self.topic, partitions)]).values():
            done.result(30)

    def append(self, *values: bytes | None, partition: int = 0) -> None:
        for value in values:
            self.producer.produce(self.topic, value, partition=partition, timestamp=NOW_MS)
        assert self.producer.flush(30) == 0

    def transaction(self, *values: bytes) -> Callable[[bool], None]:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "transactional.id": self.topic})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.topic, value, partition=0)
        producer.flush(30)
        return lambda commit: producer.commit_transaction(30) if commit else producer.abort_transaction(30)

    def delete_records(self, before: int) -> None:
        self.kafka.delete_records(self.topic, {0: before})

    def damage(self, value: bytes) -> None:
        self.kafka.flip(self.topic, value)


@pytest.fixture
def memory_broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def kafka_broker(kafka: Kafka, topic_name: str) -> KafkaBroker:
    return KafkaBroker(kafka, topic_name)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.parts)])
def broker(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_broker")


@pytest.fixture
def stream(broker: Any) -> Iterator[EventStream]:
    broker.create(2)
    with contextlib.closing(broker.open()) as opened:
        yield opened


def read_until(
    stream: EventStream, at: dict[Place, int], ends: dict[Place, int]
) -> dict[Place, list[tuple[int, bytes | None]]]:
    """Read from `at` until each place was told to have been read up to its end."""
    found: Records = {}
    reached: dict[Place, int] = {}

    def begin() -> None:
        found.update({place: [] for place in at})
        reached.clear()
        stream.assign(at)

    def done() -> bool:
        reading = stream.read(1000, 0.1)
        if reading.broken:  # a false alarm, as the contract allows: these offsets are there
            begin()
        for raw in reading.batches:
            found[raw.topic, raw.partition] += zip(raw.offsets.tolist(), raw.values, strict=True)
        reached.update(reading.ends)
        return all(reached.get(place, 0) >= end for place, end in ends.items())

    begin()
    wait_until(done, f"the ends {ends}")
    return found


def test_records_come_in_order_as_runs_of_one_partition(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", None, b"", b"b")
    broker.append(b"c", partition=1)
    at = {(broker.topic, 0): 0, (broker.topic, 1): 0}
    found = read_until(stream, at, {(broker.topic, 0): 4, (broker.topic, 1): 1})
    assert found == {
        (broker.topic, 0): [(0, b"a"), (1, None), (2, b""), (3, b"b")],
        (broker.topic, 1): [(0, b"c")],
    }


def test_reading_starts_where_told_and_again_where_told_again(broker: Any, stream: EventStream) -> None:
    broker.append(*(b"%d" % i for i in range(10)))
    place = (broker.topic, 0)
    for at in (7, 2):
        found = read_until(stream, {place: at}, {place: 10})
        assert [offset for offset, _ in found[place]] == list(range(at, 10))


def test_shape_and_spans_tell_ids_and_offsets(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", b"b", b"c")
    broker.delete_records(1)
    shape = stream.shape([broker.topic])
    assert shape.cluster_id
    assert shape.topic_ids[broker.topic]
    assert shape.places() == [(broker.topic, 0), (broker.topic, 1)]
    spans = stream.spans(shape.places())
    assert [(s.start, s.stable, s.high) for s in spans.values()] == [(1, 3, 3), (0, 0, 0)]


def test_a_recreated_topic_has_another_id(broker: Any, stream: EventStream) -> None:
    before = stream.shape([broker.topic]).topic_ids[broker.topic]
    broker.delete()
    broker.create(2)
    assert stream.shape([broker.topic]).topic_ids[broker.topic] not in (None, before)


def test_a_topic_that_does_not_exist_is_a_clear_error_and_stays_absent(broker: Any, stream: EventStream) -> None:
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"'no-such-topic' does not exist"):
            stream.shape([broker.topic, "no-such-topic"])


def test_an_open_transaction_hides_what_follows_and_the_high_watermark_tells(broker: Any, stream: EventStream) -> None:
    place = (broker.topic, 0)
    broker.append(b"before")
    end = broker.transaction(b"within")
    broker.append(b"behind")
    span = stream.spans([place])[place]
    assert (span.stable, span.high) == (1, 3)
    found = read_until(stream, {place: 0}, {place: 1})
    assert found[place] == [(0, b"before")]
    end(True)
    found = read_until(stream, {place: 1}, {place: 4})
    assert found[place] == [(1, b"within"), (2, b"behind")]


def test_an_aborted_transaction_is_passed_over_and_the_end_lies_past_its_control_record(
    broker: Any, stream: EventStream
) -> None:
    place = (broker.topic, 0)
    broker.transaction(b"one", b"two")(False)
    found = read_until(stream, {place: 0}, {place: stream.spans([place])[place].high})
    assert found[place] == []


@pytest.mark.parametrize("at", [0, 9])
def test_an_offset_the_log_does_not_hold_is_told_and_never_followed(broker: Any, stream: EventStream, at: Any) -> None:
    place = (broker.topic, 0)
    broker.append(b"a", b"b", b"c")
    broker.delete_records(2)
    stream.assign({place: at})
    broken: dict[Place, str] = {}
    seen = 0

    def told() -> bool:
        nonlocal seen
        reading = stream.read(100, 0.1)
        broken.update(reading.broken)
        seen += sum(map(len, reading.batches))
        return place in broken

    wait_until(told, "the broken place")
    assert "out of range" in broken[place]
    assert seen == sum(map(len, stream.read(100, 0.3).batches)) == 0


def test_a_damaged_batch_is_told_and_nothing_of_it_or_behind_it_comes(broker: Any, stream: EventStream) -> None:
    place = (broker.topic, 0)
    for value in (b"before", b"damaged-1", b"damaged-2", b"behind"):
        broker.append(value)  # a batch each
    broker.damage(b"damaged-1")
    broker.damage(b"damaged-2")
    stream.assign({place: 0})
    found: list[tuple[int, bytes | None]] = []
    corrupt: list[str] = []

    def told() -> bool:
        reading = stream.read(1000, 0.1)
        for raw in reading.batches:
            found.extend(zip(raw.offsets.tolist(), raw.values, strict=True))
        corrupt.extend(reading.corrupt.values())
        return len(corrupt) > 1  # told again: it does not go on by itself

    wait_until(told, "the damaged batch")
    assert found == [(0, b"before")]
    assert [stream.intact(place, offset) for offset in range(5)] == [True, False, False, True, True]
    assert stream.peek({place: 1}) == {}
    assert read_until(stream, {place: 3}, {place: 4})[place] == [(3, b"behind")]


def test_peek_finds_the_first_record_at_or_after_an_offset(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", b"b")
    place, empty = (broker.topic, 0), (broker.topic, 1)
    assert stream.peek({place: 1, empty: 0}) == {place: (1, b"b")}


def test_timestamps_come_where_asked_for(broker: Any) -> None:
    broker.create(1)
    broker.append(b"a")
    for timestamps, expected in (((broker.topic,), [NOW_MS]), ((), None)):
        with contextlib.closing(broker.open(timestamps)) as stream:
            stream.assign({(broker.topic, 0): 0})
            stamps = first_record(stream).timestamps
            assert (None if stamps is None else stamps.tolist()) == expected


def first_record(stream: EventStream) -> RawBatch:
    found: list[RawBatch] = []

    def read() -> bool:
        found.extend(stream.read(10, 0.1).batches)
        return bool(found)

    wait_until(read, "a record")
    return found[0]


def grants(stream: EventStream, count: int) -> tuple[Place, ...]:
    """Read until the group gave this stream so many places."""
    last: list[tuple[Place, ...]] = []

    def granted() -> bool:
        reading = stream.read(100, 0.1)
        if reading.granted is not None:
            last.append(reading.granted)
        return bool(last) and len(last[-1]) == count

    wait_until(granted, f"{count} places")
    return last[-1]


def test_a_group_shares_places_and_takes_them_back_before_they_are_given_on(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", b"b")
    revoked: list[bool] = []
    stream.join([broker.topic], revoked.append)
    assert grants(stream, 2) == ((broker.topic, 0), (broker.topic, 1))
    found = read_until(stream, {(broker.topic, 0): 0, (broker.topic, 1): 0}, {(broker.topic, 0): 2})
    assert len(found[broker.topic, 0]) == 2
    with contextlib.closing(broker.open()) as other:
        other.join([broker.topic], lambda _: None)
        shares: list[tuple[Place, ...] | None] = [None, None]

        def shared() -> bool:
            for i, one in enumerate((stream, other)):
                granted = one.read(100, 0.1).granted
                shares[i] = granted if granted is not None else shares[i]
            return [len(s or ()) for s in shares] == [1, 1]

        wait_until(shared, "a share for each")
    assert revoked[0] is False
    assert set(shares[0] or ()) | set(shares[1] or ()) == {(broker.topic, 0), (broker.topic, 1)}


def test_a_new_partition_is_granted(broker: Any, stream: EventStream) -> None:
    stream.join([broker.topic], lambda _: None)
    grants(stream, 2)
    broker.grow(3)
    assert grants(stream, 3)[-1] == (broker.topic, 2)


def test_an_error_in_a_callback_comes_out_of_read_or_close(broker: Any) -> None:
    broker.create(1)
    stream = broker.open()

    def fail(lost: bool) -> None:
        raise ZeroDivisionError

    stream.join([broker.topic], fail)
    grants(stream, 1)
    with pytest.raises(ZeroDivisionError):
        stream.close()


@pytest.mark.parts
def test_streams_that_share_their_questions_are_told_what_is_true_now(kafka_broker: KafkaBroker) -> None:
    kafka_broker.create(1)
    values = {"bootstrap.servers": kafka_broker.kafka.bootstrap, "group.id": kafka_broker.topic}
    settings, topic = KafkaSettings.model_validate(values), kafka_broker.topic
    with closing(Questions(settings)) as questions:
        first, second = (KafkaStream(settings, (), questions) for _ in range(2))
        before = first.shape([topic])
        assert second.spans(before.places())[topic, 0].high == 0
        kafka_broker.append(b"a", b"b")
        client = questions.client()
        first.close()
        assert second.spans(before.places())[topic, 0].high == 2
        kafka_broker.grow(2)
        wait_until(lambda: second.shape([topic]).partitions[topic] == 2, "the new partition")
        assert questions.client() is client  # closing one stream took nothing from the other
        kafka_broker.delete()
        kafka_broker.create(1)
        assert second.shape([topic]).topic_ids[topic] not in (None, before.topic_ids[topic])


@pytest.mark.parts
def test_a_client_that_was_idle_for_long_is_not_used_again(kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_broker.create(1)
    values = {"bootstrap.servers": kafka_broker.kafka.bootstrap, "group.id": kafka_broker.topic}
    settings = KafkaSettings.model_validate(values)
    with closing(Questions(settings)) as questions:
        stream = KafkaStream(settings, (), questions)
        stream.shape([kafka_broker.topic])
        idle = questions.client()
        monkeypatch.setattr("consumer.streams.kafka_questions.IDLE_S", -1.0)
        assert questions.client() is not idle
        assert stream.shape([kafka_broker.topic]).partitions == {kafka_broker.topic: 1}


@pytest.mark.parts
def test_an_unreachable_broker_is_named_within_seconds_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    values = {"bootstrap.servers": "127.0.0.1:9", "group.id": "g", "sasl.password": "hunter2secret"}
    stream = KafkaStream(KafkaSettings.model_validate(values))
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9") as told:
        stream.shape(["t"])
    assert told.value.hint
    assert "hunter2" not in str(told.value)
    assert capfd.readouterr().err == ""


def test_a_batch_that_the_client_may_not_receive_is_an_error_with_a_remedy_and_never_passed_over(
    kafka: Kafka, topic_name: str
) -> None:
    kafka.create_topic(topic_name)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
    for value in (b"small", random.Random(1).randbytes(300_000), b"behind"):
        producer.produce(topic_name, value, partition=0)
        assert producer.flush(30) == 0
    small = {"receive.message.max.bytes": 200_000, "fetch.max.bytes": 100_000, "message.max.bytes": 100_000}
    values = {"bootstrap.servers": kafka.bootstrap, "group.id": topic_name, "max.partition.fetch.bytes": 1000, **small}
    offsets: list[int] = []
    with contextlib.closing(KafkaStream(KafkaSettings.model_validate(values))) as stream:
        stream.assign({(topic_name, 0): 0})

        def read() -> bool:
            for raw in stream.read(100, 0.1).batches:
                offsets.extend(raw.offsets.tolist())
            return False

        with pytest.raises(UnavailableError, match="larger than the client may receive") as told:
            wait_until(read, "the error")
    assert told.value.hint
    assert "receive.message.max.bytes" in told.value.hint
    assert offsets == [0]


def test_a_broker_that_knows_less_than_we_do_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart its leader's epoch may be older than the one we met: Kafka calls that retriable."""
    asked: list[int] = []

    class Answer:
        offset = 5

        def result(self) -> Answer:
            if len(asked) < 6:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_LEADER_EPOCH))
            return self

    def offsets(_self: KafkaStream, places: Any, *_: Any) -> dict[Place, Answer]:
        asked.append(1)
        return dict.fromkeys(places, Answer())

    monkeypatch.setattr(KafkaStream, "_offsets", offsets)
    stream = KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "x:1", "group.id": "g"}))
    assert stream.spans([("t", 0)]) == {("t", 0): Span(start=5, stable=5, high=5)}
    asked.clear()
    monkeypatch.setattr("consumer.streams.kafka.ASK_WITHIN_S", 0.0)
    with pytest.raises(UnavailableError):  # the time is bounded
        stream.spans([("t", 0)])


@pytest.mark.parametrize(
    "values", [{"partition.assignment.strategy": "cooperative-sticky"}, {"group.protocol": "consumer"}, {"bogus": "1"}]
)
def test_a_setting_the_client_cannot_use_is_a_settings_error(values: Any) -> None:
    with pytest.raises(SettingsError):
        KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "x:1", "group.id": "g"} | values)).shape(["t"])
