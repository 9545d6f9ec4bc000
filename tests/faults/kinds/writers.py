"""Writers that are still at work: their rows are dated before the fence and become visible after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.faults.contract import CANNOT_TELL, CLEAR, CLEAR_OR_GAPS, GAPS, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

INSERT = "INSERT INTO items (id, created_at) VALUES (%s, now() - interval '1 hour')"


@contextmanager
def writer(world: World, name: str = "a-late-writer") -> Iterator[psycopg.Connection[Any]]:
    """A session whose transaction stays open until it is told, or the fault ends."""
    db = psycopg.connect(world.source, application_name=name)
    try:
        yield db
    finally:
        db.close()


def late_commit(world: World) -> Iterator[None]:
    """It commits while the fence waits for it, once the fence has listed it."""
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])
        world.at(Phase.WAITING, db.commit)
        yield


def begun(world: World) -> Iterator[None]:
    """A transaction that has fixed its `now()` and written nothing yet: it has no transaction id."""
    with writer(world) as db:
        db.execute("SELECT now()")

        def write_then_commit() -> None:
            db.execute("INSERT INTO items (id) VALUES (%s)", [world.new_id()])
            db.commit()

        world.at(Phase.WAITING, write_then_commit)
        yield


def idle(world: World) -> Iterator[None]:
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])
        yield
        db.commit()


def prepared(world: World) -> Iterator[None]:
    gid = f"left-{world.rng.randrange(1 << 30)}"
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])
        db.execute(f"PREPARE TRANSACTION '{gid}'")
        db.commit()
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"COMMIT PREPARED '{gid}'")


def prepared_while_waited_for(world: World) -> Iterator[None]:
    """The transaction that is waited for gives up its virtual id, and has not ended."""
    gid = f"slipped-{world.rng.randrange(1 << 30)}"
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])

        def prepare() -> None:
            db.execute(f"PREPARE TRANSACTION '{gid}'")
            db.commit()

        world.at(Phase.WAITING, prepare)
        yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"COMMIT PREPARED '{gid}'")


def masked(world: World) -> Iterator[None]:
    """Our role may not see other sessions' activity, and the writer's session does not track it."""
    with writer(world) as db:
        db.execute("SET track_activities = off")
        db.commit()
        db.execute(INSERT, [world.new_id()])
        role = f"plain_reader_{world.mark}"
        with psycopg.connect(world.source, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {role} LOGIN")
            admin.execute(f"GRANT SELECT ON items, parts TO {role}")
        dsn = world.wired("source", world.source).replace("postgres:", f"{role}:")
        world.extra = {**world.extra, "source/dsn": dsn}
        yield
        db.commit()
    with psycopg.connect(world.source, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")


def after_the_fence(world: World) -> Iterator[None]:
    """A new session inserts, between the two compares, a row dated last year: no fence can have waited for it."""

    def insert() -> None:
        with psycopg.connect(world.source) as db:
            db.execute("INSERT INTO items (id, created_at) VALUES (%s, now() - interval '1 year')", [world.new_id()])

    world.lost()
    world.at(Phase.AGAIN, insert)
    yield


def during_the_scan(world: World) -> Iterator[None]:
    """It begins after the fence and commits while the first snapshot is read."""

    def insert() -> None:
        with psycopg.connect(world.source) as db:
            db.execute(INSERT, [world.new_id()])

    world.lost()
    world.at(Phase.COMPARE, insert)
    yield


FAULTS = {
    "late commit": Fault(
        about="a writer that was open at the fence commits while it is waited for; its row is dated an hour ago",
        modes=(1, 2),
        inject=late_commit,
        right=CLEAR,
    ),
    "transaction without an id": Fault(
        about="a transaction has begun, fixed its time, and writes only once the fence waits",
        modes=(2,),
        inject=begun,
        right=CLEAR,
    ),
    "idle in transaction": Fault(
        about="a session wrote, and neither commits nor ends",
        modes=(2, 3),
        inject=idle,
        right=CANNOT_TELL,
        asks=("--wait", "1s"),
        names="a-late-writer",
    ),
    "prepared transaction": Fault(
        about="a prepared transaction holds a row that nobody can see",
        modes=(2,),
        inject=prepared,
        right=CANNOT_TELL,
        asks=("--wait", "1s"),
        names="left-",
    ),
    "prepared while waited for": Fault(
        about="the transaction that the fence waits for is prepared meanwhile, not ended",
        modes=(2,),
        inject=prepared_while_waited_for,
        right=CANNOT_TELL,
        asks=("--wait", "1s"),
        names="slipped-",
    ),
    "role without sight": Fault(
        about="our role sees no activity of others, and the writer's session does not track it",
        modes=(2,),
        inject=masked,
        right=CANNOT_TELL,
        asks=("--wait", "1s"),
    ),
    "writer between the compares": Fault(
        about="a new session inserts a backdated row after the first compare",
        modes=(3, 4),
        inject=after_the_fence,
        right=GAPS,
    ),
    "commit during the scan": Fault(
        about="a session that began after the fence commits while the first snapshot is read",
        modes=(1, 3),
        inject=during_the_scan,
        right=CLEAR_OR_GAPS,
    ),
}
