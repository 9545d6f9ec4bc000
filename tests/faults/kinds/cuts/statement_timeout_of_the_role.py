"""A default that ends statements after a moment; where it strikes is left to chance."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, WITHHELD, Fault
from tests.faults.world import World

FAULT = Fault(
    name="statement timeout of the role",
    about="the database's default ends statements after two milliseconds",
    modes=(15,),
    right=CLEAR | WITHHELD,
)


def inject(world: World) -> Iterator[None]:
    name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET statement_timeout = '2ms'")
    world.extra = {**world.extra, "source/statement_timeout": "1m"}
    yield
    with psycopg.connect(world.source, autocommit=True, options="-c statement_timeout=0") as db:
        db.execute(f"ALTER DATABASE {name} RESET statement_timeout")
