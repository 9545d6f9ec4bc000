"""Timeouts that the source's defaults set for our sessions."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.phases import Phase
from tests.faults.world import World
from tests.stack.processes import wait_until


def struck(world: World, setting: str) -> Iterator[None]:
    """It ends our transaction while it waits for the other side."""
    name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET {setting} = '2s'")  # not so short that it strikes a busy machine earlier

    def until_it_struck() -> None:
        wait_until(lambda: in_transaction(world) == 0, f"{setting} has struck")

    world.lost()
    world.at(Phase.COMPARE, until_it_struck)
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} RESET {setting}")


def in_transaction(world: World) -> int:
    with psycopg.connect(world.source) as db:
        row = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fencepost'"
            " AND backend_xmin IS NOT NULL"
        ).fetchone()
    return int(row[0]) if row else 0
