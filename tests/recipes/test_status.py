"""`status` says since when a window is safe, why, and what stands against it."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg

from databases.ledger import Ledger
from reconciler import status
from reconciler.report import state
from tests.recipes.world import World

WITHOUT_LOG: dict[str, Any] = {"without_log": True}


def told(world: World) -> tuple[dict[str, Any], str]:
    settings = world.settings()
    with closing(Ledger.of(settings)) as ledger:
        found = status.run(settings, ledger, ends=None)
    return found.plain()["data_types"][0], " ".join(state.text(found).split())


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_finished_sweep_makes_a_window_safe_and_says_why(items: World) -> None:
    items.gaps(**WITHOUT_LOG)
    plain, text = told(items)
    assert (plain["sweep"], plain["safe_since"]) == (None, None)
    assert "never swept" in text
    items.sweep(**WITHOUT_LOG)
    plain, text = told(items)
    swept = plain["sweep"]
    assert (swept["rows"], swept["verified"], swept["coverage"], swept["found"]) == (100, 100, 1.0, 0)
    assert items.now <= at(swept["started_at"]) <= at(swept["finished_at"])
    assert at(plain["safe_since"]) == at(swept["started_at"]) - items.settings().fence.skew
    assert "is safe, because the full pass from" in text
    assert plain["estimate_s"] > 0


def test_a_row_left_missing_moves_the_safe_window_back_to_its_creation(items: World) -> None:
    items.rows([201], items.now - timedelta(days=9))
    items.rows([202])
    items.sweep(**WITHOUT_LOG)
    plain, text = told(items)
    assert at(plain["safe_since"]) == items.now - timedelta(days=9)
    assert plain["sweep"]["oldest_unverified"] == plain["safe_since"]
    assert (plain["sweep"]["verified"], plain["sweep"]["found"]) == (100, 2)
    assert "the oldest row that it left missing was created then" in text
    assert items.gaps(since=plain["safe_since"], **WITHOUT_LOG).report.data_types[0].gaps.count == 2


def test_a_transaction_open_at_the_sweep_holds_the_safe_window_back(items: World) -> None:
    with psycopg.connect(items.source) as late:
        (began,) = late.execute("SELECT now()").fetchone() or (None,)
        late.execute("INSERT INTO items VALUES (50000, 1, now())")
        items.sweep(**WITHOUT_LOG)
        late.commit()
    plain, _ = told(items)
    assert at(plain["safe_since"]) == began - items.settings().fence.skew
    assert items.gaps(since=plain["safe_since"], **WITHOUT_LOG).report.data_types[0].gaps.count == 1


def test_a_transaction_prepared_before_any_mark_leaves_no_safe_window(items: World) -> None:
    with psycopg.connect(items.source, autocommit=True) as db:
        db.execute("BEGIN; INSERT INTO items VALUES (50000, 1, now()); PREPARE TRANSACTION 'two-phase'")
        try:
            items.sweep(**WITHOUT_LOG)
            plain, text = told(items)
        finally:
            db.execute("ROLLBACK PREPARED 'two-phase'")
    assert plain["safe_since"] is None
    assert "two-phase" in text


def test_a_table_replaced_since_the_sweep_leaves_no_safe_window(items: World) -> None:
    items.sweep(**WITHOUT_LOG)
    with psycopg.connect(items.target) as db:
        db.execute("CREATE TABLE other (LIKE item_registry INCLUDING ALL)")
        db.execute("ALTER TABLE item_registry RENAME TO former; ALTER TABLE other RENAME TO item_registry")
    plain, text = told(items)
    assert plain["safe_since"] is None
    assert "registry table was" in text
