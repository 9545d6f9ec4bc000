"""Neither its WAL nor its transaction ids stand behind what was recorded; its rows do."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CANNOT_TELL, POSTGRES, Fault
from tests.faults.kinds.servers.steps import at, restored
from tests.faults.world import World

FAULT = Fault(
    name="clone restored, and used since",
    about="the same, and the copy's WAL and transaction ids have overtaken what was recorded",
    modes=(11,),
    right=CANNOT_TELL,
    writes=False,
    stops=POSTGRES,
)


def inject(world: World) -> Iterator[None]:
    with restored(world) as copy:
        overtake(world.source, at(world, world.source, copy))
        yield


def overtake(original: str, copy: str) -> None:
    """Work on the copy until neither WAL nor transaction ids stand behind the original's."""
    place = "SELECT pg_current_wal_lsn() - '0/0', pg_current_xact_id()::text::bigint"
    with psycopg.connect(original, autocommit=True) as db, psycopg.connect(copy, autocommit=True) as other:
        lsn, xid = db.execute(place).fetchone() or (0, 0)
        while (other.execute(place).fetchone() or (0, 0))[1] <= xid:
            pass  # to ask is to use one
        while (other.execute(place).fetchone() or (0, 0))[0] <= lsn:
            other.execute("SELECT pg_switch_wal()")
