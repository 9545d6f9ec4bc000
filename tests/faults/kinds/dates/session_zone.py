"""A column without a zone, a database whose sessions are elsewhere: the same row must stay in the same window."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.dates.steps import dated, older
from tests.faults.world import World

FAULTS = [
    Fault(
        name=f"session zone {zone}",
        about=f"times without a zone are read in sessions of {zone}, with `--since 72h`",
        modes=(6,),
        right=CLEAR,
        given=(zone,),
        asks=("--since", "72h"),
        mended=None,
        own=True,
    )
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles")
]
BERLIN = "(now() AT TIME ZONE 'Europe/Berlin')"


def inject(world: World, zone: str) -> Iterator[None]:
    name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute("ALTER TABLE items ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'Europe/Berlin'")
        db.execute(f"ALTER DATABASE {name} SET timezone = '{zone}'")
    within = dated(world, f"{BERLIN} - interval '70 hours'")
    beyond = dated(world, f"{BERLIN} - interval '74 hours'")
    world.exempt["item"] = older(world, "items", f"{BERLIN} - interval '72 hours'")
    world.exempt["part"] = older(world, "parts", "now() - interval '72 hours'")
    world.extra = {**world.extra, "data_types/item/source/zone": "Europe/Berlin"}
    yield
    assert within in world.registered()["item"], world.told()
    assert beyond not in world.registered()["item"], world.told()
