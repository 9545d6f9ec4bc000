"""A verdict is checked again only in the world it was about; there, any unregistered key counts, whatever its date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler import history, recall, recheck
from reconciler.ports import Silent
from schemas.errors import CatalogError, SettingsError
from schemas.verdict import Report, Verdict
from tests.recipes.world import World


def again(world: World, run: str) -> Report:
    settings = world.settings()
    with closing(Ledger.of(settings)) as ledger:
        return recheck.run(settings, ledger, recall.load(ledger, run), say=Silent()).report


def moved(report: Report) -> str:
    """Why it cannot be told; the verdict is withheld by that alone."""
    assert report.verdict is Verdict.CANNOT_TELL
    assert report.verdict.exit_code == 4
    failed = [p for p in report.proofs if p.held is False]
    assert [p.name for p in failed] == ["world"]
    assert failed[0].try_ is not None
    return failed[0].seen


def on_source(world: World, *statements: str) -> None:
    with psycopg.connect(world.source, autocommit=True) as db:
        for statement in statements:
            db.execute(statement)


def on_target(world: World, *statements: str) -> None:
    with psycopg.connect(world.target, autocommit=True) as db:
        for statement in statements:
            db.execute(statement)


@pytest.fixture
def judged(items: World) -> tuple[World, str]:
    """A cutover over the last two hours that ended CLEAR."""
    items.source_extra = {"scope": [{"column": "project_id", "in": [1, 2]}]}
    items.registry_extra = {"accepted": {"state": [0, 2]}}
    report = items.cutover(since="2h").report
    assert report.verdict is Verdict.CLEAR
    return items, report.run


def test_a_verdict_stands_in_the_same_world_until_a_key_of_any_date_is_unregistered(judged: tuple[World, str]) -> None:
    items, run = judged
    assert again(items, run).verdict is Verdict.CLEAR
    assert "world" in [p.name for p in again(items, run).proofs if p.held]
    items.rows([7001], items.now - timedelta(days=900))
    report = again(items, run)
    assert (report.verdict, report.kind, report.run) == (Verdict.GAPS, "recheck", run)
    assert report.data_types[0].gaps.keys == ["7001"]
    assert "7001" not in items.in_registry()


def test_a_registry_row_that_went_is_found(judged: tuple[World, str]) -> None:
    items, run = judged
    on_target(items, "DELETE FROM item_registry WHERE item_id = 5")
    assert again(items, run).data_types[0].gaps.keys == ["5"]


COPY = "CREATE TABLE other AS TABLE items; ALTER TABLE other ADD PRIMARY KEY (id); DROP TABLE items; ALTER TABLE other"


def _scope(world: World) -> None:
    world.source_extra = {"scope": [{"column": "project_id", "in": [1]}]}


def _states(world: World) -> None:
    world.registry_extra = {"accepted": {"state": [2]}}


def _other_registry(world: World) -> None:
    on_target(world, "CREATE TABLE twin (LIKE item_registry INCLUDING ALL)", "INSERT INTO twin TABLE item_registry")
    world.registry_extra = world.registry_extra | {"table": "public.twin"}


def _more_skew(world: World) -> None:
    world.extra = {"fence": {"settle": "0s", "skew": "365d"}}


def _other_zone(world: World) -> None:
    world.source_extra = world.source_extra | {"zone": "Asia/Tokyo"}


def _other_times(world: World) -> None:
    world.registry_extra = world.registry_extra | {"created_at": "created_at"}


MOVES: dict[str, tuple[Callable[[World], object], str]] = {
    "the source table was made anew": (lambda w: on_source(w, f"{COPY} RENAME TO items"), "source table was public.items (oid"),
    "the source table was written anew": (lambda w: on_source(w, "VACUUM FULL items"), "public.items was emptied or written"),
    "the registry was emptied": (
        lambda w: on_target(w, "CREATE TABLE kept AS TABLE item_registry", "TRUNCATE item_registry",
                            "INSERT INTO item_registry TABLE kept"),
        "public.item_registry was emptied",
    ),
    "another scope": (_scope, "scope was"),
    "other states count": (_states, "accepted states was"),
    "another registry table": (_other_registry, "registry table was public.item_registry"),
    "another zone of its dates": (_other_zone, "zones was"),
    "other creation times": (_other_times, "creation times was"),
}  # fmt: skip


@pytest.mark.parametrize(("move", "said"), MOVES.values(), ids=MOVES.keys())
def test_a_world_that_has_moved_is_told_and_not_judged(
    judged: tuple[World, str], move: Callable[[World], object], said: str
) -> None:
    items, run = judged
    move(items)
    assert said in moved(again(items, run))


def test_a_stale_registration_is_not_made_good_by_more_patience(items: World) -> None:
    """How far two clocks may differ is part of what was judged."""
    items.registry_extra = {"created_at": "created_at"}
    on_target(items, "UPDATE item_registry SET created_at = created_at - interval '1 day' WHERE item_id = 5")
    judged = items.cutover().report
    assert judged.data_types[0].gaps.by_class == {"stale_registration": 1}
    assert again(items, judged.run).verdict is Verdict.GAPS
    _more_skew(items)
    assert "skew was" in moved(again(items, judged.run))


def test_another_database_of_the_same_name_and_tables_is_another_world(judged: tuple[World, str], database: str) -> None:
    items, run = judged
    with psycopg.connect(database) as db:
        db.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
        db.execute("INSERT INTO items SELECT g, 1, now() FROM generate_series(1, 100) g")
    items.extra = {"source": {"dsn": database}, "ledger": {"dsn": items.target}}
    report = again(items, run)
    assert report.verdict is Verdict.CANNOT_TELL
    assert {p.name for p in report.proofs if p.held is False} == {"identity", "world"}


def test_a_partition_that_came_is_compared_and_one_that_went_is_told(world: World) -> None:
    world.tables()
    on_source(
        world,
        "DROP TABLE items",
        "CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz) PARTITION BY RANGE (id)",
        "CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (1) TO (1000)",
    )
    world.fine(range(1, 11))
    run = world.cutover().report.run
    on_source(world, "CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM (1000) TO (2000)")
    assert again(world, run).verdict is Verdict.CLEAR
    world.rows([1500], world.now - timedelta(days=900))
    assert again(world, run).data_types[0].gaps.keys == ["1500"]
    on_source(world, "ALTER TABLE items DETACH PARTITION items_1")
    assert "public.items_1 is no longer a part of it" in moved(again(world, run))


def test_a_run_without_a_verdict_cannot_be_checked_again(judged: tuple[World, str]) -> None:
    items, _ = judged
    with closing(Ledger.of(items.settings())) as ledger:
        unfinished = history.begin(ledger, "cutover", "sha256:x")
        failed = history.begin(ledger, "cutover", "sha256:x")
        history.fail(ledger, failed, "the source went away")
    for run in (unfinished, failed):
        with pytest.raises(SettingsError, match="gave no verdict") as told:
            again(items, run)
        assert told.value.exit_code == 2


def test_a_verdict_of_a_version_that_kept_no_world_is_not_vouched_for(judged: tuple[World, str]) -> None:
    items, run = judged
    on_target(items, "UPDATE fencepost.run SET world = NULL")
    assert "recorded without what it was about" in moved(again(items, run))


def test_a_data_type_or_table_that_is_gone_is_an_error_and_no_verdict(judged: tuple[World, str]) -> None:
    items, run = judged
    on_source(items, "ALTER TABLE items RENAME TO moved_items")
    with pytest.raises(CatalogError, match="items"):
        again(items, run)
    items.extra = {"data_types": {"other": items.plain()["data_types"]["item"]}}
    with pytest.raises(SettingsError, match="item"):
        again(items, run)


def test_a_gaps_is_checked_again_with_a_word_on_what_it_was(items: World) -> None:
    run = items.gaps().report.run
    report = again(items, run)
    assert report.verdict is Verdict.CLEAR
    assert "for its moment only" in " ".join(report.notes)


def test_deletes_that_were_judged_are_checked_again_by_the_rows(items: World) -> None:
    """A run that ended CLEAR is not CLEAR for ever, and one that ended GAPS by an orphan alone was never."""
    run = items.cutover(deletes=True).report.run
    report = again(items, run)
    assert (report.verdict, report.claims.deletes) == (Verdict.CLEAR, "CLEAR")
    assert "by the rows alone" in " ".join(report.notes)
    with psycopg.connect(items.source) as db:
        db.execute("DELETE FROM items WHERE id = 7")
    for judged in (run, items.cutover(deletes=True).report.run):
        report = again(items, judged)
        assert (report.verdict, report.claims.creates, report.claims.deletes) == (Verdict.GAPS, "CLEAR", "GAPS")
        assert report.data_types[0].orphans.keys == ["7"]
    without = items.cutover().report.run
    assert (again(items, without).verdict, again(items, without).claims.deletes) == (Verdict.CLEAR, "not asked")
