"""`check` on what announces: subscriptions that contradict a primary, publications that leave something out."""

from __future__ import annotations

import psycopg
import pytest

from reconciler.preflight import Level
from tests.reconciler.preflight.conftest import World
from tests.stack.postgres import Postgres
from tests.stack.processes import free_port

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
UNASKED = "fence.connect and fence.connector not set: nobody can tell how far Debezium's stored offset has come"


@pytest.fixture
def debezium(world: World) -> World:
    world.set("fence", {"pipeline": "debezium"})  # Connect itself is asked in tests/end_to_end/test_debezium_fence.py
    return world


def test_a_published_table_on_a_logical_server_is_fine(debezium: World) -> None:
    debezium.on_source("CREATE PUBLICATION pub FOR TABLE public.jobs")
    assert debezium.told(FAIL, "pipeline") == []
    assert debezium.told(WARN, "pipeline") == [UNASKED]


def test_a_table_that_no_publication_has_announces_nothing(debezium: World) -> None:
    assert any("no publication has public.jobs" in seen for seen in debezium.told(FAIL, "pipeline"))
    debezium.on_source("CREATE PUBLICATION pub FOR TABLE public.jobs")
    debezium.set("fence/publication", "other")
    assert any("'other' does not have public.jobs" in seen for seen in debezium.told(FAIL, "pipeline"))


@pytest.mark.parametrize(
    ("publication", "level", "why"),
    [
        ("FOR TABLE public.jobs WITH (publish = 'insert')", WARN, "does not announce deletions"),
        ("FOR TABLE public.jobs WITH (publish = 'delete')", WARN, "does not announce insertions"),
        ("FOR TABLE public.jobs WHERE (project_id = 1)", WARN, "filters rows"),
        ("FOR TABLE public.jobs (project_id)", FAIL, "leaves out the key column id"),
        ("FOR ALL TABLES", OK, "the publication 'pub' has public.jobs"),
        ("FOR TABLES IN SCHEMA public", OK, "the publication 'pub' has public.jobs"),
    ],
)
def test_what_a_publication_leaves_out_is_told(debezium: World, publication: str, level: Level, why: str) -> None:
    debezium.on_source(f"CREATE PUBLICATION pub {publication}")
    assert any(why in seen for seen in debezium.told(level, "pipeline"))


def test_a_partition_outside_the_publication_is_told(debezium: World) -> None:
    debezium.on_source(
        "CREATE TABLE public.p (id bigint PRIMARY KEY, created_at timestamptz) PARTITION BY RANGE (id);"
        "CREATE TABLE public.p_1 PARTITION OF public.p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE public.p_2 PARTITION OF public.p FOR VALUES FROM (10) TO (20);"
        "CREATE PUBLICATION pub FOR TABLE public.p_1"
    )
    debezium.set("data_types/job/source/table", "public.p")
    assert debezium.told(FAIL, "pipeline") == ["partitions that no publication has: public.p_2"]
    debezium.on_source("ALTER PUBLICATION pub ADD TABLE public.p")
    assert debezium.told(FAIL, "pipeline") == []


def test_deletes_that_would_not_tell_their_key_are_a_warning(debezium: World) -> None:
    debezium.on_source("CREATE PUBLICATION pub FOR TABLE public.jobs; ALTER TABLE public.jobs REPLICA IDENTITY NOTHING")
    assert any("replica identity of public.jobs" in seen for seen in debezium.told(WARN, "pipeline"))
    debezium.on_source("ALTER TABLE public.jobs REPLICA IDENTITY FULL")
    assert debezium.told(WARN, "pipeline") == [UNASKED]


def test_a_slot_is_looked_for(debezium: World, postgres: Postgres) -> None:
    debezium.on_source("CREATE PUBLICATION pub FOR TABLE public.jobs")
    debezium.set("fence/slot", "seeker")
    assert any("there is no replication slot 'seeker'" in seen for seen in debezium.told(FAIL, "pipeline"))
    debezium.on_source("SELECT pg_create_logical_replication_slot('seeker', 'pgoutput')")
    assert any("is not being read now" in seen for seen in debezium.told(WARN, "pipeline"))


def test_a_server_that_decodes_nothing_is_named(debezium: World, own_postgres: object) -> None:
    assert callable(own_postgres)
    server = own_postgres(settings={"wal_level": "replica"})
    debezium.set("source/dsn", server.dsn())
    with psycopg.connect(server.dsn(), autocommit=True) as db:
        db.execute("CREATE TABLE public.jobs (id bigint PRIMARY KEY, created_at timestamptz)")
    assert any("wal_level is replica" in seen for seen in debezium.told(FAIL, "pipeline"))


def test_a_connect_that_does_not_answer_is_a_failure_and_half_a_setting_a_warning(debezium: World) -> None:
    debezium.set("fence/connect", f"http://127.0.0.1:{free_port()}")
    assert any(seen.startswith("fence.connector not set") for seen in debezium.told(WARN, "pipeline"))
    debezium.set("fence/connector", "c")
    assert any("connection refused" in seen for seen in debezium.told(FAIL, "pipeline"))


def test_a_connector_that_nobody_asks_is_a_warning(world: World) -> None:
    assert world.told(WARN, "pipeline") == []
    world.set("fence", {"connect": "http://127.0.0.1:9", "connector": "c", "marker": True})
    named = "fence.connect, fence.connector, fence.marker"
    assert world.told(WARN, "pipeline") == [f"{named}: nobody looks at it while fence.pipeline is application"]


def test_a_subscription_on_a_source_table_contradicts_a_primary(world: World) -> None:
    world.on_source("CREATE SUBSCRIPTION fed CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)")
    try:
        world.on_source("INSERT INTO pg_subscription_rel SELECT oid, 'public.jobs'::regclass, 'r', NULL FROM pg_subscription")
        assert any("is filled by the subscription 'fed'" in seen for seen in world.told(FAIL, "pipeline"))
        world.set("source/kind", "copy")
        world.set("source/origin", world.registry)
        assert world.told(FAIL, "pipeline") == []
    finally:
        world.on_source("ALTER SUBSCRIPTION fed SET (slot_name = NONE); DROP SUBSCRIPTION fed")
