"""From INSERT to verdict: PostgreSQL, Debezium on Kafka Connect, Kafka, a schema registry, fencepost; nothing stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.conftest import DebeziumFactory
from tests.end_to_end.installation import (
    Installation,
    arrived,
    execute,
    register,
    registered,
    registry_table,
    settings,
)
from tests.stack.connect import Connector, Format
from tests.stack.kafka import Kafka
from tests.stack.registry import SchemaRegistry

FORMATS: tuple[Format, ...] = ("debezium-json", "debezium-json-schema", "debezium-avro")
#: Two tables in one topic, truncations told, heartbeats and transaction marks in topics of their own.
EVERYTHING = {
    "skipped.operations": "none",
    "heartbeat.interval.ms": "200",
    "provide.transaction.metadata": "true",
    "transforms": "together",
    "transforms.together.type": "org.apache.kafka.connect.transforms.RegexRouter",
    "transforms.together.regex": r"([^.]+)\.public\..*",
    "transforms.together.replacement": "$1.rows",
}


def order_type(connector: Connector, format: Format) -> dict[str, Any]:
    prefix = connector.prefix
    return {
        "topics": [f"{prefix}.rows", f"__debezium-heartbeat.{prefix}", f"{prefix}.transaction"],
        "format": format.removesuffix("-schema"),
        "source": {"table": "public.orders", "key": "id", "created_at": "created_at"},
        "registry": {"table": "public.order_registry", "key": "order_id", "insert": {"state": 0, "created_at": "now"}},
    }


def installation(
    folder: Path, databases: tuple[str, str], kafka: Kafka, registry: SchemaRegistry, connector: Connector, format: Format
) -> Installation:
    fence = {
        "pipeline": "debezium",
        "settle": "1s",
        "connect": connector.worker.url,
        "connector": connector.name,
        "slot": connector.slot,
        "publication": connector.publication,
        "marker": True,
    }
    told = settings(*databases, kafka, {"order": order_type(connector, format)}, fence=fence)
    told["event_log"]["schema_registry"] = {"url": registry.url}
    return Installation(folder, told)


def tables(source: str, target: str) -> None:
    execute(source, "CREATE TABLE orders (id bigint PRIMARY KEY, customer int, created_at timestamptz DEFAULT now())")
    execute(source, "CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
    execute(target, registry_table("order"))


def unpublished(connector: Connector, *statements: str) -> None:
    """Run statements while the publication lacks the table: what they do never reaches the log."""
    words = {name: sql.Identifier(name) for name in ("orders", connector.publication)}
    with psycopg.connect(connector.dsn, autocommit=True) as db:
        for action in ("DROP", "ADD"):
            for statement in statements if action == "ADD" else ():
                db.execute(statement)
            db.execute(sql.SQL("ALTER PUBLICATION {} {} TABLE {}").format(
                words[connector.publication], sql.SQL(action), words["orders"]))  # fmt: skip


def insert(low: int, high: int) -> str:
    return f"INSERT INTO orders (id, customer) SELECT g, 1 FROM generate_series({low}, {high}) g"


@pytest.mark.parametrize("format", FORMATS)
def test_every_loss_between_insert_and_registry_is_named_mended_and_cleared(
    format: Format,
    databases: tuple[str, str],
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    debezium: DebeziumFactory,
    tmp_path: Path,
) -> None:
    source, target = databases
    tables(source, target)
    connector = debezium(source, ["public.orders", "public.notes"], format=format, settings=EVERYTHING)
    here = installation(tmp_path, databases, kafka, schema_registry, connector, format)

    execute(source, insert(1, 60))
    register(target, "order", range(1, 51))  # 51-60: announced, and lost by the applier
    unpublished(connector, insert(61, 73), "DELETE FROM orders WHERE id = 5")
    register(target, "order", range(71, 74))  # healed by another path
    execute(source, "UPDATE orders SET customer = 2 WHERE id BETWEEN 10 AND 20")
    execute(source, "DELETE FROM orders WHERE id IN (6, 7)")
    execute(target, "DELETE FROM order_registry WHERE order_id = 7")  # this delete was applied
    execute(source, "UPDATE orders SET id = 108 WHERE id = 8")
    # Another table in the same topic: its keys must credit nobody, its truncation trouble nobody.
    execute(source, "INSERT INTO notes SELECT g, 'a note' FROM generate_series(61, 70) g")
    execute(source, "TRUNCATE notes")
    execute(source, "INSERT INTO notes VALUES (1, 'the-last-note')")
    arrived(kafka, f"{connector.prefix}.rows", "the-last-note")

    check = here.run("check")
    assert check.code == 0, check
    assert check.json["fail"] == 0

    track = here.run("track", "--until-end")
    assert track.code == 0, track
    assert track.json["events"] == {"order": {"create": 61, "delete": 3}}
    assert track.json["quarantined"] == 0
    assert track.json["drained"] is True

    gaps = here.run("gaps", "--deletes", "--report", str(tmp_path / "report"))
    assert gaps.code == 3, gaps
    assert gaps.json["claims"] == {"creates": "GAPS", "deletes": "GAPS", "drop_rate": "complete"}
    told = gaps.of("order")
    assert told["gaps"]["by_class"] == {"dropped_create": 10, "unapplied_create": 11}
    assert told["gaps"]["by_cause"] == {"never_announced": 10, "unapplied": 11}
    assert told["orphans"]["by_class"] == {"dropped_delete": 1, "unapplied_delete": 2}
    assert (told["rows"], told["healed_drops"], told["in_flight"], told["backfilled"]) == (70, 3, 0, 0)
    assert told["drop_rate"]["dropped"] == 13
    found = {key: line["class"] for key, line in here.gap_lines(tmp_path / "report")["order"].items()}
    assert found == {
        **dict.fromkeys(map(str, range(51, 61)), "unapplied_create"),
        **dict.fromkeys(map(str, range(61, 71)), "dropped_create"),
        "108": "unapplied_create",
        "5": "dropped_delete",
        "6": "unapplied_delete",
        "8": "unapplied_delete",
    }
    evidence = here.gap_lines(tmp_path / "report")["order"]["108"]["evidence"]
    assert evidence["topic"] == f"{connector.prefix}.rows"
    assert evidence["op"] == "create"
    assert len(registered(target, "order")) == 52, "gaps writes no registry row"

    cutover = here.run("cutover")
    assert cutover.code == 0, cutover
    assert cutover.json["verdict"] == "CLEAR"
    assert cutover.json["fence"]["pipeline"] == "debezium"
    assert (cutover.of("order")["backfilled"], cutover.of("order")["remaining"]) == (21, 0)
    alive = {*range(1, 74), 108} - {5, 6, 7, 8}
    assert registered(target, "order") == sorted(alive | {5, 6, 8}), "a cutover inserts, and takes nothing away"


def test_a_truncated_source_table_is_set_aside_and_the_rows_decide(
    databases: tuple[str, str],
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    debezium: DebeziumFactory,
    tmp_path: Path,
) -> None:
    """A truncation cannot be told key by key: nobody may count on what the log said before it."""
    source, target = databases
    tables(source, target)
    connector = debezium(source, ["public.orders", "public.notes"], settings=EVERYTHING)
    here = installation(tmp_path, databases, kafka, schema_registry, connector, "debezium-json")
    execute(source, insert(1, 20))
    execute(source, "TRUNCATE orders")
    execute(source, insert(1, 5))
    register(target, "order", [1, 2, 3])
    execute(source, "INSERT INTO notes VALUES (1, 'the-last-note')")
    arrived(kafka, f"{connector.prefix}.rows", "the-last-note")

    cutover = here.run("cutover")
    assert cutover.code == 0, cutover
    assert cutover.json["claims"]["drop_rate"] == "incomplete"
    assert cutover.of("order")["backfilled"] == 2
    assert registered(target, "order") == [1, 2, 3, 4, 5]
    (record,) = here.run("quarantine", "list").json["records"]
    assert "truncate" in record["reason"]
