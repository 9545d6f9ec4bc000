"""An insert beside an applier could register a row twice: nothing is inserted."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import GAPS, Fault
from tests.faults.world import World

FAULT = Fault(
    name="no unique index",
    about="nothing forbids two registry rows of one key",
    modes=(62,),
    right=GAPS,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    world.lost(count=3)
    with psycopg.connect(world.target) as db:
        db.execute("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
    yield
    with psycopg.connect(world.target) as db:
        db.execute("ALTER TABLE item_registry ADD CONSTRAINT item_registry_item_id_key UNIQUE (item_id)")
