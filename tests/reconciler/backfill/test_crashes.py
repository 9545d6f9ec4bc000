"""Killed between any two statements, on either side: the next run finishes, nothing is doubled, nothing is lost."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from reconciler.backfill import backfill, undo, writer
from schemas.errors import FencepostError, RefusedWrite
from schemas.settings import BackfillSettings
from tests.reconciler.backfill.conftest import BOTH, World
from tests.stack.processes import wait_until

GONE_LATE = {3, 4, 15}


class Killed(BaseException):
    """As kill -9: nothing is tidied up by the process."""


class Reaper:
    """Counts the statements of the connections given to it, and ends the process at one of them: every socket is cut."""

    def __init__(self, at: int) -> None:
        self.at, self.count, self.connections = at, itertools.count(1), list[psycopg.Connection[Any]]()

    def watching(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        self.connections.append(connection)
        original = connection.execute

        def execute(*args: Any, **options: Any) -> Any:
            if next(self.count) == self.at:
                self.kill()
            return original(*args, **options)

        connection.execute = execute  # type: ignore[method-assign]
        return connection

    def kill(self) -> None:
        for connection in self.connections:
            connection.close()
        raise Killed


def crash(world: World, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Backfill rows 1 to 20, of which some are deleted right after their insert was committed; True where it was killed."""
    reaper, run = Reaper(at), world.run()
    real = writer._ledger_connection

    @contextlib.contextmanager
    def beside(ledger: Any) -> Iterator[psycopg.Connection[Any]]:
        with real(ledger) as connection:
            yield reaper.watching(connection)

    monkeypatch.setattr(writer, "_ledger_connection", beside)
    committed = writer._transaction

    @contextlib.contextmanager
    def deleting(connection: psycopg.Connection[Any], begin: bytes) -> Iterator[None]:
        with committed(connection, begin):
            yield
            if begin is writer._BEGIN:
                world.on_source("DELETE FROM items WHERE id = ANY (%s) AND id <= %s", list(GONE_LATE), _top(connection))

    monkeypatch.setattr(writer, "_transaction", deleting)
    held = world.lease(run)  # not entered: nobody renews for a dead process
    try:
        backfill(
            BackfillSettings(batch=10),
            world.ledger,
            run,
            [world.job(range(1, 21))],
            source=world.to_source,
            registry=lambda: reaper.watching(world.to_registry()),
            lease=held,
        )
    except Killed:
        return True
    finally:
        monkeypatch.undo()
        world.forget_the_lease()
    return False


def _top(connection: psycopg.Connection[Any]) -> int:
    """The highest key that this transaction can see: of the batch it is about to commit."""
    row = connection.cursor().execute("SELECT coalesce(max(item_id), 0) FROM public.item_registry").fetchone()
    assert row
    return int(row[0])


