"""Debezium for PostgreSQL on Kafka Connect, standalone: one worker, and connectors made and deleted over its REST door.

A standalone worker forgets its connectors when it ends, but not their offsets; `restart` tells it again.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.stack import jars
from tests.stack.kafka import Kafka
from tests.stack.postgres import drop_slot
from tests.stack.processes import LOOPBACK, Part, Process, StandError, free_port, wait_until
from tests.stack.registry import SchemaRegistry

VERSION = jars.pinned("connect", "debezium.version")
#: `debezium-json` is bare, `debezium-json-schema` wraps each record as {"schema", "payload"}, `debezium-avro` writes
#: Confluent's wire format: a zero byte, the schema id in four, the record
Format = Literal["debezium-json", "debezium-json-schema", "debezium-avro"]

JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
AVRO_CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"
RUNNING_WITHIN_S = 120.0


class Connect(Part):
    """A Connect worker. `url` is its REST door."""

    def __init__(self, folder: Path, kafka: Kafka, registry: SchemaRegistry | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kafka = kafka
        self.registry = registry
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.connectors: dict[str, dict[str, str]] = {}
        config = folder / "worker.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in self._settings(folder).items()))
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        self.process = Process(
            "Kafka Connect",
            [jars.java(), *options, "-cp", jars.class_path("connect"), main, str(config)],
            log=folder / "connect.log",
        )

    def start(self, *, within_s: float = 120.0) -> Self:
        super().start(within_s=within_s)
        for name, config in self.connectors.items():
            self._put(name, config)
        return self

    def create(self, name: str, config: Mapping[str, str]) -> None:
        """Start a connector, and return when it and its task run."""
        self.connectors[name] = dict(config)
        self._put(name, config)
        self.wait_running(name)

    def delete(self, name: str) -> None:
        self.connectors.pop(name, None)
        if self.process.running:
            self.ask("DELETE", f"/connectors/{name}")

    def wait_running(self, name: str) -> None:
        def runs() -> bool:
            status = self.status(name)
            states = [status.get("connector", {}).get("state"), *(task["state"] for task in status.get("tasks", []))]
            if "FAILED" in states:
                raise StandError(f"connector {name} failed: {json.dumps(status, indent=1)}")
            return len(states) > 1 and set(states) == {"RUNNING"}

        try:
            wait_until(runs, f"connector {name} runs", within_s=RUNNING_WITHIN_S)
        except StandError as error:
            raise StandError(f"{error}\n{self.process.log_tail()}") from error

    def status(self, name: str) -> dict[str, Any]:
        """What the worker says of a connector; empty while it has not heard of it."""
        found: dict[str, Any] = self.ask("GET", f"/connectors/{name}/status") or {}
        return found

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """The source offsets stored: for PostgreSQL `lsn`, `lsn_proc`, `lsn_commit` and more; none before the first."""
        told: dict[str, Any] = self.ask("GET", f"/connectors/{name}/offsets") or {}
        return [entry["offset"] for entry in told.get("offsets", [])]

    def pause_connector(self, name: str) -> None:
        """Pause a connector, and return when its task, which may be writing still, has heard of it too."""
        self.ask("PUT", f"/connectors/{name}/pause")

        def paused() -> bool:
            status = self.status(name)
            return {part["state"] for part in (status["connector"], *status["tasks"])} == {"PAUSED"}

        wait_until(paused, f"connector {name} is paused")

    def resume_connector(self, name: str) -> None:
        self.ask("PUT", f"/connectors/{name}/resume")
        self.wait_running(name)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request to the REST door. None for 404 and for an answer without a body."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                text = reply.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.NOT_FOUND:
                    return None
                said = error.read().decode(errors="replace")
            raise StandError(f"Kafka Connect refused {method} {path} with {error.code}: {said}") from error
        return json.loads(text) if text else None

    def _put(self, name: str, config: Mapping[str, str]) -> None:
        self.ask("PUT", f"/connectors/{name}/config", dict(config))

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/connectors", timeout=2) as reply:
            return bool(reply.status == HTTPStatus.OK)

    def _settings(self, folder: Path) -> dict[str, str]:
        return {
            "bootstrap.servers": self.kafka.bootstrap,
            "listeners": self.url,
            "rest.advertised.host.name": LOOPBACK,
            "key.converter": JSON_CONVERTER,
            "value.converter": JSON_CONVERTER,
            "offset.storage.file.filename": str(folder / "offsets"),
            # The slot's confirmed_flush_lsn follows this flush; a minute by default.
            "offset.flush.interval.ms": "500",
            "plugin.discovery": "service_load",
        }


class Connector:
    """Debezium on some tables of one database: a context that leaves no slot and no publication behind.

    `prefix` starts the topic names (`prefix.schema.table`, see `topic`); `slot` and `publication` are its own.
    """

    def __init__(
        self,
        name: str,
        worker: Connect,
        dsn: str,
        tables: Sequence[str],
        *,
        format: Format = "debezium-json",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        unique = f"{name}_{os.getpid()}"  # slots are global to a server
        self.name, self.worker, self.dsn, self.tables = name, worker, dsn, list(tables)
        # The prefix becomes an Avro namespace, and with a dash in it no client gets the schema from the registry.
        self.prefix = unique
        self.slot, self.publication = f"slot_{unique}", f"publication_{unique}"
        self.config = self._source() | self._converters(format) | dict(settings or {})

    def topic(self, table: str) -> str:
        return f"{self.prefix}.{table}"

    def status(self) -> dict[str, Any]:
        return self.worker.status(self.name)

    def offsets(self) -> list[dict[str, Any]]:
        return self.worker.offsets(self.name)

    def confirmed_lsn(self) -> int:
        """How far the server believes it was read: the slot's confirmed_flush_lsn as a number."""
        with psycopg.connect(self.dsn) as db:
            row = db.execute(
                "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s",
                [self.slot],
            ).fetchone()
        if row is None:
            raise StandError(f"slot {self.slot} is gone")
        return int(row[0])

    def __enter__(self) -> Self:
        try:
            self.worker.create(self.name, self.config)
            # RUNNING says that the task was started, not that it streams: rows inserted now must not be lost.
            wait_until(self._streams, f"slot {self.slot} is read", within_s=RUNNING_WITHIN_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.delete(self.name)
        with psycopg.connect(self.dsn, autocommit=True) as db:
            drop_slot(db, self.slot, self._reader(db))
            db.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(self.publication)))

    def _streams(self) -> bool:
        with psycopg.connect(self.dsn) as db:
            return self._reader(db) is not None

    def _reader(self, db: psycopg.Connection) -> int | None:
        row = db.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [self.slot]).fetchone()
        return row[0] if row else None

    def _source(self) -> dict[str, str]:
        address = conninfo_to_dict(self.dsn)
        return source_settings() | {
            "database.hostname": str(address["host"]),
            "database.port": str(address["port"]),
            "database.user": str(address["user"]),
            "database.password": str(address.get("password") or "unused"),
            "database.dbname": str(address["dbname"]),
            "topic.prefix": self.prefix,
            "slot.name": self.slot,
            "publication.name": self.publication,
            "table.include.list": ",".join(self.tables),
        }

    def _converters(self, format: Format) -> dict[str, str]:
        registry = self.worker.registry
        if format == "debezium-avro" and registry is None:
            raise StandError("debezium-avro needs a Connect worker with a schema registry")
        return converter_settings(format, registry.native_url if registry else "")


def source_settings() -> dict[str, str]:
    """How Debezium reads PostgreSQL, whatever it reads."""
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "plugin.name": "pgoutput",
        "publication.autocreate.mode": "filtered",
        "snapshot.mode": "no_data",
        "schema.name.adjustment.mode": "avro",
        "field.name.adjustment.mode": "avro",
        # The broker creates no topics: without these two the task waits for one for ever and says nothing.
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
        "poll.interval.ms": "50",
        "slot.drop.on.stop": "false",
    }


def converter_settings(format: Format, registry_url: str) -> dict[str, str]:
    """How keys and values are written."""
    if format == "debezium-avro":
        words = {
            "": AVRO_CONVERTER,
            ".apicurio.registry.url": registry_url,
            ".apicurio.registry.auto-register": "true",
            ".apicurio.registry.find-latest": "true",
            ".apicurio.registry.as-confluent": "true",
            ".apicurio.registry.use-id": "contentId",
            ".apicurio.registry.headers.enabled": "false",
        }
    else:
        words = {"": JSON_CONVERTER, ".schemas.enable": str(format == "debezium-json-schema").lower()}
    return {f"{side}.converter{word}": value for side in ("key", "value") for word, value in words.items()}
