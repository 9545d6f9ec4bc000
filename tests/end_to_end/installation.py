"""fencepost as an operator has it: a folder with a settings file, two databases, and the command, run as a process.

Every run is held to what no run may ever do: print a traceback or a secret, or put words where data belongs.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import yaml
from confluent_kafka import Consumer, Producer
from psycopg import sql

from tests.end_to_end import forked
from tests.stack.kafka import Kafka
from tests.stack.postgres import Server
from tests.stack.processes import wait_until

DOOR = forked.DOOR
#: Stands in every password of the settings; trust authentication does not ask for it.
CANARY = "c4nary-w0rd"


@dataclass(frozen=True)
class Done:
    """One finished command."""

    line: str
    code: int
    out: str
    err: str
    took_s: float = 0.0
    waited_s: float = 0.0  #: beyond what this machine takes for a run that nothing holds up

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def of(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(t for t in self.json["data_types"] if t["name"] == name)
        return found

    def proof(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(p for p in self.json["proofs"] if p["name"] == name)
        return found

    def __str__(self) -> str:
        return f"$ {self.line}\nexit {self.code} after {self.took_s:.1f} s\n{self.out[-3000:]}\n{self.err[-3000:]}"


@dataclass
class Installation:
    """One settings file (`settings`, written anew for each run) and the folder it lies in."""

    folder: Path
    settings: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)
    healthy_s: float = 0.0  #: how long a run takes here that nothing holds up

    def with_(self, *changes: tuple[str, Any]) -> Installation:
        """Another one whose settings differ: `("source.dsn", "…")`; a value of None takes the setting away."""
        settings = copy.deepcopy(self.settings)
        for place, value in changes:
            *parents, last = place.split("/")
            at = settings
            for parent in parents:
                at = at.setdefault(parent, {})
            if value is None:
                at.pop(last, None)
            else:
                at[last] = value
        folder = self.folder / uuid.uuid4().hex[:8]
        folder.mkdir()
        return Installation(folder, settings, dict(self.variables), self.healthy_s)

    # -- running ------------------------------------------------------------------------------------------------------

    def run(self, *args: str, json: bool = True, within_s: float = 150.0, cold: bool = False) -> Done:
        """`fencepost ARGS --config … --json`. Cold: by an interpreter that has imported nothing (see `forked`)."""
        line = [*args, *self._usual(json=json)]
        began = time.monotonic()
        run = forked.from_nothing if cold else forked.run
        done = run(line, folder=self.folder, environment=os.environ | self.variables, within_s=within_s)
        took = time.monotonic() - began
        # A busy machine takes now more, now less: twice is spared.
        waited = max(0.0, took - 2 * self.healthy_s)
        return checked(Done(" ".join(line), done.returncode, done.stdout, done.stderr, took, waited))

    @contextmanager
    def started(self, *args: str, door: Sequence[str] = DOOR) -> Iterator[Running]:
        """The same, at work; killed at the end where it still runs. `door`: what stands in the place of the command."""
        out, err = self.folder / "stdout", self.folder / "stderr"
        line = [*args, *self._usual(json=True)]
        with out.open("w") as stdout, err.open("w") as stderr:
            child = subprocess.Popen(
                [*door, *line],
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=os.environ | self.variables,
            )
        try:
            yield Running(" ".join(line), child, out, err)
        finally:
            child.kill()
            child.wait(30)

    def _usual(self, *, json: bool) -> list[str]:
        path = self.folder / "fencepost.yaml"
        path.write_text(yaml.safe_dump(self.settings, sort_keys=False))
        return ["--config", str(path), *(["--json"] if json else [])]

    def gap_lines(self, folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
        """The files of `--report`: data type -> key -> line."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for path in sorted(folder.glob("*/gaps.jsonl")):
            for text in path.read_text().splitlines():
                line = json.loads(text)
                of = found.setdefault(path.parent.name, {})
                assert line["data_type"] == path.parent.name
                assert line["key"] not in of, f"{line['key']} is listed twice"
                of[line["key"]] = line
        return found


@dataclass
class Running:
    line: str
    child: subprocess.Popen[bytes]
    out: Path
    err: Path

    def says(self, words: str, *, within_s: float = 90.0) -> None:
        """Wait until these words stand on stderr."""

        def said() -> bool:
            assert self.child.poll() is None or words in self.err.read_text(), self._done()
            return words in self.err.read_text()

        wait_until(said, f"{words!r} on stderr of {self.line}", within_s=within_s)

    def ends(self, how: signal.Signals | None = None, *, within_s: float = 90.0) -> Done:
        if how is not None:
            self.child.send_signal(how)
        self.child.wait(within_s)
        return checked(self._done())

    def _done(self) -> Done:
        return Done(self.line, self.child.returncode, self.out.read_text(), self.err.read_text())


