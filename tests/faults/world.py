"""A small world that lives at random by a seed: rows come and go, ids are used again, events get lost on the way.

Two data types over real PostgreSQL and Kafka, and the command between them on wires that a fault can hold or cut. The
truth is read from the databases themselves, by a plain SELECT of the superuser: no word of ours is in it.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import yaml
from confluent_kafka import Producer
from psycopg import sql

import fencepost
from terminal import harmless
from terminal.errors import Debug
from tests.end_to_end.installation import DOOR, Done
from tests.faults.beside import SECRET, Child, harmless_words
from tests.faults.phases import Phase
from tests.faults.tap import Tap
from tests.stack.faketime import Clock
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres

PARTITIONS = 6


@dataclass(frozen=True)
class Kind:
    """A data type of this world."""

    name: str
    type: str  #: of its key, in SQL, where a world has no other

    @property
    def source(self) -> str:
        return f"{self.name}s"

    @property
    def registry(self) -> str:
        return f"{self.name}_registry"


KINDS = (Kind("item", "bigint"), Kind("part", "uuid"))
ITEM, PART = KINDS
Keys = dict[str, set[str]]


@dataclass
class World:
    """Where a fault happens."""

    folder: Path
    server: Postgres  #: of source and target
    source: str  #: plain DSNs, for the test itself
    target: str
    kafka: Kafka
    rng: random.Random
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:10])
    extra: dict[str, Any] = field(default_factory=dict)  #: settings, by path: {"source/dsn": …}
    variables: dict[str, str] = field(default_factory=dict)  #: of the environment, for runs in a process
    apart: bool = False  #: `run` starts a process of its own: for clocks and time zones that are not ours
    removed: Keys = field(default_factory=dict)  #: registry rows that a fault itself took away
    #: Rows that a fault says no cutover may judge: the operator put them outside of what is asked.
    exempt: Keys = field(default_factory=dict)
    taps: dict[str, Tap] = field(default_factory=dict)
    afterwards: list[Callable[[], None]] = field(default_factory=list)  #: to be done when the run has ended
    baseline: Keys | None = None  #: what was registered before the fault, where it begins before the run that is judged
    text_keys: bool = False  #: parts are named by words instead of uuids
    servers_clock: Clock | None = None
    kills: int = 0
    done: Done | None = None  #: the run in which the fault was at work

    def __post_init__(self) -> None:
        for side in ("source", "registry", "ledger"):
            self.taps[side] = Tap(self.server.port)
        for kind in KINDS:
            self.kafka.create_topic(self.topic(kind), PARTITIONS)
        self._producer: Producer | None = None
        self.next_id = 1
        self.gone: list[int] = []

    def close(self) -> None:
        self._producer = None
        for tap in self.taps.values():
            tap.close()

    # -- making it ----------------------------------------------------------------------------------------------------

    def _key(self, kind: Kind) -> str:
        return "text" if kind is PART and self.text_keys else kind.type

    def tables(self) -> None:
        with psycopg.connect(self.source) as db:
            for kind in KINDS:
                db.execute(
                    f"CREATE TABLE {kind.source} (id {self._key(kind)} PRIMARY KEY, note text,"
                    " created_at timestamptz DEFAULT now())"
                )
        with psycopg.connect(self.target) as db:
            for kind in KINDS:
                db.execute(
                    f"CREATE TABLE {kind.registry} (id bigserial PRIMARY KEY, {kind.name}_id {self._key(kind)} NOT NULL UNIQUE,"
                    " state smallint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now())"
                )

    def topic(self, kind: Kind) -> str:
        return f"{kind.name}-{self.mark}"

    # -- living in it -------------------------------------------------------------------------------------------------

    def live(self, moves: int = 30, *, lossy: bool = True) -> None:
        """Random creations, deletions, re-used ids, rollbacks. Lossy: some events and some applications get lost."""
        with psycopg.connect(self.source) as source, psycopg.connect(self.target) as target:
            if self.next_id == 1:  # nothing at all in a table is another matter: `control` says CANNOT TELL
                for kind, key in ((ITEM, self.new_id()), (PART, self.new_part())):
                    self._create(source, target, kind, key, lossy=False)
            for _ in range(moves):
                self._move(source, target, lossy)
        self.flush()

    def _move(self, source: psycopg.Connection[Any], target: psycopg.Connection[Any], lossy: bool) -> None:
        rng, luck = self.rng, self.rng.random()
        if luck < 0.6:
            self._create(source, target, ITEM, self.new_id(), lossy)
        elif luck < 0.75:
            self._create(source, target, PART, self.new_part(), lossy)
        elif luck < 0.85:
            self._delete(source, target, lossy)
        elif luck < 0.9 and self.gone:
            self._create(source, target, ITEM, self.gone.pop(rng.randrange(len(self.gone))), lossy)
        elif luck < 0.95:
            self.next_id += rng.randrange(1, 5)  # a sequence whose transactions were rolled back
        else:
            self.event(ITEM, self.new_id())  # published before a rollback: announced, and never there

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def new_part(self) -> str:
        key = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        return f"Teil Nº '{key}' %s" if self.text_keys else key

    def _create(
        self, source: psycopg.Connection[Any], target: psycopg.Connection[Any], kind: Kind, key: Any, lossy: bool
    ) -> None:
        at = datetime.now(UTC) - timedelta(seconds=self.rng.uniform(1, 72 * 3600))
        source.execute(f"INSERT INTO {kind.source} (id, created_at) VALUES (%s, %s)", [key, at])
        dropped, lost = (self.rng.random() < share if lossy else False for share in (0.1, 0.05))
        if not dropped:
            self.event(kind, key)
            if self.rng.random() < 0.1:
                self.event(kind, key)  # twice, as any producer may
        if not lost and (not dropped or self.rng.random() < 0.3):
            target.execute(
                f"INSERT INTO {kind.registry} ({kind.name}_id, state, created_at) VALUES (%s, 2, %s) ON CONFLICT DO NOTHING",
                [key, at],
            )

    def _delete(self, source: psycopg.Connection[Any], target: psycopg.Connection[Any], lossy: bool) -> None:
        row = source.execute("SELECT id FROM items ORDER BY md5(id::text || %s) LIMIT 1", [self.rng.random()]).fetchone()
        if row is None:
            return
        source.execute("DELETE FROM items WHERE id = %s", row)
        self.gone.append(row[0])
        if not lossy or self.rng.random() >= 0.1:
            self.event(ITEM, row[0], "deleted")
            target.execute("DELETE FROM item_registry WHERE item_id = %s", row)

    def event(self, kind: Kind, key: Any, op: str = "created", at: datetime | None = None) -> None:
        """Announce it, in the partition that its key has for ever."""
        self.event_in(kind, key, hash_of(key) % PARTITIONS, op, at)

    def event_in(
        self,
        kind: Kind,
        key: Any,
        partition: int,
        op: str = "created",
        at: datetime | None = None,
        stamp: datetime | None = None,
    ) -> None:
        """Stamp: the time that the producer gives the record, beside what its value says."""
        value = {"id": key, "op": op, "at": (at or datetime.now(UTC)).isoformat()}
        self.produce(kind, json.dumps(value).encode(), partition, str(key).encode(), stamp)

    def renew_producer(self) -> None:
        """A producer goes on with what it knows of a topic: one that became another needs another producer."""
        self.flush()
        self._producer = None

    def produce(
        self,
        kind: Kind,
        value: bytes | None,
        partition: int = 0,
        key: bytes | None = None,
        stamp: datetime | None = None,
    ) -> None:
        if self._producer is None:
            self._producer = Producer(
                {"bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0}
            )
        at_ms = round(stamp.timestamp() * 1000) if stamp else 0  # 0: now
        self._producer.produce(self.topic(kind), value, key, partition=partition, timestamp=at_ms)

    def flush(self) -> None:
        if self._producer is not None:
            assert self._producer.flush(60) == 0

    def lost(self, kind: Kind = ITEM, count: int = 1) -> list[Any]:
        """Rows that nobody announced and nobody registered: gaps, for sure."""
        keys = [self.new_id() if kind is ITEM else self.new_part() for _ in range(count)]
        with psycopg.connect(self.source) as db:
            db.cursor().executemany(f"INSERT INTO {kind.source} (id) VALUES (%s)", [(key,) for key in keys])
        return keys

    # -- the truth ----------------------------------------------------------------------------------------------------

    def rows(self) -> Keys:
        with psycopg.connect(self.source, options="-c statement_timeout=0 -c search_path=public") as db:
            return {k.name: {key for (key,) in db.execute(f"SELECT id::text FROM {k.source}")} for k in KINDS}

    def registered(self) -> Keys:
        """Raises AssertionError where a key stands in two rows."""
        found = {}
        with psycopg.connect(self.target) as db:
            for k in KINDS:
                keys = [key for (key,) in db.execute(f"SELECT {k.name}_id::text FROM {k.registry}")]
                assert len(keys) == len(set(keys)), f"{k.registry} holds a key twice"
                found[k.name] = set(keys)
        return found

    @property
    def clock(self) -> Clock:
        """Of the PostgreSQL server, where a fault asked for one that can be set."""
        assert self.servers_clock is not None
        return self.servers_clock

    def told(self) -> Done:
        """The run in which the fault was at work; for what a fault wants said beside the verdict."""
        assert self.done is not None
        return self.done

    # -- acting at a moment -------------------------------------------------------------------------------------------

    def at(self, phase: Phase, action: Callable[[], None], *, nth: int | None = None) -> None:
        """Do it right before that moment of the next run, while the command stands still."""
        side, words, usual = phase.value
        self.taps[side].at(words, action, nth=nth or usual)

    def forget(self) -> list[str]:
        """The moments that never came. Raises what went wrong in an action."""
        return [words for tap in self.taps.values() for words in tap.forget()]

    def cut(self) -> None:
        for tap in self.taps.values():
            tap.cut()

    # -- the command --------------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "source": {"dsn": self.wired("source", self.source)},
            "registry": {"dsn": self.wired("registry", self.target)},
            "ledger": {"dsn": self.wired("ledger", self.target)},
            "event_log": {
                "kafka": {
                    "bootstrap.servers": self.kafka.bootstrap,
                    "group.id": f"fencepost-{self.mark}",
                    "sasl.password": SECRET,
                }
            },
            "fence": {"settle": "0s"},
            "alerts": {"webhook": f"http://127.0.0.1:9/{SECRET}"},
            "data_types": {kind.name: self._data_type(kind) for kind in KINDS},
        }
        for place, value in self.extra.items():
            *parents, last = place.split("/")
            at = values
            for parent in parents:
                at = at.setdefault(parent, {})
            at[last] = value
        return values

    def _data_type(self, kind: Kind) -> dict[str, Any]:
        return {
            "topics": [self.topic(kind)],
            "format": "json",
            "event": {"key": "id", "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"},
            "source": {"table": f"public.{kind.source}", "key": "id", "created_at": "created_at"},
            "registry": {
                "table": f"public.{kind.registry}",
                "key": f"{kind.name}_id",
                "insert": {"state": 0, "created_at": "now"},
            },
        }

    def wired(self, side: str, dsn: str) -> str:
        """The same database, over this side's wire, with a password that nobody may see."""
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        return f"postgresql://{parts['user']}:{SECRET}@127.0.0.1:{self.taps[side].port}/{parts['dbname']}?sslmode=disable"

    def line(self, *words: str) -> list[str]:
        path = self.folder / f"fencepost-{self.mark}.yaml"
        path.write_text(yaml.safe_dump(self.settings(), sort_keys=False))
        return [*words, "--config", str(path), "--json"]

    def run(self, *words: str) -> Done:
        """`fencepost WORDS`, through the front door, in this process: no start to wait for."""
        if self.apart:
            with self.process(*words) as child:
                return child.ended(120)
        line, out, err = self.line(*words), io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = fencepost.run_command(line)
        finally:
            harmless.forget_secrets()
            Debug.on = False
        return harmless_words(Done(" ".join(line), code, out.getvalue(), err.getvalue()))

    @contextmanager
    def process(self, *words: str, before: Sequence[str] = ()) -> Iterator[Child]:
        """The same as a process of its own, to be killed, paused or given other clocks; `before` stands before the command."""
        out, err = (self.folder / f"{self.mark}-{uuid.uuid4().hex[:6]}.{end}" for end in ("out", "err"))
        line = self.line(*words)
        with out.open("w") as stdout, err.open("w") as stderr:
            child = subprocess.Popen(
                [*before, *DOOR, *line],
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env=os.environ | self.variables,
                cwd=self.folder,
            )
        try:
            yield Child(" ".join(line), child, out, err)
        finally:
            child.kill()
            child.wait(30)

    def lease_over(self) -> None:
        """As if the time had passed after which a lease is free whose holder died."""
        with psycopg.connect(self.target) as db:
            if not db.execute("SELECT 1 FROM pg_tables WHERE (schemaname, tablename) = ('fencepost', 'lease')").fetchone():
                return
            db.execute("UPDATE fencepost.lease SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL")

    def recorded_runs(self) -> dict[str, str]:
        """Every run of the ledger, by id: its state."""
        with psycopg.connect(self.target) as db:
            if not db.execute("SELECT 1 FROM pg_tables WHERE (schemaname, tablename) = ('fencepost', 'run')").fetchone():
                return {}
            return dict(db.execute("SELECT id, state FROM fencepost.run").fetchall())

    def ledger_text(self) -> str:
        """Everything that the ledger holds, as text."""
        parts = []
        with psycopg.connect(self.target) as db:
            for (name,) in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'fencepost'").fetchall():
                query = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} t").format(
                    sql.Identifier("fencepost", name)
                )
                parts += [str(text) for (text,) in db.execute(query)]
        return "\n".join(parts)


def hash_of(key: Any) -> int:
    """The same in every run, unlike `hash`."""
    return key if isinstance(key, int) else zlib.crc32(key.encode())
