"""Each part of the stand starts and answers: what the other tests stand on, tried first by itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from tests.conftest import DebeziumFactory
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until
from tests.stack.registry import SchemaRegistry

READ_WITHIN_S = 60.0


def values(kafka: Kafka, topic: str, count: int, *, partitions: int = 1) -> list[bytes]:
    """The first `count` values of a topic that may not exist yet."""
    wait_until(lambda: topic in kafka.topics(), f"topic {topic} exists", within_s=READ_WITHIN_S)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found: list[bytes] = []

    def enough() -> bool:
        for message in consumer.consume(count - len(found), timeout=1):
            assert message.error() is None
            found.append(message.value() or b"")
        return len(found) >= count

    try:
        wait_until(enough, f"{count} records in {topic}", within_s=READ_WITHIN_S)
    finally:
        consumer.close()
    return found


def produce(kafka: Kafka, topic: str, *records: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for record in records:
        producer.produce(topic, record)
    assert producer.flush(READ_WITHIN_S) == 0


def table(dsn: str) -> None:
    with psycopg.connect(dsn) as db:
        db.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")


def insert(dsn: str, *ids: int) -> None:
    with psycopg.connect(dsn) as db:
        db.cursor().executemany("INSERT INTO orders VALUES (%s, 'new')", [(each,) for each in ids])


# -- Kafka ------------------------------------------------------------------------------------------------------------


def test_kafka_returns_what_was_produced(kafka: Kafka, topic_name: str) -> None:
    kafka.create_topic(topic_name, partitions=3)
    produce(kafka, topic_name, b"a", b"b", b"c")
    assert sorted(values(kafka, topic_name, 3, partitions=3)) == [b"a", b"b", b"c"]


def test_kafka_creates_no_topic_by_itself(kafka: Kafka, topic_name: str) -> None:
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC"):
        kafka.admin.delete_topics([topic_name])[topic_name].result(READ_WITHIN_S)


def test_deleted_records_move_the_log_start(kafka: Kafka, topic_name: str) -> None:
    kafka.create_topic(topic_name)
    produce(kafka, topic_name, b"a", b"b", b"c")
    kafka.delete_records(topic_name, {0: 2})
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "unused"})
    try:
        assert consumer.get_watermark_offsets(TopicPartition(topic_name, 0), timeout=READ_WITHIN_S) == (2, 3)
    finally:
        consumer.close()


def test_retention_by_time_empties_a_topic_within_seconds(kafka: Kafka, topic_name: str) -> None:
    kafka.create_topic(topic_name, config={"retention.ms": "1000", "segment.ms": "1000"})
    produce(kafka, topic_name, b"a", b"b")
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "unused"})
    end = TopicPartition(topic_name, 0)
    try:
        wait_until(
            lambda: consumer.get_watermark_offsets(end, timeout=READ_WITHIN_S) == (2, 2),
            "retention took the records",
        )
    finally:
        consumer.close()


def test_a_topic_made_again_has_another_id(kafka: Kafka, topic_name: str) -> None:
    def topic_id() -> str:
        told = kafka.admin.describe_topics(TopicCollection([topic_name]))[topic_name].result(READ_WITHIN_S)
        return str(told.topic_id)

    kafka.create_topic(topic_name)
    first = topic_id()
    kafka.delete_topic(topic_name)
    kafka.create_topic(topic_name)
    assert topic_id() != first


@pytest.mark.slow
def test_a_killed_broker_comes_back_with_its_records(own_kafka: Callable[..., Kafka]) -> None:
    broker = own_kafka()
    broker.create_topic("kept")
    produce(broker, "kept", b"before")
    broker.kill()
    broker.start()
    produce(broker, "kept", b"after")
    assert values(broker, "kept", 2) == [b"before", b"after"]


# -- schema registry --------------------------------------------------------------------------------------------------


def test_the_registry_gives_back_a_registered_schema(schema_registry: SchemaRegistry, topic_name: str) -> None:
    text = json.dumps({"type": "record", "name": "Event", "fields": [{"name": "id", "type": "long"}]})
    with SchemaRegistryClient({"url": schema_registry.url}) as client:
        number = client.register_schema(f"{topic_name}-value", Schema(text, "AVRO"))
        assert json.loads(client.get_schema(number).schema_str or "") == json.loads(text)


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_postgres_answers_with_what_replication_needs(postgres_any: Postgres) -> None:
    with postgres_any.connect() as db:
        asked = ("server_version_num", "wal_level", "max_prepared_transactions")
        told = [(db.execute(f"SHOW {name}").fetchone() or ("",))[0] for name in asked]
    assert int(told[0]) // 10_000 == postgres_any.major
    assert told[1:] == ["logical", "10"]


def test_each_test_gets_an_empty_database(database_any: str) -> None:
    table(database_any)
    insert(database_any, 1, 2)
    with psycopg.connect(database_any) as db:
        assert db.execute("SELECT count(*) FROM orders").fetchone() == (2,)


def test_source_and_target_are_two_databases(databases: tuple[str, str]) -> None:
    source, target = databases
    table(source)
    with psycopg.connect(target) as db:
        assert db.execute("SELECT to_regclass('orders')").fetchone() == (None,)


@pytest.mark.slow
def test_a_killed_postgres_recovers(own_postgres: Callable[..., Postgres]) -> None:
    server = own_postgres()
    dsn = server.create_database("kept")
    table(dsn)
    insert(dsn, 1)
    server.kill()
    server.start()
    insert(dsn, 2)
    with psycopg.connect(dsn) as db:
        assert db.execute("SELECT array_agg(id ORDER BY id) FROM orders").fetchone() == ([1, 2],)


@pytest.mark.slow
def test_a_standby_replays_only_when_it_is_let(own_postgres: Callable[..., Postgres]) -> None:
    primary = own_postgres()
    dsn = primary.create_database("app")
    table(dsn)
    with primary.standby() as standby:

        def replayed(lsn: str) -> bool:
            with standby.connect() as db:
                return db.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone() == (True,)

        def rows() -> int:
            with standby.connect("app") as db:
                return int((db.execute("SELECT count(*) FROM orders").fetchone() or (0,))[0])

        standby_start = _lsn(primary)
        wait_until(lambda: replayed(standby_start), "the standby caught up")
        standby.pause_replay()
        insert(dsn, 1)
        assert rows() == 0
        standby.resume_replay()
        end = _lsn(primary)
        wait_until(lambda: replayed(end), "the standby caught up")
        assert rows() == 1


def _lsn(server: Postgres) -> str:
    with server.connect() as db:
        return str((db.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or ("",))[0])


# -- Debezium ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["debezium-json", "debezium-json-schema"])
def test_debezium_announces_an_insert_in_json(format: Any, database: str, debezium: DebeziumFactory, kafka: Kafka) -> None:
    table(database)
    connector = debezium(database, ["public.orders"], format=format)
    insert(database, 7)
    (value,) = values(kafka, connector.topic("public.orders"), 1)
    record = json.loads(value)
    payload = record["payload"] if format == "debezium-json-schema" else record
    assert (payload["op"], payload["after"]["id"]) == ("c", 7)


def test_debezium_announces_an_insert_in_confluents_avro(
    database: str, debezium: DebeziumFactory, kafka: Kafka, schema_registry: SchemaRegistry
) -> None:
    table(database)
    connector = debezium(database, ["public.orders"], format="debezium-avro")
    insert(database, 7)
    (value,) = values(kafka, connector.topic("public.orders"), 1)
    magic, number = struct.unpack(">bI", value[:5])
    assert magic == 0
    with SchemaRegistryClient({"url": schema_registry.url}) as client:
        text = client.get_schema(number).schema_str or ""
    record: Any = fastavro.schemaless_reader(BytesIO(value[5:]), json.loads(text), None)
    assert (record["op"], record["after"]["id"]) == ("c", 7)


def test_the_slot_follows_what_debezium_stored(database: str, debezium: DebeziumFactory, kafka: Kafka) -> None:
    table(database)
    connector = debezium(database, ["public.orders"])
    before = connector.confirmed_lsn()
    insert(database, 1)
    values(kafka, connector.topic("public.orders"), 1)
    wait_until(lambda: bool(connector.offsets()), "Connect stored an offset")
    assert connector.offsets()[0]["lsn"] > before
    wait_until(lambda: connector.confirmed_lsn() > before, "the slot moved")
