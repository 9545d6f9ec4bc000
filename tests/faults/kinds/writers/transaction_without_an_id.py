"""A transaction that has fixed its `now()` and written nothing yet: it has no transaction id."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.writers.steps import writer
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="transaction without an id",
    about="a transaction has begun, fixed its time, and writes only once the fence waits",
    modes=(2,),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    with writer(world) as db:
        db.execute("SELECT now()")

        def write_then_commit() -> None:
            db.execute("INSERT INTO items (id) VALUES (%s)", [world.new_id()])
            db.commit()

        world.at(Phase.WAITING, write_then_commit)
        yield
