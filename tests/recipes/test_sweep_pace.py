"""What holds a sweep down, and what it says of that: its rate, the standby that lags, a table that is read in one piece."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from reconciler.backfill.run import Pace
from reconciler.ports import Silent
from reconciler.probe import spill
from reconciler.sweeping import cut
from tests.recipes.test_status import told
from tests.recipes.test_sweep_beside import unordered
from tests.recipes.test_sweep_broken_off import broken_off
from tests.recipes.world import World

WITHOUT_LOG: dict[str, Any] = {"without_log": True}


class Counting(Silent):
    """Remembers how far it was said to be."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int | None]] = []
        self.phases: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def advance(self, done: int, total: int | None) -> None:
        self.steps.append((done, total))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DENSE_ROWS", "ROWS", "WIDEST"):
        monkeypatch.setattr(cut, name, 30)


@pytest.fixture
def pairs(world: World) -> World:
    """A key without order, of five hundred rows."""
    unordered(world, 1)
    return world


@pytest.mark.usefixtures("narrow")
def test_every_range_takes_its_time_before_the_next_is_read_the_first_one_too(
    items: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []
    wait = Pace.wait

    def waiting(pace: Pace) -> None:
        wait(pace)
        begun.append(time.monotonic())

    monkeypatch.setattr(Pace, "wait", waiting)
    items.sweep(rate=30, **WITHOUT_LOG)
    assert len(begun) > 3
    assert min(after - before for before, after in pairwise(begun[:-1])) > 0.9


def test_no_snapshot_is_held_for_the_sake_of_a_rate(pairs: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is read in one piece is read under one snapshot, which keeps the source's vacuum waiting."""
    monkeypatch.setattr(spill, "BUCKET_BYTES", 2048)
    pairs.extra = {"source": {"dsn": pairs.source, "snapshot_max": "2s"}}
    outcome = pairs.sweep(rate=20, **WITHOUT_LOG)
    assert outcome.report.data_types[0].rows == 500
    assert any("read in one piece, and no rate held that down" in note for note in outcome.report.notes)


def test_status_does_not_say_that_a_table_read_in_one_piece_is_gone_on_with(
    pairs: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "BUCKET_BYTES", 2048)
    broken_off(pairs, monkeypatch, 1)
    assert "the next `fencepost sweep` begins anew, for it was read in one piece" in told(pairs)[1]


@pytest.mark.usefixtures("narrow")
def test_a_pass_that_is_gone_on_with_says_how_much_is_left(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    items.sweep(**WITHOUT_LOG)
    broken_off(items, monkeypatch, 2)
    with psycopg.connect(items.target) as db:
        row = db.execute("SELECT sum(v.rows) FROM fencepost.verified_range v JOIN fencepost.sweep s ON s.id = v.sweep"
                         " WHERE s.state = 'running'").fetchone()  # fmt: skip
    assert row
    said = Counting()
    items.sweep(say=said, **WITHOUT_LOG)
    assert said.steps[-1] == (100 - row[0], 100 - row[0])
    assert said.steps[0][1] == 100 - row[0]
    assert "sweeping item, of which 2 ranges had been seen before" in said.phases
