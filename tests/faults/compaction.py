"""A topic that keeps the newest record of each key, as Kafka's compaction leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.world import ITEM, PARTITIONS, World
from tests.stack.processes import wait_until

COMPACTION = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
}


@contextmanager
def compacted(world: World) -> Iterator[None]:
    """Older records of a key are gone from the topic, so that its offsets have gaps, and the newest of each is there."""
    topic = world.topic(ITEM)
    world.kafka.configure(topic, COMPACTION)
    try:
        # The segment that is written to is never compacted: it must be another's turn in every partition.
        filler = world.new_id()
        wait_until(lambda: rolled(world, filler), "the log is compacted", within_s=60)
        yield
    finally:
        world.kafka.configure(topic, dict.fromkeys(COMPACTION))


def rolled(world: World, filler: int) -> bool:
    """A key that never was, in every partition, so that each begins a new segment."""
    for partition in range(PARTITIONS):
        world.event_in(ITEM, filler, partition)
    world.flush()
    return world.kafka.compacted(world.topic(ITEM)) == PARTITIONS
