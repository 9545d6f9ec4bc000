"""Ledgers and logs for the tracker's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas.settings import Dsn


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    """An empty ledger in a database of its own."""
    made = Ledger(Dsn(database), "fencepost")
    made.upgrade()
    yield made
    made.close()


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog()
    made.create("jobs", 3)
    return made
