"""Producers that write in transactions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Producer

from tests.faults.world import ITEM, PARTITIONS, World


@contextmanager
def transaction(world: World) -> Iterator[Producer]:
    """A producer whose transaction has begun; to commit or to abort it is left to the caller."""
    producer = Producer(
        {
            "bootstrap.servers": world.kafka.bootstrap,
            "transactional.id": f"t-{uuid.uuid4().hex[:8]}",
            "log_level": 0,
            "linger.ms": 0,
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer


def announce(world: World, producer: Producer, keys: Sequence[int]) -> None:
    for key in keys:
        value = json.dumps({"id": key, "op": "created", "at": "2026-01-01T00:00:00Z"}).encode()
        producer.produce(world.topic(ITEM), value, str(key).encode(), partition=key % PARTITIONS)
    assert producer.flush(30) == 0
