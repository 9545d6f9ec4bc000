"""`grants.sql`, really run: its three roles are enough for the work and for a clean `check`, and for nothing more."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from databases.connect import connect
from databases.ledger import Ledger
from reconciler.catalog import facts
from reconciler.preflight import Level
from reconciler.snapshot import Limits, snapshot
from schemas.settings import Dsn
from tests.reconciler.preflight.conftest import REGISTRY, SOURCE, World
from tests.stack.postgres import Postgres, binaries

GRANTS = Path(__file__).parents[3] / "grants.sql"
OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
Granted = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def granted(postgres_any: Postgres) -> Iterator[Granted]:
    """Run grants.sql with psql of the server's own version; the roles go with the test."""

    def run(dsn: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return _psql(postgres_any, dsn, **variables)

    yield run
    with postgres_any.connect() as admin:  # their grants went with the databases
        for name in ("fencepost_reader", "fencepost_writer", "fencepost"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _psql(server: Postgres, dsn: str, **variables: str) -> subprocess.CompletedProcess[str]:
    psql = str(binaries(server.major) / "psql")
    words = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    return subprocess.run([psql, "-X", dsn, *words, "-f", str(GRANTS)], capture_output=True, text=True, check=False)


@pytest.fixture
def granted_world(postgres_any: Postgres, granted: Granted) -> Iterator[World]:
    """A world whose settings use the three roles."""
    names = ("granted_source", "granted_target")
    source, target = [postgres_any.create_database(name) for name in names]
    world = World(source, target)
    world.on_source(SOURCE)
    # A serial id draws from a sequence, which needs a grant of its own.
    world.on_registry(REGISTRY.replace("bigint GENERATED ALWAYS AS IDENTITY", "serial"))
    try:
        for _ in range(2):  # it may be run again
            for dsn, words in (
                (world.source, {"side": "source", "tables": "public.jobs"}),
                (world.registry, {"side": "registry", "tables": " public.job_registry "}),
                (world.registry, {"side": "ledger"}),
            ):
                done = granted(dsn, **words)
                assert (done.returncode, done.stderr) == (0, "")
        world.set("source/dsn", world.source.replace("postgres@", "fencepost_reader@"))
        world.set("registry/dsn", world.registry.replace("postgres@", "fencepost_writer@"))
        world.set("ledger/dsn", world.registry.replace("postgres@", "fencepost@"))
        yield world
    finally:
        for name in names:
            postgres_any.drop_database(name)


def test_check_finds_nothing_missing_and_nothing_too_much(granted_world: World) -> None:
    found = granted_world.check(since="2h", rehearse=True)
    spoken_in_clear = "transport"  # a warning of its own: this world's broker is
    assert [f.seen for f in found if f.level is not OK and f.area != spoken_in_clear] == []
    assert any("can read and cannot write" in f.seen for f in found)


def test_a_table_of_partitions_in_a_schema_of_their_own_is_granted_whole(granted_world: World, granted: Granted) -> None:
    granted_world.on_source(
        "CREATE SCHEMA parts; CREATE TABLE public.p (id text, n int, created_at timestamptz) PARTITION BY LIST (n);"
        "CREATE TABLE parts.p_1 PARTITION OF public.p FOR VALUES IN (1)"
    )
    granted_world.on_registry("ALTER TABLE public.job_registry ALTER job_id TYPE text")
    granted_world.set("data_types/job/source/table", "public.p")
    assert granted_world.told(FAIL, "tables") != []
    assert granted(granted_world.source, side="source", tables="public.jobs, public.p").returncode == 0
    assert granted_world.told(FAIL, "tables") == []


def test_the_reader_takes_a_snapshot_and_can_write_nothing(granted_world: World) -> None:
    """Failure mode S12."""
    settings = granted_world.settings
    with closing(connect(settings.source.dsn, "the source")) as db:
        for statement in (b"INSERT INTO public.jobs VALUES (0, 1, 'x', now())", b"CREATE TEMP TABLE t (a int)"):
            with pytest.raises((psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)):
                db.execute(statement)
        db.execute("SET default_transaction_read_only = off")
        for statement in (b"INSERT INTO public.jobs VALUES (0, 1, 'x', now())", b"DELETE FROM public.jobs"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(statement)
    with closing(connect(settings.source.dsn, "the source", read_only=True)) as db:
        table = facts(db, "the source", "public.jobs", ["id"]).table
    with snapshot(settings.source.dsn, "the source", [table], Limits.of(settings.source)) as taken:
        assert taken.first.execute("SELECT count(*) FROM public.jobs").fetchone() == (500,)


def test_the_writer_inserts_and_takes_back_and_changes_nothing_that_stands(granted_world: World) -> None:
    with closing(connect(granted_world.settings.registry.dsn, "the registry")) as db:
        db.execute("INSERT INTO public.job_registry (job_id, created_at) VALUES (9000, now()) RETURNING id")
        assert db.execute("DELETE FROM public.job_registry WHERE job_id = 9000").rowcount == 1
        with db.transaction():  # the lock of a registry without a unique index
            db.execute("LOCK TABLE public.job_registry IN SHARE ROW EXCLUSIVE MODE")
        for statement in (b"UPDATE public.job_registry SET state = 0", b"TRUNCATE public.job_registry"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(statement)


def test_the_owner_creates_the_ledger_and_reaches_no_table_of_others(granted_world: World, granted: Granted) -> None:
    dsn = granted_world.settings.ledger_dsn
    with closing(Ledger(dsn, "fencepost")) as ledger:
        assert ledger.upgrade()
    with closing(connect(dsn, "the ledger")) as db:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT FROM public.job_registry")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("CREATE SCHEMA another")
    # Once the ledger is there, the writer may journal in the registry's own transaction, and see nothing else of it.
    assert granted(granted_world.registry, side="ledger").returncode == 0
    with closing(connect(granted_world.settings.registry.dsn, "the registry")) as db:
        db.execute("SELECT FROM fencepost.backfill")
        with db.transaction():
            db.execute("SELECT FROM fencepost.lease FOR KEY SHARE")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT FROM fencepost.run")


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "say which side this is"),
        ({"side": "sauce"}, "say which side this is"),
        ({"side": "source"}, "say which tables"),
        ({"side": "source", "tables": "public.nowhere"}, 'relation "public.nowhere" does not exist'),
    ],
)
def test_a_wrong_call_says_so_and_leaves_nothing_behind(
    database: str, postgres: Postgres, variables: dict[str, str], why: str
) -> None:
    done = _psql(postgres, database, reader="left_behind", **variables)
    assert done.returncode != 0
    assert why in done.stderr
    with psycopg.connect(database) as db:
        assert db.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'left_behind'").fetchone() == (0,)


def test_names_of_any_spelling_can_be_granted(database_any: str, postgres_any: Postgres) -> None:
    odd = 'odd "reader"; drop'
    with psycopg.connect(database_any, autocommit=True) as db:
        db.execute('CREATE SCHEMA "Weird Schema"; CREATE TABLE "Weird Schema"."We""ird" (id int)')
        done = _psql(postgres_any, database_any, side="source", reader=odd, tables='"Weird Schema"."We""ird"')
        try:
            assert (done.returncode, done.stderr) == (0, "")
            table = '"Weird Schema"."We""ird"'
            assert db.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [odd, table]).fetchone() == (True,)
        finally:
            db.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(odd)))


