"""Our role may not see other sessions' activity, and the writer's session does not track it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.kinds.writers.steps import INSERT, writer
from tests.faults.roles import plain_reader
from tests.faults.world import World

FAULT = Fault(
    name="role without sight",
    about="our role sees no activity of others, and the writer's session does not track it",
    modes=(2,),
    right=CANNOT_TELL,
    asks=("--wait", "1s"),
)


def inject(world: World) -> Iterator[None]:
    with plain_reader(world), writer(world) as db:
        db.execute("SET track_activities = off")
        db.commit()
        db.execute(INSERT, [world.new_id()])
        yield
        db.commit()
