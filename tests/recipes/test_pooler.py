"""Behind a transaction-mode pooler (failure mode 65): a whole cutover, two captains, the undo; and pools that cannot serve."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler import recall, recheck, undo
from reconciler.ports import Silent
from schemas.errors import UnavailableError
from schemas.verdict import Verdict
from tests.conftest import needed
from tests.recipes.world import World
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Postgres


@pytest.fixture
def pooled(items: World, pgbouncer: PgBouncer) -> World:
    name = items.target.rpartition("/")[2]
    items.extra = {"registry": {"dsn": pgbouncer.dsn(name)}}
    items.registry_extra = {"accepted": {"state": [0, 2]}}
    items.rows(range(201, 301))
    items.announce(range(201, 231))
    return items


def test_a_cutover_its_recheck_and_its_undo(pooled: World) -> None:
    report = pooled.cutover(deletes=True).report
    (told,) = report.data_types
    assert (report.verdict, told.gaps.count, told.backfilled, told.remaining) == (Verdict.CLEAR, 100, 100, 0)
    assert len(pooled.in_registry()) == 200
    with psycopg.connect(pooled.target) as db:
        db.execute("UPDATE item_registry SET state = 2 WHERE item_id = 250")
    settings = pooled.settings()
    with closing(Ledger.of(settings)) as ledger:
        assert recheck.run(settings, ledger, recall.load(ledger, report.run), say=Silent()).report.verdict is Verdict.CLEAR
        assert recall.verify(ledger, report.run).intact
        taken = undo.run(settings, ledger, report.run, say=Silent()).data_types["item"]
    assert (taken.removed, taken.touched, taken.gone) == (99, 1, 0)
    assert pooled.in_registry() == {str(key) for key in (*range(1, 101), 250)}


def test_two_captains_end_with_one_run(pooled: World) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = [done.result().report for done in [pool.submit(pooled.cutover) for _ in range(2)]]
    if one.run == other.run:
        assert one == other
        assert one.data_types[0].backfilled == 100
    else:  # the second came when the first had ended: nothing was left to insert
        assert sorted(r.data_types[0].backfilled for r in (one, other)) == [0, 100]
    assert (one.verdict, other.verdict) == (Verdict.CLEAR, Verdict.CLEAR)
    assert len(pooled.in_registry()) == 200


def test_source_registry_and_ledger_all_behind_one_pool(pooled: World, pgbouncer: PgBouncer) -> None:
    pooled.extra |= {"source": {"dsn": pgbouncer.dsn(pooled.source.rpartition("/")[2])}}
    (told,) = pooled.gaps(deletes=True).report.data_types
    assert told.gaps.count == 100
    report = pooled.cutover(deletes=True).report
    (told,) = report.data_types
    assert (report.verdict, told.gaps.count, told.backfilled, told.remaining) == (Verdict.CLEAR, 100, 100, 0)
    assert pooled.sweep().report.verdict is Verdict.CLEAR
    assert pooled.cutover(since="auto").report.verdict is Verdict.CLEAR


@pytest.mark.parametrize("side", ["source", "registry", "ledger"])
def test_a_pool_in_statement_mode_is_refused_at_the_door(
    items: World, postgres: Postgres, stand_folder: Path, side: str
) -> None:
    dsn = items.source if side == "source" else items.target
    with needed(), PgBouncer(stand_folder / f"pgbouncer-{side}", postgres, mode="statement") as pool:
        items.extra = {"ledger": {"dsn": items.target}} | {side: {"dsn": pool.dsn(dsn.rpartition("/")[2])}}
        with pytest.raises(UnavailableError, match=f"cannot use the {side} .*statement pooling mode") as told:
            items.cutover()
    assert told.value.hint == "name the server itself, or a pool in transaction or session mode"


def test_a_pool_too_small_for_the_slices_is_told(items: World, postgres: Postgres, stand_folder: Path) -> None:
    with needed(), PgBouncer(stand_folder / "pgbouncer-small", postgres, size=3, wait=2) as pool:
        items.extra = {"source": {"dsn": pool.dsn(items.source.rpartition("/")[2]), "slices": 8}}
        with pytest.raises(UnavailableError, match="query_wait_timeout") as told:
            items.gaps()
    assert "source.slices" in (told.value.hint or "")
