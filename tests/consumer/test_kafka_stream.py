"""What only the real client does: its connections, its limits, its errors and its settings."""

from __future__ import annotations

import contextlib
import random
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from consumer.streams import kafka as kafka_module
from consumer.streams.contract import Place, Span
from consumer.streams.kafka import KafkaStream
from consumer.streams.kafka_questions import Questions
from schemas.errors import SettingsError, UnavailableError
from schemas.events import MAX_KEPT, Decoded
from schemas.settings import KafkaSettings
from tests.consumer.brokers import KafkaBroker
from tests.consumer.formats.making import data_type, decoder, route
from tests.stack.kafka import Kafka
from tests.stack.processes import wait_until


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


class _Answer:
    """What a broker says of one partition; the client's own answer is such an object."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def result(self) -> _Answer:
        return self


def _answering(monkeypatch: pytest.MonkeyPatch, offsets: list[int]) -> KafkaStream:
    """Each question takes the next of these; the last one goes on for ever."""
    stream = KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}))

    def told(places: Any, *_: Any) -> dict[Place, _Answer]:
        return dict.fromkeys(places, _Answer(offsets.pop(0) if len(offsets) > 1 else offsets[0]))

    monkeypatch.setattr(stream, "_offsets", told)
    monkeypatch.setattr("consumer.streams.kafka.RETRY_EVERY_S", 0.0)
    return stream


def test_a_broker_that_tells_no_offset_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was killed does while it comes back: no error, and -1001."""
    stream = _answering(monkeypatch, [0, -1001, 7, 0, 7, -1001, 0, 7])
    assert stream.spans([("items", 0)]) == {("items", 0): Span(start=0, stable=7, high=7)}


def test_no_offset_is_never_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.streams.kafka.ASK_WITHIN_S", 0.0)
    with pytest.raises(UnavailableError, match="told no offset"):
        _answering(monkeypatch, [-1001]).spans([("items", 0)])


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
def test_an_unreachable_broker_is_named_within_seconds_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.streams.kafka.ASK_WITHIN_S", 4.0)
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


@pytest.mark.parametrize(("codec", "size"), [("gzip", 32 << 20), ("lz4", 32 << 20), ("snappy", 17 << 20), ("zstd", 32 << 20)])
def test_a_record_that_inflates_many_times_over_is_set_aside_and_its_neighbours_are_read(
    kafka: Kafka, topic_name: str, codec: str, size: int
) -> None:
    """Failure mode S4. What such a batch takes of memory meanwhile is librdkafka's: see docs/blind-spots.md."""
    kafka.create_topic(topic_name)
    values = {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "message.max.bytes": 2 * size, "linger.ms": 0}
    producer = Producer(values)
    for value in (b'{"id": 1, "event": "created"}', b" " * size, b'{"id": 2, "event": "created"}'):
        producer.produce(topic_name, value, partition=0)
        assert producer.flush(30) == 0
    decoded: list[Decoded] = []
    reader = decoder(route(data_type("json", event={"key": "id", "op": "event", "create": ["created"]})))
    settings = KafkaSettings.model_validate({"bootstrap.servers": kafka.bootstrap, "group.id": topic_name})
    with closing(KafkaStream(settings)) as stream:
        stream.assign({(topic_name, 0): 0})

        def read() -> bool:
            decoded.extend(reader.decode(raw) for raw in stream.read(100, 0.1).batches)
            return sum(len(batch) for one in decoded for batch in one.batches) == 2

        wait_until(read, "both neighbours", within_s=30)
    (bomb,) = (one for each in decoded for one in each.unreadable)
    assert (bomb.offset, bomb.size, len(bomb.value or b"")) == (1, size, MAX_KEPT)
    assert "at most" in bomb.reason


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


def test_a_broker_that_came_back_late_and_knows_less_is_asked_again_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had us wait for its first answer for as long as we would."""
    clock, answers = [0.0], iter([KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, None])

    def spans(_self: KafkaStream, places: Any) -> dict[Place, Span]:
        clock[0] += kafka_module.ASK_WITHIN_S if not clock[0] else 1.0
        if (code := next(answers)) is not None:
            raise KafkaException(KafkaError(code))
        return dict.fromkeys(places, Span(start=0, stable=5, high=5))

    monkeypatch.setattr(KafkaStream, "_spans", spans)
    monkeypatch.setattr("consumer.streams.kafka.time.monotonic", lambda: clock[0])
    stream = KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "x:1", "group.id": "g"}))
    assert stream.spans([("t", 0)])["t", 0].high == 5


def test_a_topic_of_which_no_partition_is_told_is_no_topic_that_was_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a broker answers that has just come back: first it knows no topic, then no leader, then all."""
    unled = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
    answers: list[dict[str, Any]] = [
        {},
        {"t": SimpleNamespace(error=unled, partitions={})},
        {"t": SimpleNamespace(error=None, partitions={0: None, 1: None})},
    ]

    def told(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(topics=answers.pop(0) if len(answers) > 1 else answers[0], cluster_id="mockCluster")

    monkeypatch.setattr(KafkaStream, "_admin", SimpleNamespace(list_topics=told))
    stream = KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "x:1", "group.id": "g"}))
    assert stream.shape(["t"]).partitions == {"t": 2}
    answers[:] = [{"t": SimpleNamespace(error=unled, partitions={})}]
    monkeypatch.setattr(kafka_module, "ASK_WITHIN_S", 0.0)
    with pytest.raises(UnavailableError, match=r"does not tell 't'.*[Ll]eader"):
        stream.shape(["t"])


@pytest.mark.parametrize(
    "values", [{"partition.assignment.strategy": "cooperative-sticky"}, {"group.protocol": "consumer"}, {"bogus": "1"}]
)
def test_a_setting_the_client_cannot_use_is_a_settings_error(values: Any) -> None:
    with pytest.raises(SettingsError):
        KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "x:1", "group.id": "g"} | values)).shape(["t"])
