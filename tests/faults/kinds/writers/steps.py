"""A writer that is still at work: its rows are dated before the fence and become visible after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.faults.world import World

INSERT = "INSERT INTO items (id, created_at) VALUES (%s, now() - interval '1 hour')"


@contextmanager
def writer(world: World) -> Iterator[psycopg.Connection[Any]]:
    """A session whose transaction stays open until it is told, or the fault ends."""
    db = psycopg.connect(world.source, application_name="a-late-writer")
    try:
        yield db
    finally:
        db.close()
