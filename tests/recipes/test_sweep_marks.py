"""Since when a sweep makes a window safe: nobody older may still commit a row of that table, and the registry still stands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from reconciler.sweeping import book, cut
from schemas.verdict import Verdict
from tests.recipes.test_status import at, told
from tests.recipes.test_sweep_broken_off import broken_off
from tests.recipes.world import World, found

WITHOUT_LOG: dict[str, Any] = {"without_log": True}


@contextlib.contextmanager
def writer_of(world: World, table: str) -> Iterator[str]:
    """A role that may write this table and no other."""
    name = sql.Identifier(role := f"writer of {world.topic}")
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(sql.SQL("CREATE ROLE {} LOGIN; GRANT INSERT ON {} TO {}").format(name, sql.Identifier(table), name))
        try:
            yield role
        finally:
            db.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def test_a_mark_of_another_table_does_not_date_a_prepared_transaction(items: World) -> None:
    """Its role could not write that table, so it was not in that mark, and is older than the mark says."""
    with psycopg.connect(items.source) as db:
        db.execute("CREATE TABLE others (LIKE items INCLUDING ALL); INSERT INTO others SELECT * FROM items")
    with psycopg.connect(items.target) as db:
        db.execute("CREATE TABLE other_registry (LIKE item_registry INCLUDING ALL)")
        db.execute("INSERT INTO other_registry SELECT * FROM item_registry")
    item = items.plain()["data_types"]["item"]
    other = {
        "match": {"of": "other"},
        "source": item["source"] | {"table": "public.others"},
        "registry": item["registry"] | {"table": "public.other_registry"},
    }
    items.extra = {"data_types": {"item": item | other, "first": item | {"match": {"of": "first"}}}, "fence": {"skew": "0s"}}
    gid = f"late of {items.topic}"
    with writer_of(items, "others") as role, psycopg.connect(items.source, user=role, autocommit=True) as late:
        late.execute("BEGIN")
        (began,) = late.execute("SELECT now()").fetchone() or (None,)
        late.execute("INSERT INTO others VALUES (201, 1, now())")
        items.sweep(names=("first",), **WITHOUT_LOG)
        late.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(gid)))
        items.sweep(names=("item",), **WITHOUT_LOG)
        late.execute(sql.SQL("COMMIT PREPARED {}").format(sql.Literal(gid)))
    items.extra["data_types"].pop("first")  # `told` tells the first
    plain, text = told(items)
    assert plain["safe_since"] is None or at(plain["safe_since"]) <= began
    assert "a prepared transaction tells nobody when it began" in text
    assert "pg_read_all_stats" not in text


@pytest.mark.parametrize("statement", ["TRUNCATE item_registry", "VACUUM FULL item_registry"])
def test_a_registry_that_is_emptied_behind_a_sweep_is_noticed_at_its_end(
    items: World, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    real: Callable[..., None] = book.store

    def store(*args: Any) -> None:
        real(*args)
        with psycopg.connect(items.target, autocommit=True) as db:
            db.execute(statement)

    monkeypatch.setattr(book, "store", store)
    report = items.sweep(**WITHOUT_LOG).report
    assert report.verdict is Verdict.CANNOT_TELL
    (proof,) = [proof for proof in report.proofs if proof.held is False]
    assert (proof.name, proof.data_type) == ("snapshot", "item")
    assert "public.item_registry was emptied or written anew" in proof.seen
    plain, text = told(items)
    assert plain["safe_since"] is None
    assert "--since auto looks for every key that the pass verified" in text
    lost = {str(key) for key in range(1, 101)} if "TRUNCATE" in statement else set()
    assert set(found(items.gaps(since="auto", **WITHOUT_LOG))) == lost


def test_a_pass_that_was_broken_off_begins_anew_where_the_registry_was_emptied_since(
    items: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "DENSE_ROWS", 30)
    broken_off(items, monkeypatch)
    with psycopg.connect(items.target) as db:
        db.execute("TRUNCATE item_registry")
    items.registered(range(51, 101))
    report = items.sweep(**WITHOUT_LOG).report
    assert any("was given up: public.item_registry was emptied or written anew" in note for note in report.notes)
    assert report.verdict is Verdict.GAPS
    assert report.data_types[0].gaps.count == 50


def test_a_registry_that_is_emptied_after_a_sweep_leaves_no_window_safe(items: World) -> None:
    items.sweep(**WITHOUT_LOG)
    assert at(told(items)[0]["safe_since"]) > items.now - timedelta(hours=1)
    with psycopg.connect(items.target) as db:
        db.execute("TRUNCATE item_registry")
    plain, text = told(items)
    assert plain["safe_since"] is None
    assert "was emptied or written anew" in text


def test_a_partition_that_is_taken_from_the_registry_is_noticed_and_one_that_is_added_is_not(world: World) -> None:
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
    with psycopg.connect(world.target) as db:
        db.execute("CREATE TABLE item_registry (item_id bigint PRIMARY KEY, state int, created_at timestamptz)"
                   " PARTITION BY RANGE (item_id)")  # fmt: skip
        for low in (0, 50):
            db.execute(f"CREATE TABLE part{low} PARTITION OF item_registry FOR VALUES FROM ({low}) TO ({low + 50})")
    world.fine(range(1, 100))
    world.sweep(**WITHOUT_LOG)
    with psycopg.connect(world.target) as db:
        db.execute("CREATE TABLE part100 PARTITION OF item_registry FOR VALUES FROM (100) TO (150)")
    assert told(world)[0]["safe_since"] is not None
    with psycopg.connect(world.target) as db:
        db.execute("ALTER TABLE item_registry DETACH PARTITION part50")
    plain, text = told(world)
    assert plain["safe_since"] is None
    assert "public.part50 is no longer a part of it" in text
