"""An installation over fresh databases and a topic of JSON events, with a hundred fine rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.installation import Installation, fine_items, item, item_tables, settings
from tests.stack.kafka import Kafka


@dataclass(frozen=True)
class Items:
    """The parts of the usual small world."""

    here: Installation
    source: str
    target: str
    kafka: Kafka
    topic: str


@pytest.fixture
def items(databases: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path) -> Items:
    source, target = databases
    kafka.create_topic(topic_name)
    item_tables(source, target)
    fine_items(source, target, kafka, topic_name, range(1, 101))
    here = Installation(tmp_path, settings(source, target, kafka, {"item": item(topic_name)}))
    return Items(here, source, target, kafka, topic_name)
