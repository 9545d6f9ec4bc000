"""Where a real Debezium loses rows, or seems to: the seam between its snapshot and its stream, a slot made anew, settings that
drop records, changes whose places in the WAL do not ascend."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.conftest import DebeziumFactory
from tests.end_to_end.installation import Installation, arrived, execute, register, registered, registry_table, rows, settings
from tests.stack.connect import Connector
from tests.stack.kafka import Kafka
from tests.stack.postgres import drop_slot
from tests.stack.processes import wait_until

TABLE = "CREATE TABLE orders (id bigint PRIMARY KEY, body text, created_at timestamptz DEFAULT clock_timestamp())"
LAST = 900_000


@pytest.fixture
def source(databases: tuple[str, str]) -> str:
    execute(databases[0], TABLE)
    execute(databases[1], registry_table("order"))
    return databases[0]


def insert(low: int, high: int) -> str:
    return f"INSERT INTO orders (id) SELECT generate_series({low}, {high})"


def installation(folder: Path, databases: tuple[str, str], kafka: Kafka, connector: Connector) -> Installation:
    fence = {
        "pipeline": "debezium",
        "settle": "0s",
        "connect": connector.worker.url,
        "connector": connector.name,
        "marker": True,
    }
    order = {
        "topics": [connector.topic("public.orders")],
        "format": "debezium-json",
        "source": {"table": "public.orders", "key": "id", "created_at": "created_at"},
        "registry": {"table": "public.order_registry", "key": "order_id", "insert": {"state": 0, "created_at": "now"}},
    }
    return Installation(folder, settings(*databases, kafka, {"order": order}, fence=fence))


def told(kafka: Kafka, topic: str) -> list[dict[str, Any]]:
    """Every record of the topic, in order, but tombstones."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": uuid.uuid4().hex, "log_level": 0})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), 30)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []

    def read() -> bool:
        found.extend(message.value() for message in consumer.consume(5000, 0.5))
        return len(found) >= end

    try:
        wait_until(read, f"{end} records of {topic}")
    finally:
        consumer.close()
    return [json.loads(value) for value in found if value]


@contextmanager
def writing(source: str, first: int) -> Iterator[None]:
    """Rows from this key on, each in a transaction of its own, all the while."""
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(source, autocommit=True) as db:
            key = first
            while not done.is_set():
                db.execute("INSERT INTO orders (id) VALUES (%s)", [key])
                db.execute("SELECT pg_sleep(0.002)")  # a busy application, and no flood
                key += 1

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(30)


def test_rows_written_while_debezium_copies_the_table_fall_into_no_seam(
    source: str, databases: tuple[str, str], kafka: Kafka, debezium: DebeziumFactory, tmp_path: Path
) -> None:
    """Told by the snapshot or by the stream: neither is called dropped, and what the applier lost of either is found
    (failure mode 49)."""
    execute(source, insert(1, 5_000))
    with writing(source, 100_000):
        connector = debezium(source, ["public.orders"], settings={"snapshot.mode": "initial", "snapshot.fetch.size": "200"})
    execute(source, insert(LAST, LAST))
    topic = connector.topic("public.orders")
    arrived(kafka, topic, f'"id":{LAST}')
    meanwhile = {record["op"] for record in told(kafka, topic) if 100_000 <= record["after"]["id"] < LAST}
    assert meanwhile == {"r", "c"}, "rows were to be written on both sides of the seam"

    keys = [key for (key,) in rows(source, "SELECT id FROM orders ORDER BY id")]
    lost = [3, keys[5_000], keys[-2], LAST]
    register(databases[1], "order", sorted({*keys} - {*lost}))
    here = installation(tmp_path, databases, kafka, connector)
    gaps = here.run("gaps")
    assert gaps.of("order")["gaps"]["by_class"] == {"unapplied_create": len(lost)}, gaps
    assert (gaps.of("order")["rows"], gaps.of("order")["announced"]) == (len(keys), len(keys))
    assert gaps.of("order")["drop_rate"]["dropped"] == 0
    cutover = here.run("cutover")
    assert (cutover.code, cutover.of("order")["backfilled"]) == (0, len(lost)), cutover
    assert registered(databases[1], "order") == keys


def test_what_was_written_before_a_slot_or_between_two_is_found_though_the_log_has_no_hole(
    source: str, databases: tuple[str, str], kafka: Kafka, debezium: DebeziumFactory, tmp_path: Path
) -> None:
    """`no_data` skips what is older than the slot. Where a slot is lost the connector stops; made anew under another name, with
    another slot, it begins where the WAL is, and says nothing (failure modes 47 and 49)."""
    execute(source, insert(1, 10))
    connector = debezium(source, ["public.orders"])
    execute(source, insert(11, 20))
    topic = connector.topic("public.orders")
    arrived(kafka, topic, '"id":20')

    connector.worker.delete(connector.name)
    with psycopg.connect(source, autocommit=True) as db:
        drop_slot(db, connector.slot, connector._reader(db))
    execute(source, insert(21, 26))
    connector.name += "-anew"  # an offset that is stored under the old one lies before the slot, and is refused
    connector.__enter__()
    execute(source, insert(27, 30))
    arrived(kafka, topic, '"id":30')
    assert [record["after"]["id"] for record in told(kafka, topic)] == [*range(11, 21), *range(27, 31)]

    register(databases[1], "order", [*range(11, 21), *range(27, 31)])
    here = installation(tmp_path, databases, kafka, connector)
    gaps = here.run("gaps")
    assert gaps.of("order")["gaps"]["by_class"] == {"unheard_create": 10, "dropped_create": 6}, gaps
    assert gaps.of("order")["drop_rate"]["dropped"] == 6
    cutover = here.run("cutover")
    assert cutover.code == 0, cutover
    assert registered(databases[1], "order") == [*range(1, 31)]


