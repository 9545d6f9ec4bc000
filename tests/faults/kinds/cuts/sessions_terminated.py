"""pg_terminate_backend on all our sessions of the source, while its snapshot is read."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import WITHHELD, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="sessions terminated",
    about="an administrator ends our sessions in the middle of the compare",
    modes=(15,),
    right=WITHHELD,
)


def inject(world: World) -> Iterator[None]:

    def end() -> None:
        with psycopg.connect(world.source, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    world.lost()
    world.at(Phase.COMPARE, end)
    yield
