"""An embedded broker: librdkafka's mock cluster, which lives in this process and speaks Kafka's protocol on loopback.

A stage prop. Topics come into being when first written to, with four partitions of at most 5 MiB; it keeps no files, tells
no topic ids, and is gone when the demo ends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Self

from confluent_kafka import Message, Producer

from schemas.errors import FencepostError

ANSWERS_WITHIN_S = 10.0
SENT_WITHIN_S = 60.0

_quiet = logging.getLogger("demo.broker")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Broker:
    """A cluster of one, and the producer that hosts it."""

    def __enter__(self) -> Self:
        self._producer: Producer | None = Producer(
            {
                "bootstrap.servers": "mock",  # replaced by the mock cluster's own
                "test.mock.num.brokers": 1,
                # The mock cluster hands out one stored batch a request, so few large ones are quick to read; `flush` ends
                # the waiting.
                "linger.ms": 5000,
                "batch.num.messages": 5000,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 500_000,
            },
            logger=_quiet,
        )
        self._refused: list[str] = []
        brokers = self._producer.list_topics(timeout=ANSWERS_WITHIN_S).brokers.values()
        self.servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def __exit__(self, *_: object) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(1)
        self._producer = None

    def send(self, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Append records of (key, value). Raises FencepostError unless all of them arrive."""
        assert self._producer is not None
        for key, value in records:
            self._producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
        left = self._producer.flush(SENT_WITHIN_S)
        if left or self._refused:
            why = self._refused[0] if self._refused else "the broker is silent"
            raise FencepostError(f"the embedded broker did not take all records of {topic!r}: {why}")

    def _delivered(self, error: object, _message: Message) -> None:
        if error is not None:
            self._refused.append(str(error))
