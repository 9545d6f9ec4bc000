"""What was only announced in an aborted transaction was never announced."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.transactions import announce, transaction
from tests.faults.world import World

FAULT = Fault(
    name="aborted producer transaction",
    about="creations are announced in a transaction that is aborted",
    modes=(20,),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    with transaction(world) as producer:
        keys = world.lost(count=5)
        announce(world, producer, keys)
        producer.abort_transaction(30)
    world.live(5, lossy=False)
    yield
    classes = world.told().of("item")["gaps"]["by_class"]
    assert classes.get("unapplied_create", 0) <= world.told().of("item")["gaps"]["count"] - len(keys), classes
