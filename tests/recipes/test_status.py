"""`status` says since when a window is safe, why, and what stands against it."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.schema import CreateSchema

from databases.ledger import MIGRATIONS, Ledger, head
from reconciler import status
from reconciler.report import state
from schemas.errors import LedgerError, SettingsError, UnavailableError
from tests.recipes.world import World

WITHOUT_LOG: dict[str, Any] = {"without_log": True}


def told(world: World, ends: status.Ends | None = None) -> tuple[dict[str, Any], str]:
    settings = world.settings()
    with closing(Ledger.of(settings)) as ledger:
        found = status.run(settings, ledger, ends=ends)
    return found.plain()["data_types"][0], " ".join(state.text(found).split())


def away() -> dict[tuple[str, int], int]:
    raise UnavailableError("the event log does not answer")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_finished_sweep_makes_a_window_safe_and_says_why(items: World) -> None:
    items.gaps(**WITHOUT_LOG)
    plain, text = told(items)
    assert (plain["sweep"], plain["safe_since"]) == (None, None)
    assert "never swept" in text
    assert plain["estimate_s"] > 0
    items.sweep(**WITHOUT_LOG)
    plain, text = told(items)
    swept = plain["sweep"]
    assert (swept["rows"], swept["verified"], swept["coverage"], swept["found"]) == (100, 100, 1.0, 0)
    assert items.now <= at(swept["started_at"]) <= at(swept["finished_at"])
    assert at(plain["safe_since"]) == at(swept["started_at"]) - items.settings().fence.skew
    assert "is safe, because the full pass from" in text
    assert plain["estimate_s"] > 0


def test_a_sweep_alone_measures_what_a_cutover_would_take(items: World) -> None:
    items.extra = {"fence": {"settle": "7s"}}
    assert told(items)[0]["estimate_s"] is None
    items.extra = {"fence": {"settle": "0s"}}
    outcome = items.sweep(**WITHOUT_LOG, rate=100)
    (swept,) = outcome.report.data_types
    assert swept.compared_s is not None
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items SELECT n, 1, now() FROM generate_series(1001, 1900) AS n")
        db.execute("ANALYZE items")
    items.extra = {"fence": {"settle": "7s"}}
    plain, _ = told(items)
    assert plain["estimate_s"] == pytest.approx(7 + 2 * 10 * swept.compared_s, abs=0.11)


def test_only_the_data_types_asked_for_are_told(items: World) -> None:
    settings = items.settings()
    with closing(Ledger.of(settings)) as ledger:
        for exists in (False, True):
            assert [t.name for t in status.run(settings, ledger, ends=None, names=["item"]).types] == ["item"], exists
            with pytest.raises(SettingsError, match="no data type 'itme'"):
                status.run(settings, ledger, ends=None, names=["itme"])
            ledger.upgrade()


def test_a_stale_registration_moves_the_safe_window_back_to_the_creation_of_its_row(items: World) -> None:
    items.registry_extra = {"created_at": "created_at"}
    items.rows([201, 202], items.now - timedelta(days=9))
    items.registered([202], at=items.now - timedelta(days=12))
    items.sweep(**WITHOUT_LOG)
    assert at(told(items)[0]["safe_since"]) == items.now - timedelta(days=9)
    items.registered([201], at=items.now - timedelta(days=9))
    assert items.sweep(**WITHOUT_LOG).report.data_types[0].gaps.by_class == {"stale_registration": 1}
    assert at(told(items)[0]["safe_since"]) == items.now - timedelta(days=9)


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


def test_a_ledger_of_an_older_version_is_told_with_both_and_what_it_holds_once_it_is_upgraded(items: World) -> None:
    for version in ("0001", "0002", "0003", "0004", "0005", "0006"):
        items.extra = {"ledger": {"schema": f"of_{version}"}}
        settings = items.settings()
        with closing(Ledger.of(settings)) as ledger:
            with ledger.begin("make an old ledger") as db:
                db.execute(CreateSchema(ledger.schema))
                config = Config()
                config.set_main_option("script_location", str(MIGRATIONS))
                config.attributes.update(connection=db, schema=ledger.schema)
                command.upgrade(config, version)
            with psycopg.connect(items.target) as old:
                old.execute(f"SET search_path = {ledger.schema}")
                old.execute("INSERT INTO incarnation (cluster_id) VALUES ('c')")
                old.execute(
                    "INSERT INTO hole (incarnation, topic, partition, from_offset, to_offset, kind)"
                    " VALUES (1, 't', 0, 3, 7, 'retention')"
                )
                old.execute(
                    "INSERT INTO run (id, kind, settings, state, started_at) VALUES ('01OLD', 'gaps', 's', 'finished', now())"
                )
            with pytest.raises(LedgerError, match=f"of version {version}, this fencepost of {head()}") as told_:
                status.run(settings, ledger, ends=None)
            assert told_.value.hint == "run `fencepost ledger upgrade`"
            ledger.upgrade()
            found = status.run(settings, ledger, ends=None)
            assert [hole.described for hole in found.holes] != []
            assert "never swept" in state.text(found)


def test_what_the_log_alone_says_while_the_audit_cannot_look_is_an_estimate_and_said_to_be_one(items: World) -> None:
    items.extra = {"fence": {"settle": "0s"}, "audit": {"every": "5m"}}
    items.gaps(**WITHOUT_LOG)
    assert told(items)[0]["log"]["estimated_missing"] is None
    # Thirteen looks, a hundred creations between two, the last one a hundred minutes ago: two creations a minute are usual.
    with psycopg.connect(items.target) as db:
        db.execute(
            "INSERT INTO fencepost.audit_look (data_type, look, trials, failed, creations, at) SELECT 'item', n, 0, 0, 100 * n,"
            " clock_timestamp() - interval '100 min' - (13 - n) * interval '50 min' FROM generate_series(1, 13) AS n"
        )
        db.execute("INSERT INTO fencepost.total VALUES ('fencepost_events_total', 'item', 'create', 1350)")
    plain, text = told(items)
    assert plain["log"]["estimated_missing"] == pytest.approx(150, abs=5)
    assert "By the log alone about 15" in text
    assert "An estimate, no verdict" in text
    # What was announced and not read yet is not missing. Where the log is away too, nobody knows what it said.
    assert told(items, lambda: {(items.topic, 0): 100})[0]["log"]["estimated_missing"] == pytest.approx(50, abs=5)
    assert told(items, away)[0]["log"]["estimated_missing"] is None
    with psycopg.connect(items.target) as db:
        db.execute("UPDATE fencepost.total SET value = 1510 WHERE kind = 'create'")
    plain, text = told(items)
    assert plain["log"]["estimated_missing"] == 0
    assert "estimate, no verdict" not in text


def test_a_look_that_could_not_read_the_log_makes_no_estimate_of_what_it_said(items: World) -> None:
    items.extra = {"fence": {"settle": "0s"}, "audit": {"every": "5m"}}
    items.gaps(**WITHOUT_LOG)
    with psycopg.connect(items.target) as db:
        db.execute(
            "INSERT INTO fencepost.audit_look (data_type, look, trials, failed, creations, at) SELECT 'item', n, 0, 0, 100 * n,"
            " clock_timestamp() - interval '9 min' - (13 - n) * interval '5 min' FROM generate_series(1, 13) AS n"
        )
        db.execute("INSERT INTO fencepost.total VALUES ('fencepost_events_total', 'item', 'create', 1300)")
    assert told(items)[0]["log"]["estimated_missing"] is None, "the next look is not overdue yet"
    with psycopg.connect(items.target) as db:
        db.execute("UPDATE fencepost.audit_look SET at = at - interval '2 min'")
    assert told(items)[0]["log"]["estimated_missing"] > 0
    with psycopg.connect(items.target) as db:
        db.execute(
            "INSERT INTO fencepost.audit (data_type, look, bound, looked_at, heard, blind)"
            " VALUES ('item', 13, '', now(), 0, 'log')"
        )
    assert told(items)[0]["log"]["estimated_missing"] is None