@BOTH
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_statement_the_next_run_finishes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failure mode 64."""
    killed = 0
    for at in itertools.count(1):
        world.on_registry("TRUNCATE item_registry")
        world.on_source("INSERT INTO items SELECT g FROM generate_series(1, 20) g ON CONFLICT DO NOTHING")
        if not crash(world, at, monkeypatch):
            break
        killed += 1
        finished = world.finish()
        assert finished.left == ()
        assert world.finish().batches == 0
        world.backfill(range(1, 21))
        assert world.registered() == [row[0] for row in world.on_source("SELECT id FROM items WHERE id <= 20 ORDER BY 1")]
        assert not {"planned", "inserted"} & set(world.steps())
        _undone_exactly(world)
    assert killed > 15
    assert world.registered() == [k for k in range(1, 21) if k not in GONE_LATE]


def _undone_exactly(world: World) -> None:
    """Between them the two runs inserted every row, and each one once."""
    before, removed = world.registered(), list[Any]()
    for (run,) in world.on_ledger("SELECT DISTINCT run FROM fencepost.backfill"):
        undone = world.undo(run)
        if undone is not None:
            assert not len(undone.touched)
            removed += undone.removed
    assert sorted(removed) == before
    assert world.registered() == []
    world.on_ledger("DELETE FROM fencepost.backfill")


@BOTH
def test_a_row_deleted_while_it_is_inserted_is_taken_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not crash(world, -1, monkeypatch)
    assert world.registered() == [k for k in range(1, 21) if k not in GONE_LATE]
    assert set(world.steps()) == {"reread"}


@BOTH
def test_a_ghost_that_somebody_touched_is_left_to_him(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run()

    def deleted(done: int, total: int | None) -> None:
        if done == 40:
            world.on_source("DELETE FROM items WHERE id IN (35, 36)")
            world.on_registry("UPDATE item_registry SET state = 1 WHERE item_id = 35")

    world.batch = 40
    with monkeypatch.context() as patch:
        # The second look comes late, so that there is time to touch the row.
        patch.setattr("reconciler.backfill.source.Source.look", _late(deleted))
        done = world.backfill(range(1, 41), run=run)
    assert sorted(done.taken_back) == [36]
    assert world.registered() == [k for k in range(1, 41) if k != 36]


def _late(before: Callable[[int, int | None], None]) -> Any:
    from reconciler.backfill.source import Source

    real, looks = Source.look, itertools.count(1)

    def look(self: Source, *args: Any) -> Any:
        if next(looks) == 2:
            before(40, 40)
        return real(self, *args)

    return look


@pytest.mark.parametrize("world", ["beside"], indirect=True)  # in one database the journal is part of that transaction
def test_a_transaction_still_open_is_waited_for_and_then_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run()
    with psycopg.connect(world.registry) as zombie:
        xid = zombie.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        zombie.execute("INSERT INTO item_registry (item_id, state, created_at) VALUES (1, 0, now())")
        job = world.job([1])
        target = world.on_registry(
            "SELECT jsonb_build_object('system', s.system_identifier::text, 'database', d.oid::bigint, 'table',"
            " jsonb_build_array('public', 'item_registry'), 'key', jsonb_build_array('item_id'))::text"
            " FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()"
        )[0][0]
        world.on_ledger(
            "INSERT INTO fencepost.backfill (run, data_type, batch, state, target, kinds, xid, planned, inserted)"
            " VALUES (%s, 'item', 0, 'planned', %s::jsonb, 'int', %s, %s, %s)",
            run, target, xid and xid[0], job.keys.serialize(), job.keys.serialize(),
        )  # fmt: skip
        monkeypatch.setattr("reconciler.backfill.aftermath._OPEN_FOR_S", 0.3)
        with pytest.raises(RefusedWrite, match=f"batch 0 of item of run {run} is still open"):
            world.finish()
        zombie.rollback()
    assert world.finish().batches == 1
    assert world.steps() == ["reread"]


@BOTH
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rows_deleted_between_compare_and_insert_never_come_back(world: World) -> None:
    """Failure mode 60: each round deletes at the source, then, as an applier does, in the registry."""
    random_ = random.Random(60)
    for _ in range(15):
        world.on_registry("TRUNCATE item_registry")
        world.on_source("INSERT INTO items SELECT g FROM generate_series(1, 100) g ON CONFLICT DO NOTHING")
        victims = random_.sample(range(1, 101), 30)
        applied = random_.sample(range(1, 101), 20)

        def live(victims: list[int] = victims, applied: list[int] = applied) -> None:
            with (
                psycopg.connect(world.source, autocommit=True) as source,
                psycopg.connect(world.registry, autocommit=True) as registry,
            ):
                for victim, late in itertools.zip_longest(victims, applied):
                    source.execute("DELETE FROM items WHERE id = %s", [victim])
                    registry.execute("DELETE FROM item_registry WHERE item_id = %s", [victim])
                    if late is not None and late not in victims:
                        registry.execute(
                            "INSERT INTO item_registry (item_id, state, created_at) VALUES (%s, 2, now())"
                            " ON CONFLICT (item_id) DO UPDATE SET state = 2", [late])  # fmt: skip
                    time.sleep(random_.random() / 500)

        world.batch = random_.choice([3, 10, 50])
        applier = threading.Thread(target=live)
        applier.start()
        done = world.backfill(range(1, 101))
        applier.join()
        left = [row[0] for row in world.on_source("SELECT id FROM items ORDER BY 1")]
        assert world.registered() == left
        assert len(done.inserted) + len(done.vanished) + len(done.already) == 100


@BOTH
def test_a_zombie_is_refused_between_two_batches_and_told_by_whom(world: World) -> None:
    def taken_over(done: int, total: int | None) -> None:
        if done == 30:
            world.forget_the_lease()
            world.lease("the other run", holder="bob@elsewhere pid 7")

    run = world.run()
    held = world.lease(run)
    with pytest.raises(RefusedWrite, match=r"bob@elsewhere pid 7 \(run the other run\) took it over"):
        backfill(
            BackfillSettings(batch=10),
            world.ledger,
            run,
            [world.job(range(1, 101))],
            source=world.to_source,
            registry=world.to_registry,
            lease=held,
            progress=taken_over,
        )
    assert world.registered() == list(range(1, 31))


@BOTH
def test_a_zombie_whose_lease_was_taken_takes_no_ghost_back_either(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run()
    world.backfill(range(1, 41), run=run)
    held = world.lease(world.run())
    world.forget_the_lease()
    world.lease("the other run", holder="bob")
    with pytest.raises(RefusedWrite, match="bob"):
        undo(world.ledger, run, registry=world.to_registry, lease=held)
    assert world.registered() == list(range(1, 41))


@BOTH
def test_a_paused_process_finds_its_transaction_ended_and_says_who_went_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused between its insert and its commit: the registry's server ends the transaction, the other one goes on."""
    for begin, usual in (("_BEGIN", b"1min"), ("_BEGIN_BESIDE", b"15min")):
        whole = getattr(writer, begin)
        assert b"_session_timeout = '%b'" % usual in whole
        # Shorter, but longer than a busy machine keeps us from the next statement.
        monkeypatch.setattr(writer, begin, whole.replace(b"_session_timeout = '%b'" % usual, b"_session_timeout = '1500ms'"))
    run, woken = world.run(), threading.Event()
    held = world.lease(run)
    real = writer.Writer.xid
    in_a_transaction = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fencepost'"
        " AND state LIKE 'idle in transaction%%'"
    )

    def paused(self: writer.Writer) -> int:
        wait_until(lambda: world.on_registry(in_a_transaction) == world.on_ledger(in_a_transaction) == [(0,)], "it is ended")
        world.forget_the_lease()
        world.lease("the other run", holder="bob")
        woken.set()
        return real(self)

    monkeypatch.setattr(writer.Writer, "xid", paused)
    with pytest.raises(FencepostError, match=r"bob \(run the other run\) took it over"):
        backfill(
            BackfillSettings(batch=10),
            world.ledger,
            run,
            [world.job(range(1, 101))],
            source=world.to_source,
            registry=world.to_registry,
            lease=held,
        )
    assert woken.is_set()
    assert world.registered() == []
