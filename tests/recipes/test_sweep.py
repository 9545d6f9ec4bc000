"""A sweep finds every lost row in both directions, remembers what it verified, and goes on where it was broken off."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from reconciler.sweeping import cut
from schemas.verdict import Verdict
from tests.recipes.world import World, found


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of few rows, so that a small table has many."""
    monkeypatch.setattr(cut, "DENSE_ROWS", 30)
    monkeypatch.setattr(cut, "ROWS", 30)
    monkeypatch.setattr(cut, "WIDEST", 60)


def ledger(world: World, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(world.target) as db:
        db.execute("SET search_path = fencepost")
        return db.execute(query, values).fetchall()


def sweeps(world: World) -> list[tuple[Any, ...]]:
    return ledger(world, "SELECT state, rows, verified, found, fixed FROM sweep ORDER BY id")


@pytest.mark.usefixtures("narrow")
def test_a_sweep_finds_gaps_and_orphans_range_by_range(items: World) -> None:
    items.rows([201, 202, 301, 100_000])
    items.announce([301])
    items.registered([901, 902])
    items.announce([902])
    items.announce([902], "deleted")
    outcome = items.sweep()
    assert found(outcome) == {
        "201": ("dropped_create", "never_announced"),
        "202": ("dropped_create", "never_announced"),
        "100000": ("dropped_create", "never_announced"),
        "301": ("unapplied_create", "unapplied"),
        "901": ("dropped_delete", "never_announced"),
        "902": ("unapplied_delete", "unapplied"),
    }
    assert outcome.report.verdict is Verdict.GAPS
    assert outcome.report.kind == "sweep"
    (told,) = outcome.report.data_types
    assert (told.rows, told.registered, told.announced) == (104, 100, 101)
    assert sweeps(items) == [("finished", 104, 100, 6, 0)]
    assert ledger(items, "SELECT count(*) > 3, sum(verified) FROM verified_range") == [(True, 100)]


def test_a_world_without_losses_is_clear(items: World) -> None:
    assert items.sweep().report.verdict is Verdict.CLEAR
    assert sweeps(items) == [("finished", 100, 100, 0, 0)]


@pytest.mark.usefixtures("narrow")
def test_a_sweep_told_to_heal_inserts_and_still_says_what_it_found(items: World) -> None:
    items.rows([201, 202])
    report = items.sweep(backfill=True).report
    assert report.verdict is Verdict.GAPS
    (told,) = report.data_types
    assert (told.gaps.count, told.backfilled, told.remaining) == (2, 2, 0)
    assert {"201", "202"} <= items.in_registry()
    assert sweeps(items) == [("finished", 102, 100, 2, 2)]
    assert items.sweep().report.verdict is Verdict.CLEAR
