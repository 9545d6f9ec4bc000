"""The new topic soon holds more records than the old one did: no offset looks wrong."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.world import ITEM, PARTITIONS, World

FAULT = Fault(
    name="topic recreated",
    about="the topic is deleted and created again, with more records than before",
    modes=(34,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    assert world.run("cutover").code == 0
    world.kafka.delete_topic(world.topic(ITEM))
    world.renew_producer()
    world.kafka.create_topic(world.topic(ITEM), PARTITIONS)
    for key in range(1, 400):
        world.event(ITEM, key)  # credit for everything that ever was, and was not announced here
    world.live(20)
    world.lost(count=3)
    yield
    assert world.told().json["claims"]["drop_rate"] == "incomplete", world.told()
