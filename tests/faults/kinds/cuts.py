"""Connections that end in the middle: cut on the way, ended by an administrator, by a timeout of the role."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, NO_VERDICT, WITHHELD, Fault, Inject
from tests.faults.phases import Phase
from tests.faults.tap import Cut
from tests.faults.world import World
from tests.stack.processes import wait_until


def cut_at(phase: Phase) -> Inject:
    def inject(world: World) -> Iterator[None]:
        def cut() -> None:
            world.cut()
            raise Cut

        world.lost()
        world.at(phase, cut)
        yield

    return inject


def ledger_away(world: World) -> Iterator[None]:
    """The rows are written, the verdict cannot be stored: nothing may be said that nobody can read again."""

    def refuse() -> None:
        world.taps["ledger"].refuse()
        raise Cut

    world.lost()
    world.at(Phase.VERDICT, refuse)
    yield
    world.taps["ledger"].accept()


def ledger_full(world: World) -> Iterator[None]:
    """No event can be stored any more: to the one who stores, a full disk is this error."""
    assert world.run("gaps").code in (0, 3)  # the ledger is there
    with psycopg.connect(world.target) as db:
        db.execute(
            "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
        db.execute("CREATE TRIGGER full_disk BEFORE INSERT ON fencepost.segment EXECUTE FUNCTION no_space()")
    world.live(10, lossy=False)
    world.lost(count=2)
    yield
    with psycopg.connect(world.target) as db:
        db.execute("DROP FUNCTION no_space CASCADE")


def terminated(world: World) -> Iterator[None]:
    """pg_terminate_backend on all our sessions of the source, while its snapshot is read."""

    def end() -> None:
        with psycopg.connect(world.source, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    world.lost()
    world.at(Phase.COMPARE, end)
    yield


def idle_timeout(setting: str) -> Inject:
    """A default of role or database ends our transaction while it waits for the other side."""

    def inject(world: World) -> Iterator[None]:
        name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
        with psycopg.connect(world.source, autocommit=True) as db:
            db.execute(f"ALTER DATABASE {name} SET {setting} = '2s'")  # not so short that it strikes a busy machine earlier

        def until_it_struck() -> None:
            wait_until(lambda: in_transaction(world) == 0, f"{setting} has struck")

        world.lost()
        world.at(Phase.COMPARE, until_it_struck)
        yield
        with psycopg.connect(world.source, autocommit=True) as db:
            db.execute(f"ALTER DATABASE {name} RESET {setting}")

    return inject


def in_transaction(world: World) -> int:
    with psycopg.connect(world.source) as db:
        row = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fencepost'"
            " AND backend_xmin IS NOT NULL"
        ).fetchone()
    return int(row[0]) if row else 0


def short_statement_timeout(world: World) -> Iterator[None]:
    """A default that ends statements after a moment; where it strikes is left to chance."""
    name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET statement_timeout = '2ms'")
    world.extra = {**world.extra, "source/statement_timeout": "1m"}
    yield
    with psycopg.connect(world.source, autocommit=True, options="-c statement_timeout=0") as db:
        db.execute(f"ALTER DATABASE {name} RESET statement_timeout")


FAULTS = {
    **{
        f"connections cut: {phase.name.lower()}": Fault(
            about=f"every connection is cut ({words})",
            modes=(15, 64),
            inject=cut_at(phase),
            right=WITHHELD,
            slow=phase in (Phase.FENCE, Phase.LOG, Phase.AGAIN),
        )
        for phase, words in {
            Phase.FENCE: "when the fence is taken",
            Phase.LOG: "while events are stored",
            Phase.SLICES: "between the slices of a snapshot",
            Phase.INSERT: "at the first insert of the backfill",
            Phase.AGAIN: "before the second compare",
            Phase.VERDICT: "when the verdict is to be stored",
        }.items()
    },
    "ledger away at the verdict": Fault(
        about="the ledger cannot be reached when the verdict is to be stored",
        modes=(64,),
        inject=ledger_away,
        right=NO_VERDICT,
    ),
    "ledger full": Fault(
        about="the ledger has no room for what the log says",
        modes=(87,),
        inject=ledger_full,
        right=WITHHELD,
        names="No space left on device",
    ),
    "sessions terminated": Fault(
        about="an administrator ends our sessions in the middle of the compare", modes=(15,), inject=terminated, right=WITHHELD
    ),
    "idle timeout": Fault(
        about="`idle_in_transaction_session_timeout` ends the snapshot while the other side is asked",
        modes=(15,),
        inject=idle_timeout("idle_in_transaction_session_timeout"),
        right=WITHHELD,
    ),
    "transaction timeout": Fault(
        slow=True,
        about="`transaction_timeout` ends the snapshot in the middle of the compare",
        modes=(15,),
        inject=idle_timeout("transaction_timeout"),
        right=WITHHELD,
    ),
    "statement timeout of the role": Fault(
        slow=True,
        about="the database's default ends statements after two milliseconds",
        modes=(15,),
        inject=short_statement_timeout,
        right=CLEAR | WITHHELD,
    ),
}
