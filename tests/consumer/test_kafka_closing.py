"""Nobody waits for ever for a consumer that cannot close."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from consumer.streams import kafka
from consumer.streams.kafka import KafkaStream
from consumer.streams.kafka_closing import close
from schemas.settings import KafkaSettings


class Closing:
    """Closes once it may; `error`: what it raises then."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may, self.closed, self.error = threading.Event(), threading.Event(), error

    def close(self) -> None:
        self.may.wait(60)
        self.closed.set()
        if self.error is not None:
            raise self.error


@pytest.fixture
def stuck() -> Iterator[Closing]:
    made = Closing()
    yield made
    made.may.set()
    assert made.closed.wait(60)


def test_a_consumer_that_hangs_is_left_behind_and_told(stuck: Closing, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        close(stuck, 0.05)
    assert not stuck.closed.is_set()
    assert "it is left behind" in caplog.text


def test_a_stream_ends_beside_a_consumer_that_hangs(stuck: Closing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "CLOSES_WITHIN_S", 0.05)
    stream = KafkaStream(KafkaSettings.model_validate({"bootstrap.servers": "127.0.0.1:1", "group.id": "none"}))
    monkeypatch.setattr(stream, "_consumer_client", stuck)
    stream.close()
    stream.commit({("jobs", 0): 5})  # by a callback that comes late: no second consumer is made for it
    assert stream._consumer_client is None


def test_what_closing_raises_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    made = Closing(RuntimeError("Consumer already closed"))
    made.may.set()
    with pytest.raises(RuntimeError, match="already closed"):
        close(made, 60)
    assert not caplog.text
