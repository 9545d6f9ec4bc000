"""Rows of last year come in as a partition, while the log is read: no event, no new row, no INSERT."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.tables.steps import partitioned
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="partition attached",
    about="a partition with old rows is attached while the log is read",
    modes=(29,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    partitioned(world)
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items_old (LIKE items)")
        db.execute(
            "INSERT INTO items_old (id, created_at) SELECT n, now() - interval '1 year' FROM generate_series(90001, 90020) n"
        )

    def attach() -> None:
        with psycopg.connect(world.source) as db:
            db.execute("ALTER TABLE items ATTACH PARTITION items_old FOR VALUES FROM (90000) TO (100000)")

    world.live(5)
    world.at(Phase.LOG, attach)
    yield
    assert {str(key) for key in range(90001, 90021)} <= world.registered()["item"]
