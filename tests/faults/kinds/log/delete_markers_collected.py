"""Deleted at the source, never applied; and compaction took the word of it before anybody read it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.compaction import compacted
from tests.faults.contract import GAPS, Fault
from tests.faults.world import ITEM, PARTITIONS, World

FAULT = Fault(
    name="delete markers collected",
    about="a compacted topic no longer says what was deleted; with `--deletes`",
    modes=(44,),
    right=GAPS,
    asks=("--deletes",),
    own=True,
)


def inject(world: World) -> Iterator[None]:
    keys = world.lost(count=2)
    with psycopg.connect(world.source) as db, psycopg.connect(world.target) as target:
        for key in keys:
            target.execute("INSERT INTO item_registry (item_id, state) VALUES (%s, 2)", [key])
            db.execute("DELETE FROM items WHERE id = %s", [key])
            world.event(ITEM, key, "deleted")
            world.produce(ITEM, None, key % PARTITIONS, str(key).encode())
    with compacted(world):
        yield
    orphans = world.told().of("item")["orphans"]["keys"]
    assert {str(key) for key in keys} <= set(orphans), orphans
