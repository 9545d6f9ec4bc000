"""A run that was killed is told as killed by the next one; a run at work, paused ones too, is never taken for dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import alive, history, killed, lease, recall
from reconciler.history import State
from reconciler.report import past
from schemas import ledger as tables
from schemas.errors import LedgerError
from schemas.settings import Dsn

ROOT = Path(__file__).parents[2]
#: A captain in small: opens a run, takes the lease on registry writes, and waits for a word before it ends.
CAPTAIN = """
import sys
from databases.ledger import Ledger
from reconciler import alive, history, lease
from schemas.settings import Dsn
ledger = Ledger(Dsn(sys.argv[1]), "fencepost")
run = history.begin(ledger, "cutover", "sha256:s")
with alive.kept(ledger, run), lease.acquire(ledger, run):
    print(run, flush=True)
    sys.stdin.readline()
    history.done(ledger, run, "{}")
"""


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    found = Ledger(Dsn(ledger_database), "fencepost")
    yield found
    found.close()


@contextmanager
def captain(ledger: Ledger) -> Iterator[tuple[subprocess.Popen[str], str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", CAPTAIN, ledger.dsn.get_secret_value()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        yield child, child.stdout.readline().strip()
    finally:
        child.kill()
        child.communicate(timeout=60)


def listed(told: recall.Past) -> str:
    return " ".join(past.listed([told], datetime.now(UTC)).split())


def state(ledger: Ledger, run: str) -> State:
    return recall.load(ledger, run).state


def change(ledger: Ledger, statement: str, *values: object) -> None:
    with psycopg.connect(ledger.dsn.get_secret_value(), autocommit=True) as db:
        db.execute("SET search_path = fencepost")
        db.execute(statement.encode(), values)


def run_out(ledger: Ledger) -> None:
    change(ledger, "UPDATE lease SET expires_at = now() - interval '1 h'")


def moved_elsewhere(ledger: Ledger) -> None:
    """As if the process ran on another machine."""
    change(ledger, "UPDATE lease SET holder = 'ann@elsewhere pid 1 0a0b another-boot/4026531836/1/77' WHERE name LIKE 'run:%%'")


def test_a_run_whose_process_was_killed_is_settled_and_chained_and_its_lease_is_free(ledger: Ledger) -> None:
    with captain(ledger) as (child, run):
        assert killed.settle(ledger) == ()
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        assert state(ledger, run) is State.RUNNING
        assert killed.settle(ledger) == (run,)
    told = recall.load(ledger, run)
    assert (told.state, told.verdict, told.exit_code, told.finished_at) == (State.KILLED, None, None, None)
    assert "ended without a word" in (told.note or "")
    assert "last sign of life" in (told.note or "")
    assert recall.verify(ledger, run).intact
    assert lease.holder_of(ledger) is None
    assert killed.settle(ledger) == ()


def test_a_killed_run_that_is_made_to_have_finished_breaks_the_chain(ledger: Ledger) -> None:
    run = history.begin(ledger, "cutover", "sha256:s")
    moved_elsewhere(ledger)
    run_out(ledger)
    assert killed.settle(ledger) == (run,)
    change(ledger, "UPDATE run SET state = 'finished', verdict = 'CLEAR' WHERE id = %s", run)
    assert "was changed" in recall.verify(ledger, run).seen


def test_a_paused_process_is_at_work_however_long_its_leases_have_run_out(ledger: Ledger) -> None:
    with captain(ledger) as (child, run):
        os.kill(child.pid, signal.SIGSTOP)
        run_out(ledger)
        assert killed.settle(ledger) == ()
        os.kill(child.pid, signal.SIGCONT)
        child.communicate("go on\n", timeout=60)
    assert state(ledger, run) is State.FINISHED
    assert recall.verify(ledger, run).intact


def test_from_another_machine_only_a_long_silence_counts(ledger: Ledger) -> None:
    run = history.begin(ledger, "gaps", "sha256:s")
    moved_elsewhere(ledger)
    assert killed.settle(ledger) == ()
    run_out(ledger)
    assert killed.settle(ledger) == (run,)


def test_one_that_lived_after_all_can_neither_write_nor_judge(ledger: Ledger) -> None:
    run = history.begin(ledger, "cutover", "sha256:s")
    held = lease.acquire(ledger, run)
    assert isinstance(held, lease.Held)
    moved_elsewhere(ledger)
    change(ledger, "UPDATE lease SET expires_at = now() - interval '1 h' WHERE name LIKE 'run:%%'")
    assert killed.settle(ledger) == (run,)
    with psycopg.connect(ledger.dsn.get_secret_value()) as db:
        assert not held.stands(db)
        assert db.execute(held.locked()).fetchone() is None
    assert not held.renew()
    with pytest.raises(LedgerError, match="given up for dead"):
        history.done(ledger, run, "{}")
    assert recall.verify(ledger, run).intact


def test_a_run_of_this_process_is_dead_once_it_is_over_and_not_before(ledger: Ledger) -> None:
    """A service goes on when a pass could not say how it ended, for the ledger was away."""
    run = history.begin(ledger, "sweep", "sha256:s")
    run_out(ledger)
    with alive.kept(ledger, run):
        assert killed.settle(ledger) == ()
    assert killed.settle(ledger) == (run,)


def test_a_sign_of_life_is_renewed_while_the_run_is_at_work_and_goes_with_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alive, "EVERY", timedelta(milliseconds=20))
    run = history.begin(ledger, "gaps", "sha256:s")
    run_out(ledger)
    moved_elsewhere(ledger)
    with alive.kept(ledger, run):
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        while recall.load(ledger, run).silent_since is not None:
            assert datetime.now(UTC) < deadline, "nobody renewed it"
        assert killed.settle(ledger) == ()
        history.done(ledger, run, "{}")
    with ledger.begin() as connection:
        assert connection.execute(sa.select(tables.lease).where(tables.lease.c.run == run)).all() == []


@pytest.mark.parametrize(("age", "leased", "dead"), [("25 h", False, True), ("25 h", True, False), ("23 h", False, False)])
def test_a_run_of_a_version_without_signs_of_life_is_dead_after_a_day(
    ledger: Ledger, age: str, leased: bool, dead: bool
) -> None:
    run = history.begin(ledger, "cutover", "sha256:s")
    change(ledger, "DELETE FROM lease")
    change(ledger, "UPDATE run SET started_at = now() - %s::interval", age)
    if leased:
        lease.acquire(ledger, run)
    assert killed.settle(ledger) == ((run,) if dead else ())


def test_many_that_settle_at_once_settle_each_run_once(ledger: Ledger) -> None:
    runs = [history.begin(ledger, "gaps", "sha256:s") for _ in range(5)]
    moved_elsewhere(ledger)
    run_out(ledger)
    with ThreadPoolExecutor(4) as pool:
        settled = [run for found in pool.map(lambda _: killed.settle(ledger), range(4)) for run in found]
    assert sorted(settled) == sorted(runs)
    assert recall.verify(ledger, runs[0]).links == 5
    assert recall.verify(ledger, runs[0]).intact


def test_a_list_says_of_a_run_that_is_silent_since_when(ledger: Ledger) -> None:
    run = history.begin(ledger, "gaps", "sha256:s")
    (told,) = recall.runs(ledger)
    assert told.silent_since is None
    assert "no sign of life" not in listed(told)
    run_out(ledger)
    (told,) = recall.runs(ledger)
    assert told.silent_since is not None
    assert "no sign of life since" in listed(told)
    assert "most likely killed" in past.without_verdict(told, datetime.now(UTC))
    assert json.loads(json.dumps(told.plain()))["silent_since"].endswith("Z")
    moved_elsewhere(ledger)
    assert killed.settle(ledger) == (run,)
    (told,) = recall.runs(ledger)
    assert "killed: its process ended without a word" in listed(told)
    assert "until it was killed" in past.without_verdict(told, datetime.now(UTC))


def test_a_process_number_that_was_given_to_another_is_not_the_run(ledger: Ledger) -> None:
    mine = alive.process()
    assert mine is not None, "no /proc: then nothing is known of processes, and silence decides"
    machine, pid, _ = mine.rsplit("/", 2)
    assert alive.is_dead("another", f"ann@here pid {pid} 0a0b {machine}/{pid}/1") is True
    parent = os.getppid()
    assert alive.is_dead("another", f"ann@here pid {parent} 0a0b {machine}/{parent}/{alive._began(parent)}") is False
    assert alive.is_dead("another", "ann@here pid 1 0a0b") is None
    assert alive.is_dead("another", None) is None


def test_a_ledger_that_cannot_be_asked_keeps_nobody_from_a_verdict() -> None:
    away = Ledger(Dsn("postgresql://nobody@127.0.0.1:9/none?connect_timeout=2"), "fencepost")
    assert killed.settle(away) == ()
