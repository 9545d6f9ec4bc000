"""A consumer group that was idle for a week has no offsets any more, and one that was reset has others: where to go on stands
in the ledger alone."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.log.steps import announced
from tests.faults.world import ITEM, PARTITIONS, World

FAULT = Fault(
    name="group offsets expired",
    about="the group's offsets are deleted, then set to the log's end by somebody, while records wait to be read",
    modes=(31, 43),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    group, admin = world.settings()["event_log"]["kafka"]["group.id"], world.kafka.admin
    assert world.run("track", "--until-end").code == 0
    assert world.run("cutover").code == 0
    keys = world.lost(count=PARTITIONS)
    for partition, key in enumerate(keys[:-2]):
        world.event_in(ITEM, key, partition)
    world.flush()
    admin.delete_consumer_groups([group])[group].result(30)
    assert world.run("track", "--until-end").code == 0
    for partition, key in enumerate(keys[-2:]):
        world.event_in(ITEM, key, partition)
    world.flush()
    ends = [TopicPartition(world.topic(ITEM), partition, 1 << 20) for partition in range(PARTITIONS)]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, ends)])[group].result(30)
    assert world.run("track", "--until-end").code == 0
    yield
    announced(world, keys)
    told = world.told()
    assert told.json["claims"]["drop_rate"] == "complete", told
