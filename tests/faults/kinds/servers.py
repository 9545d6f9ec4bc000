"""Servers that die and come back, and servers that are not the ones that are meant."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CANNOT_TELL, CLEAR, WITHHELD, Fault, Inject, Said
from tests.faults.phases import Phase
from tests.faults.world import ITEM, World
from tests.stack.processes import wait_until

POSTGRES, KAFKA = frozenset({"postgres"}), frozenset({"kafka"})


def database_restarted(phase: Phase) -> Inject:
    def inject(world: World) -> Iterator[None]:
        def restart() -> None:
            world.server.kill()
            world.server.start()

        world.lost(count=3)
        world.at(phase, restart)
        yield

    return inject


def broker_killed(phase: Phase, *, comes_back: bool) -> Inject:
    def inject(world: World) -> Iterator[None]:
        def strike() -> None:
            world.kafka.kill()
            if comes_back:
                world.kafka.start()

        for key in world.lost(count=3):
            world.event(ITEM, key)
        world.flush()
        world.at(phase, strike)
        yield
        if not world.kafka.process.running:
            world.kafka.start()
            world.renew_producer()

    return inject


def standby(world: World, *, promoted: bool) -> Iterator[None]:
    """The source is a standby that has not replayed the last rows, or one that was promoted away from its primary."""
    world.lost(count=3)
    with world.server.standby() as server:
        wait_until(lambda: replayed(world, server.port), "the standby is up to date")
        if promoted:
            server.promote()
        else:
            server.pause_replay()
            world.lost(count=3)
        dsn = world.wired("source", world.source)
        there = dsn.replace(f":{world.taps['source'].port}/", f":{server.port}/")
        world.extra = {**world.extra, "source/dsn": there}
        if not promoted:
            world.extra |= {"source/kind": "standby", "source/primary": dsn}
        yield


def replayed(world: World, port: int) -> bool:

    with (
        psycopg.connect(world.source) as db,
        psycopg.connect(world.source.replace(f":{world.server.port}/", f":{port}/")) as copy,
    ):
        return db.execute("SELECT count(*) FROM items").fetchone() == copy.execute("SELECT count(*) FROM items").fetchone()


def lagging(world: World) -> Iterator[None]:
    yield from standby(world, promoted=False)


def promoted(world: World) -> Iterator[None]:
    assert world.run("gaps").code in (0, 3)  # whom we mean is recorded
    yield from standby(world, promoted=True)


def restored(world: World, *, used_since: bool) -> Iterator[None]:
    """The files of a stopped server, put back beside it: the same system, timeline and oid, and an older history."""
    assert world.run("gaps").code in (0, 3)
    with world.server.copied() as copy:
        world.live(20, lossy=False)
        assert world.run("cutover").code == 0  # how far its history had come is recorded
        world.live(30, lossy=False)
        world.lost(count=3)
        there = world.source.replace(f":{world.server.port}/", f":{copy.port}/")
        if used_since:
            overtake(world.source, there)
        wired = world.wired("source", world.source)
        world.extra = {**world.extra, "source/dsn": wired.replace(f":{world.taps['source'].port}/", f":{copy.port}/")}
        yield


def overtake(original: str, copy: str) -> None:
    """Work on the copy until neither WAL nor transaction ids stand behind the original's."""
    place = "SELECT pg_current_wal_lsn() - '0/0', pg_current_xact_id()::text::bigint"
    with psycopg.connect(original, autocommit=True) as db, psycopg.connect(copy, autocommit=True) as other:
        lsn, xid = db.execute(place).fetchone() or (0, 0)
        while (other.execute(place).fetchone() or (0, 0))[1] <= xid:
            pass  # to ask is to use one
        while (other.execute(place).fetchone() or (0, 0))[0] <= lsn:
            other.execute("SELECT pg_switch_wal()")


def clone(*, used_since: bool) -> Inject:
    return lambda world: restored(world, used_since=used_since)


FAULTS = {
    **{
        f"database restarted: {phase.name.lower()}": Fault(
            about=f"the database server is killed and started again {words}",
            modes=(15, 64),
            inject=database_restarted(phase),
            right=WITHHELD,
            stops=POSTGRES,
            slow=phase is not Phase.COMPARE,
        )
        for phase, words in {
            Phase.FENCE: "when the fence is taken",
            Phase.LOG: "while events are stored",
            Phase.SNAPSHOT: "when the snapshot is to be taken",
            Phase.SLICES: "between the slices of a snapshot",
            Phase.COMPARE: "in the middle of the compare",
            Phase.INSERT: "at the first insert",
            Phase.AGAIN: "before the second compare",
            Phase.VERDICT: "when the verdict is to be stored",
        }.items()
    },
    **{
        f"broker killed: {phase.name.lower()}": Fault(
            about=f"the broker is killed {words}, and stays away",
            modes=(15,),
            inject=broker_killed(phase, comes_back=False),
            right=WITHHELD | CLEAR,
            asks=("--wait", "3s"),
            stops=KAFKA,
            slow=True,
        )
        for phase, words in {
            Phase.FENCE: "before the log is read",
            Phase.LOG: "while events are stored",
            Phase.COMPARE: "in the middle of the compare",
            Phase.INSERT: "at the first insert",
            Phase.VERDICT: "when the verdict is to be stored",
        }.items()
    },
    **{
        f"broker restarted: {phase.name.lower()}": Fault(
            about=f"the broker is killed {words}, and comes back",
            modes=(42,),
            inject=broker_killed(phase, comes_back=True),
            right=CLEAR | WITHHELD,  # held up for long, a session is ended by its own idle timeout
            stops=KAFKA,
            slow=True,
        )
        for phase, words in {
            Phase.LOG: "while events are stored",
            Phase.COMPARE: "in the middle of the compare",
            Phase.INSERT: "at the first insert",
        }.items()
    },
    "broker restarted": Fault(
        about="the broker is killed before the log is read, and comes back",
        modes=(42,),
        inject=broker_killed(Phase.FENCE, comes_back=True),
        right=CLEAR | CANNOT_TELL,  # it may not answer yet
        stops=KAFKA,
        slow=True,
    ),
    "standby behind": Fault(
        about="the source is a standby whose replay stands still",
        modes=(9,),
        inject=lagging,
        right=CANNOT_TELL | {Said.NOTHING},
        asks=("--wait", "1s"),
        stops=POSTGRES,
    ),
    "standby promoted": Fault(
        about="the DSN of the source leads to a promoted copy of the server that was recorded",
        modes=(11, 22),
        inject=promoted,
        right=CANNOT_TELL,
        writes=False,
        stops=POSTGRES,
    ),
    "clone restored": Fault(
        about="the source is a restored copy of itself, behind what was recorded",
        modes=(11,),
        inject=clone(used_since=False),
        right=CANNOT_TELL,
        writes=False,
        names="its history went back",
        stops=POSTGRES,
    ),
    "clone restored, and used since": Fault(
        about="the same, and the copy's WAL and transaction ids have overtaken what was recorded",
        modes=(11,),
        inject=clone(used_since=True),
        right=CANNOT_TELL,
        writes=False,
        stops=POSTGRES,
        slow=True,
    ),
}
