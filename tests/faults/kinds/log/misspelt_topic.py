"""The broker creates whatever topic is asked for: an empty one, on which nothing is ever missing."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import KAFKA, NO_VERDICT, Fault
from tests.faults.world import ITEM, World

FAULT = Fault(
    name="misspelt topic",
    about="a topic is misspelt in the settings, and the broker creates topics by itself",
    modes=(14,),
    right=NO_VERDICT,
    writes=False,
    stops=KAFKA,
)


def inject(world: World) -> Iterator[None]:
    wrong = f"{world.topic(ITEM)}s"
    world.extra = {**world.extra, "data_types/item/topics": [wrong]}
    yield
    assert wrong not in world.kafka.topics()
