"""No fault at all: losses are found and mended, and harmless noise is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.world import ITEM, World


def losses(world: World) -> Iterator[None]:
    world.lost(count=5)
    yield


def noise(world: World) -> Iterator[None]:
    """Everything a healthy system does that looks like damage."""
    assert world.run("cutover").code == 0  # what the world lost so far is mended, so that nothing is to be written now
    with psycopg.connect(world.source) as db:
        for _ in range(5):
            key = world.new_id()
            db.execute("INSERT INTO items (id) VALUES (%s)", [key])
            db.rollback()
            world.event(ITEM, key)  # published before the rollback
    world.live(20, lossy=False)
    for text in world.rng.sample(sorted(world.rows()["item"]), 5):
        world.event(ITEM, int(text))  # late duplicates
        world.produce(ITEM, None, int(text) % 3, text.encode())  # tombstones
    world.flush()
    yield


FAULTS = {
    "nothing but losses": Fault(
        about="events and applications are lost, nothing else happens", modes=(17, 28, 30), inject=losses, right=CLEAR
    ),
    "harmless noise": Fault(
        about="duplicates, tombstones, sequences rolled back, events published before a rollback",
        modes=(16,),
        inject=noise,
        right=CLEAR,
        writes=False,
    ),
}
