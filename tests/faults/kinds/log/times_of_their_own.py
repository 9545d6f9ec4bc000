"""Retention goes by the time that a producer wrote into a record: an importer's old dates delete it within seconds, in a
topic that keeps everything else for days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.log.steps import kept
from tests.faults.world import ITEM, PARTITIONS, World
from tests.stack.processes import wait_until

FAULT = Fault(
    name="times of their own",
    about="records whose producer dated them a month ago are deleted by a retention of a day before they were read",
    modes=(32, 33),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    topic = world.topic(ITEM)
    assert world.run("cutover").code == 0
    # A segment is as old as its newest record: what was read is let go, so that the importer's records have one of their own.
    world.kafka.configure(topic, {"retention.ms": "1"})
    wait_until(lambda: kept(world) == 0, "what was read is gone")
    world.kafka.configure(topic, {"retention.ms": str(24 * 3600 * 1000)})
    for partition, key in enumerate(world.lost(count=PARTITIONS)):
        world.event_in(ITEM, key, partition, stamp=datetime.now(UTC) - timedelta(days=30))
    world.flush()
    wait_until(lambda: kept(world) == 0, "retention has deleted what is dated a month ago")
    world.live(10, lossy=False)
    yield
    told = world.told()
    assert told.json["claims"]["drop_rate"] == "incomplete", told
    causes = told.of("item")["gaps"]["by_cause"]  # some of the rows may have been deleted since
    assert set(causes) == {"unread"}, f"nobody can say what stood there: {causes}"
