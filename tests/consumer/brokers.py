"""A log in memory and a topic of a real broker, worked on in the same words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from consumer.streams.kafka import KafkaStream
from consumer.streams.memory import MemoryLog
from schemas.settings import KafkaSettings
from tests.stack.kafka import Kafka

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