#: What the operator of a pipeline may set, which rows are then in no topic, and how `check` warns. Row 5 is a big one.
DROPPING = {
    "errors tolerated, and a row too big for the broker": (
        {"errors.tolerance": "all", "producer.override.max.request.size": "4096"},
        [5],
        "errors.tolerance is all",
    ),
    "no creations wanted": ({"skipped.operations": "c"}, [*range(1, 9), 10], "skipped.operations leaves out creations"),
}


@pytest.mark.parametrize("how", DROPPING)
def test_what_a_connector_drops_by_its_settings_is_found_and_mended(
    how: str, source: str, databases: tuple[str, str], kafka: Kafka, debezium: DebeziumFactory, tmp_path: Path
) -> None:
    """It runs, its offset moves on, and no error is told: the rows alone can tell; `check` warns (failure mode 53)."""
    changes, dropped, warning = DROPPING[how]
    execute(source, insert(0, 0))
    connector = debezium(source, ["public.orders"], settings=changes)
    execute(source, "DELETE FROM orders")  # whatever is dropped, this is told: the log covers what comes now
    for key in range(1, 9):
        body = "x" * 20_000 if key == 5 else "x"
        execute(source, "INSERT INTO orders (id, body) VALUES (%s, %s)", key, body)
    execute(source, insert(9, 9))
    execute(source, "UPDATE orders SET id = 10 WHERE id = 9")  # a deletion and a creation
    topic = connector.topic("public.orders")
    arrived(kafka, topic, '"before":{"id":9')
    if 10 not in dropped:
        arrived(kafka, topic, '"id":10')
    register(databases[1], "order", {*range(1, 9), 10} - {*dropped})

    here = installation(tmp_path, databases, kafka, connector)
    check = here.run("check")
    assert any(warning in told["seen"] for told in check.json["findings"] if told["level"] == "warn"), check
    gaps = here.run("gaps")
    assert gaps.of("order")["gaps"] | {"keys": sorted(gaps.of("order")["gaps"]["keys"])} == {
        "count": len(dropped),
        "by_class": {"dropped_create": len(dropped)},
        "by_cause": {"never_announced": len(dropped)},
        "keys": sorted(map(str, dropped)),
    }, gaps
    cutover = here.run("cutover")
    assert cutover.code == 0, cutover
    assert registered(databases[1], "order") == [*range(1, 9), 10]


def test_places_in_the_wal_that_do_not_ascend_pass_nothing_over(
    source: str, databases: tuple[str, str], kafka: Kafka, debezium: DebeziumFactory, tmp_path: Path
) -> None:
    """A change of a transaction that commits late lies before one that was told already, and two changes may share a place:
    who took it for progress, or for a record's name, would lose both (failure mode 55)."""
    connector = debezium(source, ["public.orders"])
    topic = connector.topic("public.orders")
    here = installation(tmp_path, databases, kafka, connector)
    with psycopg.connect(source) as late, psycopg.connect(source, autocommit=True) as db:
        late.execute(insert(1, 3))
        db.execute(insert(11, 12))
        late.execute(insert(4, 4))
        arrived(kafka, topic, '"id":12')
        assert here.run("track", "--until-end").json["events"] == {"order": {"create": 2, "delete": 0}}
        late.commit()
        db.execute("UPDATE orders SET id = 13 WHERE id = 12")
    arrived(kafka, topic, '"id":13')
    places = [record["source"]["lsn"] for record in told(kafka, topic)]
    assert places != sorted(places), "a later record was to lie further ahead"
    assert len(set(places)) < len(places), "a key that changes was to be told by two records of one place"

    assert here.run("track", "--until-end").json["events"] == {"order": {"create": 5, "delete": 1}}
    register(databases[1], "order", [1, 2, 11])
    cutover = here.run("cutover", "--deletes")
    assert cutover.code == 0, cutover
    assert cutover.json["claims"] == {"creates": "CLEAR", "deletes": "CLEAR", "drop_rate": "complete"}
    assert cutover.of("order")["gaps"]["by_class"] == {"unapplied_create": 3}
    assert registered(databases[1], "order") == [1, 2, 3, 4, 11, 13]


def test_a_truncation_that_debezium_does_not_tell_leaves_ghosts_that_only_deletes_finds(
    source: str, databases: tuple[str, str], kafka: Kafka, debezium: DebeziumFactory, tmp_path: Path
) -> None:
    """It skips truncations unless it is told not to: the log says nothing, and is whole (failure mode 45)."""
    connector = debezium(source, ["public.orders"])
    execute(source, insert(1, 5))
    register(databases[1], "order", range(1, 7))
    execute(source, "TRUNCATE orders")
    execute(source, insert(6, 6))
    arrived(kafka, connector.topic("public.orders"), '"id":6')
    here = installation(tmp_path, databases, kafka, connector)
    cutover = here.run("cutover")
    assert cutover.code == 0, cutover
    assert cutover.json["claims"] == {"creates": "CLEAR", "deletes": "not asked", "drop_rate": "complete"}
    ghosts = here.run("cutover", "--deletes")
    assert ghosts.code == 3, ghosts
    assert ghosts.of("order")["orphans"]["by_class"] == {"dropped_delete": 5}