def checked(done: Done) -> Done:
    assert "Traceback" not in done.err, done
    assert CANARY not in done.out + done.err, done
    assert "bug in fencepost" not in done.err, done
    if done.out and "--json" in done.line:
        json.loads(done.out)
    return done


# -- parts of settings ------------------------------------------------------------------------------------------------


def secret_dsn(dsn: str) -> str:
    """With a password nobody may ever see again."""
    return dsn.replace("postgres@", f"postgres:{CANARY}@")


def settings(source: str, target: str, kafka: Kafka, types: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What every settings file of this folder has in common."""
    return {
        "source": {"dsn": secret_dsn(source)},
        "registry": {"dsn": secret_dsn(target)},
        "ledger": {"dsn": secret_dsn(target)},
        "event_log": {
            "kafka": {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": f"fencepost-{uuid.uuid4().hex[:8]}",
                "sasl.password": CANARY,
            }
        },
        "fence": {"settle": "0s"},
        "alerts": {"webhook": f"http://127.0.0.1:9/{CANARY}"},
        "data_types": dict(types),
    } | more


def item(topic: str, **more: Any) -> dict[str, Any]:
    """A data type of plain JSON events over `public.items` and `public.item_registry`."""
    return {
        "topics": [topic],
        "format": "json",
        "event": {"key": "id", "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"},
        "source": {"table": "public.items", "key": "id", "created_at": "created_at"},
        "registry": {"table": "public.item_registry", "key": "item_id", "insert": {"state": 0, "created_at": "now"}},
    } | more


# -- the world around it ----------------------------------------------------------------------------------------------


def item_tables(source: str, target: str) -> None:
    execute(source, "CREATE TABLE items (id bigint PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now())")
    execute(target, registry_table("item"))


def registry_table(name: str) -> str:
    return (
        f"CREATE TABLE {name}_registry (id bigserial PRIMARY KEY, {name}_id bigint NOT NULL UNIQUE,"
        " state smallint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL)"
    )


def fine_items(source: str, target: str, kafka: Kafka, topic: str, keys: Iterable[int]) -> None:
    """Created, announced and registered."""
    keys = list(keys)
    execute(source, "INSERT INTO items (id) SELECT unnest(%s::bigint[])", keys)
    register(target, "item", keys)
    publish(kafka, topic, [event(key) for key in keys])


def event(key: Any, op: str = "created") -> bytes:
    return json.dumps({"id": key, "op": op, "at": datetime.now(UTC).isoformat()}).encode()


def publish(kafka: Kafka, topic: str, values: Iterable[bytes | None]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0


def arrived(kafka: Kafka, topic: str, word: str) -> None:
    """Wait until a record that holds this word stands in the topic, and with it all that came before."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", "log_level": 0}
    )
    wait_until(lambda: topic in kafka.topics(), f"topic {topic}", within_s=60)
    consumer.subscribe([topic])

    def seen() -> bool:
        return any(word.encode() in (m.value() or b"") for m in consumer.consume(500, 0.5))

    try:
        wait_until(seen, f"{word} in {topic}", within_s=60)
    finally:
        consumer.close()


def execute(dsn: str, statement: str, *values: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(statement, values or None)


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as db:
        return db.execute(query).fetchall()


def register(target: str, name: str, keys: Iterable[int], at: str = "now") -> None:
    execute(
        target,
        f"INSERT INTO {name}_registry ({name}_id, state, created_at) SELECT unnest(%s::bigint[]), 2, %s",
        list(keys),
        at,
    )


def registered(target: str, name: str = "item") -> list[int]:
    return [key for (key,) in rows(target, f"SELECT {name}_id FROM {name}_registry ORDER BY 1")]


def ledger_content(dsn: str, schema: str = "fencepost") -> dict[str, tuple[int, str]] | None:
    """Per table, how many rows and a hash of them; None where there is no such schema."""
    with psycopg.connect(dsn) as db:
        if not db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchone():
            return None
        names = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
        found = {}
        for (name,) in names:
            query = sql.SQL("SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {} t")
            count, digest = db.execute(query.format(sql.Identifier(schema, name))).fetchone() or (0, "")
            found[name] = (int(count), str(digest))
        return found


#: What the log said and how far it was read; runs, proofs and gaps are what we say ourselves.
HEARD = ("segment", "segment_keys", "position", "hole", "quarantine", "coverage")


def heard(dsn: str, schema: str = "fencepost") -> dict[str, tuple[int, str]]:
    return {name: told for name, told in (ledger_content(dsn, schema) or {}).items() if name in HEARD and told[0]}


def fresh_databases(server: Server) -> tuple[str, str]:
    """A source and a target of nobody else's; they go with the server."""
    mark = uuid.uuid4().hex[:8]
    names = [f"source_{mark}", f"target_{mark}"]
    with server.connect() as db:
        for name in names:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.dsn(names[0]), server.dsn(names[1])