@pytest.mark.parametrize(
    ("grants", "level", "why"),
    [
        ((), FAIL, "no SELECT on public.jobs"),
        (("GRANT SELECT (id, created_at) ON public.jobs TO THE_ROLE",), FAIL, "some columns alone do not allow its lock"),
        (("GRANT SELECT, INSERT ON public.jobs TO THE_ROLE",), WARN, "may write public.jobs"),
        (("GRANT SELECT, UPDATE (name) ON public.jobs TO THE_ROLE",), WARN, "may write public.jobs"),
        (("GRANT SELECT ON public.jobs TO THE_ROLE",), WARN, "does not see what other sessions are"),
        (("GRANT SELECT ON public.jobs TO THE_ROLE", "ALTER ROLE THE_ROLE CREATEDB"), WARN, "may create roles or databases"),
        (("GRANT SELECT ON public.jobs TO THE_ROLE", "ALTER ROLE THE_ROLE CONNECTION LIMIT 3"), FAIL, "allows the role"),
    ],
)
def test_a_source_role_with_too_little_or_too_much_is_told(
    world: World, role: Callable[..., str], grants: tuple[str, ...], level: Level, why: str
) -> None:
    """Failure mode S12."""
    world.set("source/dsn", role(world.source, "some_reader", *grants))
    assert any(why in f.seen for f in world.check() if f.level is level)


@pytest.mark.parametrize(
    ("grants", "level", "why"),
    [
        (("GRANT SELECT ON public.job_registry TO THE_ROLE",), FAIL, "it lacks INSERT (job_id, state, created_at)"),
        (
            ("GRANT SELECT, INSERT (job_id, state) ON public.job_registry TO THE_ROLE",),
            FAIL,
            "it lacks INSERT (created_at) ON public.job_registry",
        ),
        (("GRANT SELECT, INSERT ON public.job_registry TO THE_ROLE",), WARN, "cannot take back from public.job_registry"),
        (("GRANT ALL ON public.job_registry TO THE_ROLE",), WARN, "may TRUNCATE public.job_registry"),
    ],
)
def test_a_registry_role_with_too_little_or_too_much_is_told(
    world: World, role: Callable[..., str], grants: tuple[str, ...], level: Level, why: str
) -> None:
    world.set("registry/dsn", role(world.registry, "some_writer", *grants))
    assert any(why in seen for seen in world.told(level, "grants"))


def test_a_sequence_that_the_writer_may_not_use_is_told(world: World, role: Callable[..., str]) -> None:
    world.on_registry(
        "ALTER TABLE public.job_registry ALTER id DROP IDENTITY; CREATE SEQUENCE public.numbers;"
        "ALTER TABLE public.job_registry ALTER id SET DEFAULT nextval('public.numbers')"
    )
    dsn = role(world.registry, "some_writer", "GRANT SELECT, INSERT, DELETE ON public.job_registry TO THE_ROLE")
    world.set("registry/dsn", dsn)
    assert any("lacks USAGE ON SEQUENCE public.numbers" in seen for seen in world.told(FAIL, "grants"))
    with closing(connect(Dsn(dsn), "the registry")) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("INSERT INTO public.job_registry (job_id, created_at) VALUES (9000, now())")
