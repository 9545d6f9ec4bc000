"""A new session inserts, between the two compares, a row dated last year: no fence can have waited for it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import GAPS, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="writer between the compares",
    about="a new session inserts a backdated row after the first compare",
    modes=(3, 4),
    right=GAPS,
)


def inject(world: World) -> Iterator[None]:

    def insert() -> None:
        with psycopg.connect(world.source) as db:
            db.execute("INSERT INTO items (id, created_at) VALUES (%s, now() - interval '1 year')", [world.new_id()])

    world.lost()
    world.at(Phase.AGAIN, insert)
    yield
