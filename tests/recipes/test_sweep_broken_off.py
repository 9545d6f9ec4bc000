"""A sweep killed at any boundary goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from reconciler import lease
from reconciler.lease import Held
from reconciler.sweeping import book, cut
from schemas.errors import RefusedWrite
from tests.recipes.test_status import told
from tests.recipes.world import World, found

ROOT = Path(__file__).parents[2]
BOOK, SECOND, HEAL = "reconciler.sweeping.book", "reconciler.sweeping.second", "reconciler.sweeping.heal"
#: In the order in which a pass comes to them; each run begins where the one before was killed.
BOUNDARIES = [
    (f"{BOOK}:open_", "before", 1),
    (f"{BOOK}:open_", "after", 1),
    (f"{BOOK}:store", "before", 1),  # seen, not remembered
    (f"{BOOK}:store", "after", 1),
    (f"{BOOK}:store", "before", 2),
    (f"{BOOK}:total", "before", 1),  # covered
    (f"{SECOND}:sighted", "after", 1),
    (f"{HEAL}:insert", "before", 1),
    ("reconciler.backfill.journal:Journal.write", "after", 1),  # the registry's transaction is open
    (f"{HEAL}:insert", "after", 1),
    ("reconciler.examine:Run.finish", "before", 1),
    ("reconciler.history:finish", "after", 1),  # the report is recorded, the pass is not finished
]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "DENSE_ROWS", 30)
    monkeypatch.setattr(cut, "WIDEST", 30)


def killed(world: World, place: str, when: str, nth: int) -> None:
    world.settings()
    words = [sys.executable, "-m", "tests.recipes.sweep_main", place, when, str(nth)]
    words += ["sweep", "--backfill", "--config", str(world.folder / "fencepost.yaml"), "--json", "--quiet"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, (place, when, nth, done.returncode, done.stderr)
    with psycopg.connect(world.target) as db:  # as if the time of its leases had run out
        db.execute("UPDATE fencepost.lease SET expires_at = clock_timestamp()" if ledger_there(db) else "SELECT")


def ledger_there(db: psycopg.Connection) -> bool:
    row = db.execute("SELECT to_regclass('fencepost.lease')").fetchone()
    return row is not None and row[0] is not None


@pytest.mark.usefixtures("narrow")
def test_a_sweep_killed_at_every_boundary_ends_as_if_nothing_had_happened(items: World) -> None:
    items.rows([201, 202, 5000])
    items.registered([901])
    begun: set[str] = set()
    for place, when, nth in BOUNDARIES:
        killed(items, place, when, nth)
        with psycopg.connect(items.target) as db:
            begun |= {row[0] for row in db.execute("SELECT id FROM fencepost.sweep")}
    outcome = items.sweep(backfill=True)
    with psycopg.connect(items.target) as db:
        states = db.execute("SELECT id, state, rows, verified FROM fencepost.sweep").fetchall()
        ranges = db.execute("SELECT number, low, high FROM fencepost.verified_range ORDER BY number").fetchall()
    assert begun == {states[0][0]}, "one pass was begun, and gone on with to its end"
    assert states[0][1:] == ("finished", 103, 100)
    assert [number for number, _, _ in ranges] == list(range(len(ranges)))
    assert [low for _, low, _ in ranges] == [None, *(high for _, _, high in ranges[:-1])]
    assert ranges[-1][2] is None
    # What was found was healed by a run that was killed; the last one sees that, and the orphan still.
    assert {"201", "202", "5000"} <= items.in_registry()
    assert found(outcome) == {"901": ("dropped_delete", "never_announced")}
    assert any("goes on with the pass begun" in note for note in outcome.report.notes)


def broken_off(world: World, monkeypatch: pytest.MonkeyPatch, ranges: int = 2) -> None:
    """Stop after so many ranges, by an error."""
    real, calls = book.store, [0]

    def store(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)  # type: ignore[arg-type]
        calls[0] += 1
        if calls[0] == ranges:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(book, "store", store)
        with pytest.raises(KeyboardInterrupt):
            world.sweep(without_log=True)


@pytest.mark.usefixtures("narrow")
def test_status_tells_a_pass_at_work_from_one_that_was_broken_off(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    items.sweep(without_log=True)
    real, said = book.store, list[str]()

    def store(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)  # type: ignore[arg-type]
        said.append(told(items)[1])
        if len(said) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(book, "store", store)
        with pytest.raises(KeyboardInterrupt):
            items.sweep(without_log=True)
    assert "is at work: so far 2 ranges with" in said[1]
    assert "of about 100" in said[1]
    text = told(items)[1]
    assert "was broken off after 2 ranges with" in text
    assert "is at work" not in text


@pytest.mark.usefixtures("narrow")
def test_a_pass_is_not_gone_on_with_in_another_world(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    items.rows([201])
    broken_off(items, monkeypatch)
    items.registry_extra = {"accepted": {"state": [2]}}
    outcome = items.sweep(without_log=True)
    (note,) = [note for note in outcome.report.notes if "was given up" in note]
    assert "accepted states was None and is {'state': [2]}" in note
    with psycopg.connect(items.target) as db:
        states = [row[0] for row in db.execute("SELECT state FROM fencepost.sweep ORDER BY id")]
        left = db.execute("SELECT DISTINCT s.state FROM fencepost.verified_range JOIN fencepost.sweep s ON s.id = sweep")
        assert left.fetchall() == [("finished",)]
    assert states == ["abandoned", "finished"]
    assert set(found(outcome)) == {"201"}


@pytest.mark.usefixtures("narrow")
def test_a_pass_that_looked_in_one_direction_is_not_finished_in_both(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first ranges never held registry rows against the source: an orphan there would be passed over."""
    items.registered([0])
    broken_off(items, monkeypatch)
    assert set(found(items.sweep())) == {"0"}


@pytest.mark.usefixtures("narrow")
def test_ranges_that_do_not_join_are_not_believed(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(items, monkeypatch, ranges=3)
    with psycopg.connect(items.target) as db:
        db.execute("DELETE FROM fencepost.verified_range WHERE number = 1")
    outcome = items.sweep(without_log=True)
    assert any("do not join" in note for note in outcome.report.notes)
    assert outcome.report.data_types[0].rows == 100


@pytest.mark.usefixtures("narrow")
def test_who_was_overtaken_stores_nothing_any_more(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that was paused for longer than its lease, and wakes while another has gone on with the pass."""
    real = book.store
    others = list[lease.Held | lease.Taken]()

    def store(ledger: object, held: Held, *args: object) -> None:
        with psycopg.connect(items.target) as db:
            db.execute("UPDATE fencepost.lease SET expires_at = clock_timestamp()")
        others.append(lease.acquire(held.ledger, held.run, name=held.name))
        real(ledger, held, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(book, "store", store)
    with pytest.raises(RefusedWrite, match="taken over the sweep of item"):
        items.sweep(without_log=True)
    assert isinstance(others[0], Held)
    with psycopg.connect(items.target) as db:
        assert db.execute("SELECT count(*) FROM fencepost.verified_range").fetchone() == (0,)
