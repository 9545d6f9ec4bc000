"""One writer at a time: takeover, renewal, and what a stale holder may still do (nothing)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

import databases.ledger
from databases.ledger import Ledger
from reconciler import lease
from reconciler.lease import Held, Rank, Taken, acquire, holder_of
from schemas import ledger as tables
from schemas.errors import LedgerAway
from schemas.settings import Dsn
from tests.stack.processes import wait_until

SHORT = timedelta(milliseconds=300)


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    ledger = Ledger(Dsn(ledger_database), "fencepost")
    yield ledger
    ledger.close()


def held(found: Held | Taken) -> Held:
    assert isinstance(found, Held)
    return found


def taken(found: Held | Taken) -> Taken:
    assert isinstance(found, Taken)
    return found


def test_a_second_captain_is_told_whom_to_follow(ledger: Ledger) -> None:
    with held(acquire(ledger, "run-1", holder="ann")):
        other = taken(acquire(ledger, "run-2", holder="bob"))
        assert (other.holder, other.run) == ("ann", "run-1")
    assert holder_of(ledger) is None
    held(acquire(ledger, "run-2"))


def test_an_epoch_that_a_restored_ledger_gives_out_again_is_not_the_stale_holders(ledger: Ledger) -> None:
    zombie = held(acquire(ledger, "run-1"))
    with psycopg.connect(ledger.dsn.get_secret_value()) as db:  # as the backup has it
        db.execute("UPDATE fencepost.lease SET epoch = epoch - 1, holder = NULL, run = NULL, expires_at = NULL")
    mine = held(acquire(ledger, "run-2"))
    assert mine.epoch == zombie.epoch
    with psycopg.connect(ledger.dsn.get_secret_value()) as db:
        assert (mine.stands(db), zombie.stands(db)) == (True, False)
        assert db.execute(zombie.locked()).rowcount == 0
    assert not zombie.renew()
    zombie.release()
    assert mine.renew()


def test_of_many_captains_exactly_one_wins(ledger: Ledger) -> None:
    for _ in range(5):
        start, won = threading.Barrier(8), list[Held]()

        def try_it(start: threading.Barrier = start, won: list[Held] = won) -> None:
            start.wait()
            found = acquire(ledger, "run")
            if isinstance(found, Held):
                won.append(found)

        threads = [threading.Thread(target=try_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release()


def test_of_many_captains_of_a_ledger_without_any_lease_exactly_one_wins_and_none_fails(ledger: Ledger) -> None:
    """Several unique indexes hold the row, and an upsert waits at one of them only."""
    for _ in range(20):
        with ledger.begin() as connection:
            connection.execute(sa.delete(tables.lease))
        start = threading.Barrier(8)

        def try_it(start: threading.Barrier = start) -> Held | Taken:
            start.wait()
            return acquire(ledger, "run")

        with ThreadPoolExecutor(8) as captains:
            found = [done.result() for done in [captains.submit(try_it) for _ in range(8)]]
        (won,) = [one for one in found if isinstance(one, Held)]
        won.release()


def test_every_acquisition_and_release_raises_the_epoch(ledger: Ledger) -> None:
    epochs = []
    for _ in range(3):
        mine = held(acquire(ledger, "run"))
        epochs.append(mine.epoch)
        mine.release()
        mine.release()
    assert epochs == sorted(set(epochs))


def test_a_dead_holders_lease_is_free_when_it_expires_and_not_before(ledger: Ledger) -> None:
    dead = held(acquire(ledger, "run-1"))
    assert isinstance(acquire(ledger, "run-2"), Taken)
    dead.ttl = SHORT
    assert dead.renew()
    time.sleep(SHORT.total_seconds())
    second = held(acquire(ledger, "run-2"))
    assert second.epoch == dead.epoch + 1
    assert not dead.renew()
    assert dead.lost
    dead.release()  # another's is left alone
    assert second.renew()


def test_a_living_holder_keeps_it_by_renewal(ledger: Ledger) -> None:
    mine = held(acquire(ledger, "run-1"))
    mine.every = SHORT / 3
    first = expiry(ledger)
    with mine:
        wait_until(lambda: expiry(ledger) > first, "it is renewed")
        second = expiry(ledger)
        wait_until(lambda: expiry(ledger) > second, "it is renewed again")
        assert isinstance(acquire(ledger, "run-2"), Taken)
        assert not mine.lost


def expiry(ledger: Ledger) -> datetime:
    with psycopg.connect(ledger.dsn.get_secret_value()) as db:
        row = db.execute("SELECT expires_at FROM fencepost.lease WHERE expires_at IS NOT NULL").fetchone()
    assert row
    found: datetime = row[0]
    return found


def test_a_cutover_goes_before_a_sweep_but_not_before_a_cutover(ledger: Ledger) -> None:
    sweep = held(acquire(ledger, "sweep", rank=Rank.BACKGROUND))
    assert isinstance(acquire(ledger, "audit", rank=Rank.BACKGROUND), Taken)
    cutover = held(acquire(ledger, "cutover"))
    assert not sweep.renew()
    assert isinstance(acquire(ledger, "other", rank=Rank.CUTOVER), Taken)
    assert isinstance(acquire(ledger, "sweep", rank=Rank.BACKGROUND), Taken)
    assert "cutover" in str(sweep.refusal())
    cutover.release()


def test_a_refusal_names_who_took_it(ledger: Ledger) -> None:
    zombie = held(acquire(ledger, "run-1", ttl=timedelta(0)))
    held(acquire(ledger, "run-2", holder="bob@host pid 7"))
    refused = zombie.refusal()
    assert "bob@host pid 7 (run run-2) took it over" in str(refused)
    assert refused.hint


def test_a_takeover_waits_for_the_batch_being_written_and_a_renewal_does_not(
    ledger: Ledger, ledger_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE", timedelta(minutes=1))
    writer = held(acquire(ledger, "run-1", ttl=timedelta(0)))
    with psycopg.connect(ledger_database) as batch:
        assert batch.execute(writer.locked()).rowcount == 1
        assert writer.renew()
        writer.ttl = timedelta(0)
        assert writer.renew()  # expired again
        found: list[Held | Taken] = []
        rival = threading.Thread(target=lambda: found.append(acquire(ledger, "run-2")))
        rival.start()
        rival.join(0.5)
        assert rival.is_alive()
        batch.commit()
        rival.join()
        assert held(found[0]).epoch == writer.epoch + 1
        assert batch.execute(writer.locked()).rowcount == 0


def test_an_acquisition_does_not_wait_for_ever_for_a_batch(
    ledger: Ledger, ledger_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE", timedelta(milliseconds=200))
    writer = held(acquire(ledger, "run-1"))
    with psycopg.connect(ledger_database) as batch:
        batch.execute(writer.locked())
        sweep = Rank.BACKGROUND
        assert taken(acquire(ledger, "run-2", rank=sweep)).run == "run-1"
        ledger_row = "UPDATE fencepost.lease SET rank = 0"
        batch.execute(ledger_row)
        assert taken(acquire(ledger, "run-3")).run == "run-1"


def test_who_stands_still_in_the_middle_of_a_write_keeps_the_lease_from_nobody_for_long(
    ledger_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused there, or its machine gone without a word: what it locked would be locked as long as its session lives."""
    monkeypatch.setattr(databases.ledger, "SILENT", SHORT)

    def stands_still(paused: Ledger, rival: Ledger) -> None:
        writer = held(acquire(paused, "run-1", ttl=timedelta(0)))
        with paused.begin("write under the lease") as db:
            writer.lock(db)
            assert held(acquire(rival, "run-2")).epoch == writer.epoch + 1

    with closing(Ledger(Dsn(ledger_database), "fencepost")) as one, closing(Ledger(Dsn(ledger_database), "fencepost")) as other:
        with pytest.raises(LedgerAway):
            stands_still(one, other)
        assert taken(acquire(one, "run-3")).run == "run-2"


def test_a_ledger_that_is_away_for_a_moment_does_not_lose_the_lease(ledger: Ledger, ledger_database: str) -> None:
    with held(acquire(ledger, "run-1", ttl=SHORT)) as mine:
        with psycopg.connect(ledger_database, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        deadline = time.monotonic() + 2 * SHORT.total_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.02)
        assert not mine.lost
        assert mine.renew()
