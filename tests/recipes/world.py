"""A small world with a known truth: a source, a registry, a topic of JSON events on real Kafka, and settings for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import yaml
from confluent_kafka import Producer

from consumer.catch_up import catch_up
from consumer.locate import locate
from consumer.streams.contract import StreamFactory
from databases.ledger import Ledger
from reconciler import cutover, gaps, sweep
from reconciler.outcome import Outcome
from reconciler.ports import Silent
from schemas.keys import Key, KeySet, KeyType
from schemas.log_state import Located, LogState
from schemas.settings import Settings, load
from tests.stack.kafka import Kafka

#: NULL is a date too, so a date that was not given needs a word of its own.
AN_HOUR_AGO = "an hour ago"


@dataclass
class World:
    """One data type, `item`; the tables are made by the test or by `tables`."""

    folder: Path
    source: str
    target: str
    kafka: Kafka
    topic: str
    key: str = "bigint"
    type_extra: dict[str, Any] = field(default_factory=dict)
    source_extra: dict[str, Any] = field(default_factory=dict)
    registry_extra: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    ledgers: list[Ledger] = field(default_factory=list)
    streams: StreamFactory | None = None  #: None: real Kafka's
    #: When this world began; never when a long run was collected.
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def earlier(self) -> datetime:
        """When everything happened of which nothing else is said."""
        return self.now - timedelta(hours=1)

    def close(self) -> None:
        """A follower's lines are read from the ledger when they are asked for, which may be after its run."""
        for ledger in self.ledgers:
            ledger.close()

    def tables(self) -> None:
        with psycopg.connect(self.source) as db:
            db.execute(f"CREATE TABLE items (id {self.key} PRIMARY KEY, project_id int, created_at timestamptz)")
        with psycopg.connect(self.target) as db:
            db.execute(
                f"CREATE TABLE item_registry (id bigserial PRIMARY KEY, item_id {self.key} NOT NULL UNIQUE,"
                " state smallint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now())"
            )

    def always_dated(self) -> None:
        with psycopg.connect(self.source) as db:
            db.execute("ALTER TABLE items ALTER created_at SET NOT NULL")

    # -- filling ------------------------------------------------------------------------------------------------------

    def rows(self, keys: Iterable[Any], at: datetime | str | None = AN_HOUR_AGO) -> None:
        at = self.earlier if at == AN_HOUR_AGO else at
        with psycopg.connect(self.source) as db, db.cursor() as cursor:
            cursor.executemany("INSERT INTO items (id, project_id, created_at) VALUES (%s, 1, %s)", [(k, at) for k in keys])

    def registered(self, keys: Iterable[Any], state: int = 2, at: datetime | None = None) -> None:
        with psycopg.connect(self.target) as db, db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO item_registry (item_id, state, created_at) VALUES (%s, %s, %s)",
                [(k, state, at or self.earlier) for k in keys],
            )

    def announce(
        self,
        keys: Iterable[Any],
        op: str = "created",
        at: datetime | None = None,
        partition: int = 0,
    ) -> None:
        text = (at or self.earlier).isoformat()
        self.publish([json.dumps({"id": k, "op": op, "at": text}).encode() for k in keys], partition=partition)

    def publish(self, values: Iterable[bytes | None], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "linger.ms": 5})
        for value in values:
            producer.produce(self.topic, value, partition=partition)
        assert producer.flush(30) == 0

    def fine(self, keys: Iterable[Any], at: datetime | None = None) -> None:
        """Created, announced and registered."""
        keys = list(keys)
        self.rows(keys, at or self.earlier)
        self.announce(keys, at=at)
        self.registered(keys, at=at)

    # -- running ------------------------------------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        base: dict[str, Any] = {
            "source": {"dsn": self.source},
            "registry": {"dsn": self.target},
            "event_log": {"kafka": {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.topic}},
            "fence": {"settle": "0s"},
            "data_types": {
                "item": {
                    "topics": [self.topic],
                    "format": "json",
                    "event": {"key": "id", "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"},
                    "source": {"table": "public.items", "key": "id", "created_at": "created_at", **self.source_extra},
                    "registry": {
                        "table": "public.item_registry",
                        "key": "item_id",
                        "insert": {"state": 0, "created_at": "now"},
                        **self.registry_extra,
                    },
                    **self.type_extra,
                }
            },
        }
        return base | self.extra

    def settings(self) -> Settings:
        path = self.folder / "fencepost.yaml"
        path.write_text(yaml.safe_dump(self.plain()))
        return load(path, {})

    def gaps(self, **options: Any) -> Outcome:
        settings, ledger, handed = self._handed()
        with closing(ledger):
            return gaps.run(settings, ledger, **(handed | options))

    def cutover(self, **options: Any) -> Outcome:
        settings, ledger, handed = self._handed()
        with closing(ledger):
            return cutover.run(settings, ledger, **(handed | options))

    def sweep(self, **options: Any) -> Outcome:
        settings, ledger, handed = self._handed()
        with closing(ledger):
            outcome = sweep.run(settings, ledger, **(handed | options))
        assert outcome is not None
        return outcome

    def _handed(self) -> tuple[Settings, Ledger, dict[str, Any]]:
        settings = self.settings()
        ledger = Ledger.of(settings)
        self.ledgers.append(ledger)

        def follow(key_types: Mapping[str, KeyType], *, deadline_s: float) -> LogState:
            names = tuple(key_types)
            return catch_up(settings, ledger, key_types, names=names, deadline_s=deadline_s, streams=self.streams)

        def find(name: str, key_type: KeyType, keys: KeySet) -> Mapping[Key, Located]:
            return locate(settings, ledger, {name: key_type}, name, keys, streams=self.streams)

        return settings, ledger, {"catch_up": follow, "locate": find, "say": Silent()}

    def in_registry(self) -> set[str]:
        with psycopg.connect(self.target) as db:
            rows = [row[0] for row in db.execute("SELECT item_id::text FROM item_registry")]
        assert len(rows) == len(set(rows))
        return set(rows)


def found(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """Key -> (class, cause), from the lines of the report."""
    return {line["key"]: (line["class"], line["cause"]) for lines in outcome.lines.values() for line in lines()}
