"""Ledgers and logs for the tracker's tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from consumer.streams.contract import EventStream
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas.settings import Dsn
from tests.consumer.brokers import KafkaBroker, MemoryBroker
from tests.stack.kafka import Kafka


@pytest.fixture
def database(ledger_database: str) -> str:
    """Here the fresh database holds an empty ledger."""
    return ledger_database


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    """An empty ledger in a database of its own."""
    made = Ledger(Dsn(database), "fencepost")
    yield made
    made.close()


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog()
    made.create("jobs", 3)
    return made


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
