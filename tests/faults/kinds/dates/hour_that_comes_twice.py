"""01:30 and 02:30 of the night in which summer time ended, in a column without a zone: either hour may be meant."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.dates.steps import dated, older
from tests.faults.world import World

FAULT = Fault(
    name="hour that comes twice",
    about="rows dated in the hour in which summer time ended, in a column without a zone",
    modes=(6,),
    right=CLEAR,
    asks=("--since", "2024-10-27T01:30:00Z"),
    mended=None,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute("ALTER TABLE items ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'Europe/Berlin'")
    for text in ("2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 02:59:59.999999", "2024-10-27 03:00"):
        dated(world, f"'{text}'")
    world.extra = {**world.extra, "data_types/item/source/zone": "Europe/Berlin"}
    # The second 02:30 was at 01:30 UTC. Rows of the first one may be looked at or not; of the second one, they must.
    world.exempt = {"item": older(world, "items", "'2024-10-27 02:30'::timestamp"), "part": older(world, "parts", "now()")}
    yield
