"""A fresh world for each test, on the shared Kafka and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.recipes.world import World
from tests.stack.kafka import Kafka


@pytest.fixture
def world(databases_with_ledger: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path) -> Iterator[World]:
    """One topic of two partitions, and an empty ledger in the target; no tables yet."""
    source, target = databases_with_ledger
    kafka.create_topic(topic_name, 2)
    with closing(World(folder=tmp_path, source=source, target=target, kafka=kafka, topic=topic_name)) as made:
        yield made


@pytest.fixture
def items(world: World) -> World:
    """With the usual tables and a hundred fine rows."""
    world.tables()
    world.fine(range(1, 101))
    return world
