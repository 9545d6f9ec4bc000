"""The client that questions go to the broker with: topics, ids, watermarks; and how an answer is read. What is asked stands in
`kafka`."""

from __future__ import annotations

import logging
import time
from threading import Lock
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumer.streams.kafka_errors import complaint
from consumer.streams.kafka_settings import admin_values
from schemas.settings import KafkaSettings

#: A client is used again only so soon; longer than any question may take.
IDLE_S = 60.0

librdkafka = logging.getLogger("fencepost.librdkafka")


class Questions:
    """An admin client, opened when first needed. Streams may share one: to connect is most of what a question costs.

    No answer is kept: every question goes to the broker.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: AdminClient | None = None
        self._used_at = 0.0
        self._lock = Lock()
        self.words = ""  #: what librdkafka last complained about

    def client(self) -> AdminClient:
        with self._lock:  # a service asks from more than one thread
            now = time.monotonic()
            # What lies between may have forgotten a connection that was silent for long, without a word to either end.
            if self._client is None or now - self._used_at > IDLE_S:
                values: dict[str, Any] = admin_values(self._settings)
                self._client = AdminClient(values | {"error_cb": self._complained}, logger=librdkafka)
                self.words = ""
            self._used_at, client = now, self._client
        client.poll(0)  # serves its log and error queues
        return client

    def close(self) -> None:
        """Let go of the client; the next question opens another."""
        with self._lock:
            self._client = None

    def _complained(self, error: Any) -> None:
        self.words = complaint(error, self.words)


def told(answer: Any) -> int:
    """An offset. A broker that has just come back may answer with none and without an error; taken for an offset (-1001), that
    would be a log that was cut back to before its begin: a hole, everything read again, and all counted as drained.

    Raises KafkaException, of a code in NOT_YET.
    """
    offset: int = answer.result().offset
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE, f"the broker told no offset ({offset})"))
    return offset


_specs: Any = OffsetSpec
EARLIEST, LATEST = _specs.earliest(), _specs.latest()
