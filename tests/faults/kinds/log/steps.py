"""What breaks in the event log. The rows decide: none of it may keep a cutover from CLEAR, and what the log can no longer
prove (deletes, the drop rate) must be withheld."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewPartitions

from tests.faults.transactions import announce, transaction
from tests.faults.world import ITEM, PARTITIONS, World


def pinned(world: World) -> Iterator[None]:
    """Committed records of others stand behind the open transaction, and cannot be seen."""
    with transaction(world) as producer:
        announce(world, producer, world.lost(count=3))
        world.live(10, lossy=False)
        yield
        done = world.told()
        assert done.json["claims"]["drop_rate"] == "incomplete", done
        assert "held at stable offset" in " ".join(p["seen"] for p in done.json["proofs"]), done
        producer.commit_transaction(30)


def overtaken(world: World) -> Iterator[None]:
    """The log is read once; then more is announced, and deleted by retention before anybody reads it."""
    assert world.run("cutover").code == 0
    world.live(20, lossy=False)
    world.lost(count=3)
    ends = dict.fromkeys(range(PARTITIONS), -1)
    world.kafka.delete_records(world.topic(ITEM), ends)
    world.live(10, lossy=False)
    yield
    assert world.told().json["claims"]["drop_rate"] == "incomplete", world.told()


def doubled(world: World) -> list[int]:
    """Six partitions become twelve: keys move. Rows that are announced in the new partitions only."""
    world.kafka.admin.create_partitions([NewPartitions(world.topic(ITEM), 2 * PARTITIONS)])[world.topic(ITEM)].result(30)
    world.renew_producer()
    keys: list[int] = world.lost(count=6)
    for key in keys:
        world.event_in(ITEM, key, PARTITIONS + key % PARTITIONS)
    world.flush()
    return keys


def announced(world: World, keys: list[int]) -> None:
    """In partitions nobody knew a moment ago: nobody may call them dropped."""
    told = world.told().of("item")
    assert told["gaps"]["by_class"].get("unapplied_create", 0) >= len(keys), told


def kept(world: World) -> int:
    """How many offsets of the topic the broker still has something at, or will have."""
    client = Consumer({"bootstrap.servers": world.kafka.bootstrap, "group.id": "nobody", "log_level": 0})
    try:
        ends = [client.get_watermark_offsets(TopicPartition(world.topic(ITEM), p), 30) for p in range(PARTITIONS)]
    finally:
        client.close()
    return sum(high - low for low, high in ends)
