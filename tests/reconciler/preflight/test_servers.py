"""`check` on servers: away, swapped, of another kind than declared, with clocks apart, with and without a ledger."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta

import pytest

from databases.ledger import Ledger
from reconciler import identity
from reconciler.catalog import remember_kinds
from reconciler.preflight import Level, exit_code
from reconciler.preflight.clocks import Clock, judged
from schemas.errors import Exit, SettingsError, UnavailableError
from tests.reconciler.preflight.conftest import AWAY, Role, World
from tests.stack.postgres import Postgres


def test_a_world_as_it_should_be_fails_nowhere(world: World) -> None:
    found = world.check(since="2h", rehearse=True)
    assert [f.seen for f in found if f.level is Level.FAIL] == []
    assert exit_code(found) == Exit.CLEAR
    assert {f.area for f in found} >= {"reach", "identity", "clocks", "ledger", "tables", "keys", "insert", "window"}


def test_servers_that_are_away_are_each_told_soon_and_what_is_there_is_looked_at(world: World) -> None:
    world.set("source/dsn", "postgresql://reader:hunter2@127.0.0.1:1/nowhere")
    started = time.monotonic()
    found = world.check()
    assert time.monotonic() - started < 60
    (told,) = [f for f in found if f.level is Level.FAIL]
    assert told.area == "reach"
    assert "cannot connect to the source (reader@127.0.0.1:1/nowhere)" in told.seen
    assert "hunter2" not in repr(found)
    assert any("the registry's key (job_id) is unique" in f.seen for f in found)


def test_with_every_server_away_nothing_but_that_is_told(world: World) -> None:
    world.set("source/dsn", AWAY)
    world.set("registry/dsn", AWAY)
    failures = [f for f in world.check() if f.level is Level.FAIL]
    assert [f.area for f in failures] == ["reach", "reach", "ledger"]


def test_an_unknown_data_type_and_an_impossible_window_are_errors_of_usage(world: World) -> None:
    with pytest.raises(SettingsError, match="no data type 'jop'"):
        world.check(names=["jop"])
    with pytest.raises(SettingsError, match="means nothing"):
        world.check(since="yesterday")
    with pytest.raises(SettingsError, match="lies ahead"):
        world.check(since="2999-01-01T00:00:00Z")


def test_a_role_whose_sessions_end_before_a_snapshot_may_is_told_with_the_statement_that_mends_it(
    world: World, role: Role
) -> None:
    """Failure mode 85: a limit that a long compare would meet in the middle."""
    dsn = role(world.source, "short_lived", "ALTER ROLE THE_ROLE SET idle_in_transaction_session_timeout = '29min'")
    world.set("source/dsn", dsn)
    (told,) = [f for f in world.check() if (f.level, f.area) == (Level.WARN, "reach")]
    assert "idle_in_transaction_session_timeout is 1740000 ms" in told.seen
    assert told.try_ == "ALTER ROLE short_lived SET idle_in_transaction_session_timeout = 0"
    role(world.source, "short_lived", "ALTER ROLE THE_ROLE SET idle_in_transaction_session_timeout = '31min'")
    assert not any((f.level, f.area) == (Level.WARN, "reach") for f in world.check())


def test_swapped_connection_strings_are_named(world: World) -> None:
    world.set("source/dsn", world.registry)
    world.set("registry/dsn", world.source)
    assert any("swapped" in seen for seen in world.told(Level.FAIL, "identity"))


def test_a_source_that_is_its_own_registry_is_named(world: World) -> None:
    world.set("registry/dsn", world.source)
    world.set("data_types/job/registry", {"table": "public.jobs", "key": "id"})
    assert any("source and registry are one table" in seen for seen in world.told(Level.FAIL, "identity"))


def test_a_standby_declared_a_primary_and_a_primary_declared_a_standby_are_named(world: World, postgres: Postgres) -> None:
    with postgres.standby() as standby:
        database = world.source.rpartition("/")[2]
        world.set("source/dsn", standby.dsn(database))
        assert any("a standby and not a primary" in seen for seen in world.told(Level.FAIL, "reach"))
        world.set("source/kind", "standby")
        world.set("source/primary", world.source)
        assert world.told(Level.FAIL, "reach") == world.told(Level.FAIL, "identity") == []
        world.set("source/primary", standby.dsn(database))
        assert any("source's primary is in recovery" in seen for seen in world.told(Level.FAIL, "reach"))
        world.set("source/primary", world.source)
        world.set("source/dsn", world.source)
        assert any("not in recovery" in seen for seen in world.told(Level.FAIL, "reach"))


def test_a_standby_of_another_server_is_named(world: World, postgres16: Postgres) -> None:
    name = "another_server"
    other = postgres16.create_database(name)
    try:
        world.set("source/kind", "standby")
        world.set("source/primary", other)
        assert any("is no standby of its primary" in seen for seen in world.told(Level.FAIL, "identity"))
    finally:
        postgres16.drop_database(name)


def test_a_copy_that_is_its_own_origin_is_named(world: World) -> None:
    world.set("source/kind", "copy")
    world.set("source/origin", world.source)
    assert any("are the same database" in seen for seen in world.told(Level.FAIL, "identity"))


def test_a_registry_that_starts_read_only_is_named(world: World) -> None:
    database = world.registry.rpartition("/")[2]
    world.on_registry(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    assert any("read-only" in seen for seen in world.told(Level.FAIL, "reach"))


def test_clocks_are_told_apart_beyond_what_the_question_itself_took() -> None:
    s = timedelta(seconds=1)
    ours, theirs = Clock("this machine", 0 * s, 0 * s), Clock("the source", 12 * s, s)
    told, *others = judged([ours, theirs, Clock("the registry", 3 * s, s)], 5 * s)
    assert told.level is Level.WARN
    assert [f.seen.split(" are ")[1][:5] for f in others] == ["7.0 s"]  # source and registry, each way
    assert told.seen == "the clocks of this machine and the source are 11.0 s apart; fence.skew is 5s"
    assert [f.level for f in judged([ours, Clock("the source", 6 * s, 2 * s)], 5 * s)] == [Level.OK]


def test_an_absent_ledger_is_fine_and_is_not_created(world: World) -> None:
    (seen,) = world.told(Level.OK, "ledger")
    assert "no ledger yet" in seen
    with closing(Ledger.of(world.settings)) as ledger:
        assert not ledger.exists()


def test_a_ledger_that_nobody_may_create_is_a_failure(world: World, role: Role) -> None:
    world.set("ledger/dsn", role(world.registry, "bare_owner"))
    assert any("may not create it" in seen for seen in world.told(Level.FAIL, "ledger"))


def test_the_ledgers_memory_is_held_against_what_is_there_now(world: World) -> None:
    with closing(Ledger.of(world.settings)) as ledger:
        ledger.upgrade()
        with ledger.begin() as connection:
            remember_kinds(connection, {"job": ("uuid",)})
        assert any("are of kind uuid, the source's are now int" in seen for seen in world.told(Level.FAIL, "ledger"))
        assert world.told(Level.FAIL, "identity") == []
        stranger = identity.Identity(side="source", system="1", timeline=1, database_oid=1, database="x", lsn=1, xid=1)
        identity.record(ledger, stranger)
        assert any("this is another server" in seen for seen in world.told(Level.FAIL, "identity"))


def test_what_the_front_door_looks_at_is_told_too_and_its_errors_are_findings(world: World) -> None:
    def away() -> list[object]:
        raise UnavailableError("the broker is away")

    assert world.told(Level.FAIL, "log", log_check=away) == ["the broker is away"]
    assert world.told(Level.FAIL, "rehearsal", rehearsals=away) == []
    assert world.told(Level.FAIL, "rehearsal", rehearsals=away, rehearse=True) == ["the broker is away"]
