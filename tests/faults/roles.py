"""A role of the source that may read both tables, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.faults.world import World


@contextmanager
def plain_reader(world: World) -> Iterator[None]:
    """The command reads the source as this role meanwhile."""
    role = f"plain_reader_{world.mark}"
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute(f"GRANT SELECT ON items, parts TO {role}")
    dsn = world.wired("source", world.source).replace("postgres:", f"{role}:")
    world.extra = {**world.extra, "source/dsn": dsn}
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"DROP OWNED BY {role}")
        db.execute(f"DROP ROLE {role}")
