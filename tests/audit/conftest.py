"""An audit in hand: a world, looked at when the test says so, its totals and what it found."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumer.catch_up import catch_up
from consumer.locate import locate
from databases.ledger import Ledger
from reconciler.audit import Audit
from reconciler.auditing.exposition import Exposition
from reconciler.catalog import key_kinds, remember_kinds
from schemas.errors import UnavailableError
from schemas.keys import Key, KeySet, KeyType
from schemas.log_state import Located, LogState
from tests.recipes.world import World
from tests.stack.kafka import Kafka
from tests.stack.scrapes import Samples


@dataclass
class Watch:
    """A world and its audit, without a tracker: each look reads the log itself."""

    world: World
    audit: Audit
    ledger: Ledger
    log: dict[str, Any] = field(default_factory=dict)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.audit.turn("item")

    def totals(self) -> dict[str, int]:
        """What was counted: rows, each class, late ones; zeros are left out."""
        with psycopg.connect(self.world.target) as db:
            rows = db.execute("SELECT name, kind, value FROM fencepost.total WHERE subject = 'item'").fetchall()
        short = {"fencepost_rows_audited_total": "rows", "fencepost_late_total": "late"}
        wanted = (*short, "fencepost_drops_total")
        return {str(short.get(name, kind)): value for name, kind, value in rows if name in wanted}

    def exposed(self) -> Samples:
        found: Samples = {}
        for family in Exposition(self.audit.settings, self.ledger, self.audit.local).collect():
            for sample in family.samples:
                found[sample.name, tuple(sample.labels.values())] = sample.value
        return found

    def low_mark(self) -> bytes | None:
        """From where on the next look reads, as the ledger has it."""
        with psycopg.connect(self.world.target) as db:
            row = db.execute("SELECT low FROM fencepost.audit WHERE data_type = 'item'").fetchone()
        assert row
        return None if row[0] is None else bytes(row[0])

    def whole_is_due(self) -> None:
        """As if the last whole look were long ago."""
        with psycopg.connect(self.world.target) as db:
            db.execute("UPDATE fencepost.audit SET whole_at = whole_at - interval '30 days'")

    def lost(self) -> None:
        """The process dies: nothing is given back but the lease, which would run out."""
        for held in self.audit._held.values():
            held.__exit__(None, None, None)
        self.audit = audit_of(self.world, self.ledger, self.log)


def later(seconds: float = 1) -> datetime:
    """Told of as if it came later than everything seen so far."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def speak(watch: Watch, key: int) -> None:
    """The log goes on: a row that is fine, told now."""
    watch.world.fine([key], at=later())


def audit_of(world: World, ledger: Ledger, log: Mapping[str, Any]) -> Audit:
    settings = world.settings()

    def follow(key_types: Mapping[str, KeyType], *, deadline_s: float) -> LogState:
        if log.get("away"):
            raise UnavailableError("the broker is away")
        streams = world.streams
        return catch_up(settings, ledger, key_types, names=tuple(key_types), deadline_s=deadline_s, streams=streams)

    def track(stop: threading.Event) -> None:
        stop.wait()

    def find(name: str, key_type: KeyType, keys: KeySet) -> Mapping[Key, Located]:
        return locate(settings, ledger, {name: key_type}, name, keys, streams=world.streams)

    return Audit(settings=settings, ledger=ledger, catch_up=follow, locate=find, track=track)


@pytest.fixture
def watch(databases: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path) -> Iterator[Watch]:
    """A hundred fine rows, seen at a first look; `settle` is nothing, so two looks judge. No whole look comes due."""
    with closing(_world(databases, kafka, topic_name, tmp_path, "bigint")) as world:
        world.fine(range(1, 101))
        with made_watch(world) as made:
            yield made


@pytest.fixture
def scattered(databases: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path) -> Iterator[Watch]:
    """The same, with a few rows whose keys are random uuids, and an index on their dates."""
    with closing(_world(databases, kafka, topic_name, tmp_path, "uuid")) as world:
        with psycopg.connect(world.source) as db:
            db.execute("CREATE INDEX ON items (created_at)")
        world.fine([str(uuid.uuid4()) for _ in range(10)])
        with made_watch(world) as made:
            yield made


def _world(databases: tuple[str, str], kafka: Kafka, topic: str, folder: Path, key: str) -> World:
    kafka.create_topic(topic, 1)
    world = World(folder=folder, source=databases[0], target=databases[1], kafka=kafka, topic=topic, key=key)
    world.extra = {"fence": {"settle": "0s", "skew": "0s"}, "audit": {"every": "1h", "listen": "127.0.0.1:0"}}
    world.tables()
    return world


@contextmanager
def made_watch(world: World) -> Iterator[Watch]:
    """The world's audit, after its first look."""
    ledger = Ledger.of(world.settings())
    world.ledgers.append(ledger)
    ledger.upgrade()
    with ledger.begin("remember the kinds of keys") as connection:
        remember_kinds(connection, key_kinds(world.settings(), ()))
    log: dict[str, Any] = {}
    made = Watch(world, audit_of(world, ledger, log), ledger, log)
    made.look()
    yield made
    for held in made.audit._held.values():
        held.__exit__(None, None, None)
