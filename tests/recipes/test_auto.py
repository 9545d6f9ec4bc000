"""`--since auto`: what the last sweep did not verify, whatever its date, and whether what it verified still stands."""

from __future__ import annotations

from datetime import timedelta
from threading import Event

import psycopg
import pytest

from reconciler import sweep
from reconciler.outcome import Outcome
from schemas.verdict import Verdict
from tests.recipes.world import World, found

DAY = timedelta(days=1)


def failed(outcome: Outcome) -> dict[str, str]:
    return {proof.name: proof.seen for proof in outcome.report.proofs if proof.held is False}


def test_new_rows_are_found_whatever_their_date_and_wherever_their_key_lies(items: World) -> None:
    """A backdated row below the highest key is the one that a window by time or by key would pass over."""
    items.rows([1000])
    items.registered([1000])
    items.sweep()
    items.rows([201], items.now - 300 * DAY)
    items.rows([2000, 2001])
    items.rows([300], None)
    outcome = items.gaps(since="auto")
    assert set(found(outcome)) == {"201", "300", "2000", "2001"}
    (told,) = outcome.report.data_types
    assert told.window.evidence == "sweep"
    assert told.window.cannot_see == []
    (window,) = [proof for proof in outcome.report.proofs if proof.name == "window"]
    assert window.held
    assert "101 verified keys" in window.seen


def test_a_writer_that_commits_after_the_pass_dates_the_window_and_is_found(items: World) -> None:
    with psycopg.connect(items.source) as late:
        (began,) = late.execute("SELECT now()").fetchone() or (None,)
        late.execute("INSERT INTO items VALUES (50000, 1, now())")
        items.sweep()
        late.commit()
    outcome = items.gaps(since="auto")
    assert set(found(outcome)) == {"50000"}
    (told,) = outcome.report.data_types
    assert told.window.since is not None
    assert told.window.since <= began - items.settings().fence.skew


def test_a_verified_row_that_lost_its_registry_row_since_is_found_and_told_apart(items: World) -> None:
    items.sweep()
    with psycopg.connect(items.target) as db:
        db.execute("DELETE FROM item_registry WHERE item_id = 7")
    with psycopg.connect(items.source) as db:
        db.execute("DELETE FROM items WHERE id = 8")
    items.rows([201])
    outcome = items.gaps(since="auto")
    assert set(found(outcome)) == {"7", "201"}
    (told,) = outcome.report.data_types
    assert any(note.startswith("1 of the rows without an accepted registry row had one") for note in told.notes)


def test_a_cutover_rests_on_the_sweep_in_both_of_its_compares(items: World) -> None:
    items.sweep()
    items.rows([201], items.now - 300 * DAY)
    report = items.cutover(since="auto").report
    assert report.verdict is Verdict.CLEAR
    (told,) = report.data_types
    assert (told.backfilled, told.remaining, told.window.evidence) == (1, 0, "sweep")
    assert "201" in items.in_registry()


def test_a_type_without_dates_has_its_window_too(items: World) -> None:
    items.source_extra = {"created_at": None}
    items.sweep()
    items.rows([50_000, 201])
    assert set(found(items.gaps(since="auto"))) == {"201", "50000"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"source_extra": {"scope": [{"column": "project_id", "in": [1]}]}}, "scope"),
        ({"registry_extra": {"accepted": {"state": [2]}}}, "accepted states"),
    ],
)
def test_a_sweep_of_other_rows_is_no_evidence(items: World, change: dict[str, dict[str, object]], word: str) -> None:
    items.sweep()
    for name, value in change.items():
        setattr(items, name, value)
    outcome = items.gaps(since="auto")
    assert outcome.report.verdict is Verdict.CANNOT_TELL
    assert word in failed(outcome)["window"]


def test_a_sweep_of_a_table_that_was_replaced_since_is_no_evidence(items: World) -> None:
    items.sweep()
    with psycopg.connect(items.source) as db:
        db.execute("CREATE TABLE other (LIKE items INCLUDING ALL); INSERT INTO other SELECT * FROM items")
        db.execute("ALTER TABLE items RENAME TO former; ALTER TABLE other RENAME TO items")
    outcome = items.gaps(since="auto")
    assert outcome.report.verdict is Verdict.CANNOT_TELL
    assert "source table was" in failed(outcome)["window"]


def test_a_sweep_that_did_not_come_to_its_end_is_no_evidence(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Event()
    monkeypatch.setattr("reconciler.settle.wait", lambda *_: stop.set())
    settings, ledger, handed = items._handed()
    assert sweep.run(settings, ledger, stop=stop, **handed) is None
    outcome = items.gaps(since="auto")
    assert outcome.report.verdict is Verdict.CANNOT_TELL
    assert "has not come to its end" in failed(outcome)["window"]


def test_a_batch_that_failed_in_the_middle_of_a_sweep_is_seen_by_the_window_after_it(items: World) -> None:
    """The sweep meant to heal three rows; the registry refused their batch. No cursor has moved past them."""
    items.rows([201, 202, 203], items.now - 300 * DAY)
    with psycopg.connect(items.target) as db:
        db.execute("ALTER TABLE item_registry ADD CONSTRAINT no CHECK (item_id <> 202)")
    swept = items.sweep(backfill=True)
    assert swept.report.verdict is Verdict.GAPS
    (told,) = swept.report.data_types
    missing = {"201", "202", "203"} - items.in_registry()
    assert "202" in missing
    assert (told.gaps.count, told.remaining) == (3, len(missing))
    assert "constraint 'no'" in " ".join([*swept.report.notes, *told.notes])
    outcome = items.gaps(since="auto")
    assert outcome.report.verdict is Verdict.GAPS
    assert set(found(outcome)) == missing
