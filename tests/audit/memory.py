"""A world whose events are told in memory, so that looks cost little, and what an audit's ledger holds, key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg

from consumer.streams.memory import MemoryLog
from schemas.keys import IntKey
from tests.audit.conftest import Watch, made_watch
from tests.recipes.world import World
from tests.stack.kafka import Kafka

KEY = IntKey()


@dataclass
class MemoryWorld(World):
    """Its topic is in memory; all else is real."""

    told: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        self.streams = self.told.stream
        self.told.create(self.topic)

    def publish(self, values: Iterable[bytes | None], partition: int = 0) -> None:
        for value in values:
            self.told.append(self.topic, value, partition)


@contextmanager
def watched(databases: tuple[str, str], folder: Path, **extra: Any) -> Iterator[Watch]:
    """A hundred fine rows, seen at a first look; `settle` is nothing, so two looks judge."""
    nowhere = cast(Kafka, SimpleNamespace(bootstrap="memory:1"))
    world = MemoryWorld(folder=folder, source=databases[0], target=databases[1], kafka=nowhere, topic="items")
    with closing(world):
        world.extra = {"fence": {"settle": "0s", "skew": "0s"}, "audit": {"every": "1h", "listen": "127.0.0.1:0"}} | extra
        world.tables()
        world.fine(range(1, 101))
        with made_watch(world) as made:
            yield made


def asked(watch: Watch, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(watch.world.target, options="-c search_path=fencepost") as db:
        return db.execute(query.encode()).fetchall()


def found(watch: Watch) -> Counter[tuple[str, int]]:
    """How often each key was found in each class, by the runs that were kept."""
    rows = asked(watch, "SELECT g.class, g.keys FROM gap g JOIN run r ON r.id = g.run WHERE r.kind = 'audit'")
    return Counter((class_, int(key)) for class_, keys in rows for key in KEY.parse(bytes(keys)))


def waiting(watch: Watch) -> dict[str, set[int]]:
    out: dict[str, set[int]] = {}
    for class_, keys in asked(watch, "SELECT class, keys FROM audit_waiting"):
        of = out.setdefault(class_, set())
        more = {int(key) for key in KEY.parse(bytes(keys))}
        assert of.isdisjoint(more), "a key waits twice for the same thing"
        of |= more
    return out


def seen(watch: Watch) -> set[int]:
    """Every key that a look has seen; each is kept once."""
    out: set[int] = set()
    for (keys,) in asked(watch, "SELECT keys FROM audit_seen"):
        more = {int(key) for key in KEY.parse(bytes(keys))}
        assert out.isdisjoint(more), "a key was seen as new by two looks"
        out |= more
    return out


def passed_unseen(watch: Watch) -> set[int]:
    """Source rows below the mark that no look has seen."""
    low = watch.low_mark()
    if low is None:
        return set()
    with psycopg.connect(watch.world.source) as db:
        there = {key for (key,) in db.execute("SELECT id FROM items")}
    return {key for key in there if key < KEY.from_bound(low)} - seen(watch)
