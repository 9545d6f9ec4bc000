"""Orphans are removed only as the settings say, never while their row exists, and stand again after an undo."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from reconciler import recall, undo
from reconciler.backfill.source import Source
from reconciler.ports import Silent
from reconciler.removal import take
from reconciler.report.text import text
from schemas.errors import SettingsError
from tests.recipes.world import World

Rows = dict[int, tuple[int, int, str]]


def registry(world: World) -> Rows:
    with psycopg.connect(world.target) as db:
        return {row[0]: row for row in db.execute("SELECT item_id, state, t::text FROM item_registry t")}


def undone(world: World, run: str) -> undo.Counts:
    settings, ledger, _ = world._handed()
    with closing(ledger):
        return undo.run(settings, ledger, run, say=Silent()).data_types["item"]


def notes(world: World, **options: Any) -> tuple[str, str]:
    """Sweep; the run, and everything noted."""
    report = world.sweep(backfill=True, **options).report
    return report.run, " ".join([*report.notes, *(note for t in report.data_types for note in t.notes)])


#: Three rows without a source row, with every kind of column that a copy could get wrong.
ORPHANS = r"""
CREATE TYPE mood AS ENUM ('so so', 'it''s "fine"');
ALTER TABLE item_registry ADD note text, ADD tags text[], ADD doc jsonb, ADD at_all timestamp, ADD share float8,
  ADD feeling mood, ADD raw bytea, ADD "odd % name" int,
  ADD twice bigint GENERATED ALWAYS AS (item_id * 2) STORED, ADD gone int;
ALTER TABLE item_registry DROP COLUMN gone;
INSERT INTO item_registry (item_id, state, note, tags, doc, at_all, share, feeling, raw, "odd % name") VALUES
  (901, 2, E'a,\n"b" (c) \\ %s', '{x,NULL,"y,z"}', '{"k": [1, null]}', '2026-01-01 00:00:00.000001', 0.1,
   'it''s "fine"', '\x00ff', 7),
  (902, 1, '', '{}', 'null', 'infinity', 'NaN', NULL, '', NULL);
INSERT INTO item_registry (item_id, state) VALUES (903, 0);
"""


@pytest.fixture
def orphaned(items: World) -> World:
    with psycopg.connect(items.target) as db:
        db.execute(ORPHANS)
    return items


@pytest.mark.parametrize("beside", [False, True], ids=["one database", "ledger elsewhere"])
def test_deleted_orphans_stand_again_to_the_last_column_after_an_undo(orphaned: World, beside: bool) -> None:
    if beside:
        orphaned.extra = {"ledger": {"dsn": orphaned.source}}
    before = registry(orphaned)
    orphaned.registry_extra = {"orphans": "delete"}
    report = orphaned.sweep(backfill=True).report
    assert registry(orphaned).keys() == before.keys() - {901, 902, 903}
    (told,) = report.data_types
    assert (told.orphans.count, told.orphans.removed) == (3, 3)
    assert "3 orphans were deleted (registry.orphans)" in " ".join(text(report).split())
    assert orphaned.sweep(backfill=True).report.verdict.value == "CLEAR"
    counts = undone(orphaned, report.run)
    assert (counts.put_back, counts.left) == (3, 0)
    assert registry(orphaned) == before
    assert undone(orphaned, report.run).put_back == 0, "a second undo has nothing to put back"


def test_orphans_get_their_state_and_an_undo_gives_back_the_old_one_unless_somebody_touched_it(orphaned: World) -> None:
    before = registry(orphaned)
    orphaned.registry_extra = {"orphans": {"state": 5}}
    run, said = notes(orphaned)
    assert "3 orphans were set to state = 5" in said
    after = registry(orphaned)
    assert {key: row[1] for key, row in after.items() if row != before[key]} == {901: 5, 902: 5, 903: 5}
    with psycopg.connect(orphaned.target) as db:
        db.execute("UPDATE item_registry SET note = 'mine now' WHERE item_id = 902")
    counts = undone(orphaned, run)
    assert (counts.put_back, counts.left) == (2, 1)
    states = {key: row[1] for key, row in registry(orphaned).items() if key > 900}
    assert states == {901: 2, 902: 5, 903: 0}


def test_orphans_that_have_their_state_are_not_set_again_so_that_the_run_which_set_them_can_be_undone(
    orphaned: World,
) -> None:
    before = registry(orphaned)
    orphaned.registry_extra = {"orphans": {"state": 5}}
    first, _ = notes(orphaned)
    after = orphaned_states(orphaned)
    orphaned.registered([904])
    report = orphaned.sweep(backfill=True, max_backfill=1).report
    (told,) = report.data_types
    assert (told.orphans.count, told.orphans.removed) == (4, 4)
    assert "3 orphans had that state before" in " ".join(told.notes)
    assert "1 orphan was set to state = 5" in " ".join(told.notes)
    assert {key: row for key, row in orphaned_states(orphaned).items() if key != 904} == after
    _, said = notes(orphaned)
    assert "4 orphans had that state before" in said
    assert "orphans were removed" not in said
    counts = undone(orphaned, first)
    assert (counts.put_back, counts.left) == (3, 0)
    assert {key: row for key, row in registry(orphaned).items() if key != 904} == before


def orphaned_states(world: World) -> dict[int, str]:
    """Whole, with the transaction that wrote each row last."""
    with psycopg.connect(world.target) as db:
        return dict(db.execute("SELECT item_id, xmin::text || t::text FROM item_registry t WHERE item_id > 900").fetchall())


def test_where_a_row_of_the_key_stands_by_now_an_undo_leaves_it_alone(orphaned: World) -> None:
    orphaned.registry_extra = {"orphans": "delete"}
    run, _ = notes(orphaned)
    orphaned.registered([902], state=1)
    newer = registry(orphaned)[902]
    counts = undone(orphaned, run)
    assert (counts.put_back, counts.left) == (2, 1)
    assert registry(orphaned)[902] == newer


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda _: None, "orphans"),  # `list`
        (lambda w: w.registry_extra.update(orphans="list"), "orphans"),
        (lambda w: forbid(w, "CREATE TABLE child (r bigint REFERENCES item_registry (id) ON DELETE CASCADE)"), "foreign keys"),
        (lambda w: forbid(w, "ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key"), "unique index"),
        (lambda w: (w.registry_extra.update(orphans="delete"), w.publish([b"{}"])), "decoded: 1 record in quarantine"),
    ],
    ids=["default", "list", "cascade", "no unique index", "a proof that failed"],
)
def test_nothing_is_removed_where_it_may_not_be(orphaned: World, prepare: Callable[[World], Any], why: str) -> None:
    before = registry(orphaned)
    prepare(orphaned)
    _, said = notes(orphaned)
    assert registry(orphaned) == before
    if orphaned.registry_extra.get("orphans") == "delete":
        assert "3 orphans were not removed" in said
        assert why in said


def forbid(world: World, ddl: str) -> None:
    world.registry_extra = {"orphans": "delete"}
    with psycopg.connect(world.target) as db:
        db.execute(ddl)


def test_rows_of_another_data_type_in_the_same_registry_are_never_removed(items: World) -> None:
    """None of them has a row in the first type's source: all of them pass for its orphans."""
    with psycopg.connect(items.source) as db:
        db.execute(
            "CREATE TABLE others (LIKE items INCLUDING ALL); INSERT INTO others SELECT g FROM generate_series(501, 503) g"
        )
    items.registered([501, 502, 503, 901])
    items.registry_extra = {"orphans": "delete"}
    item = items.plain()["data_types"]["item"]
    other = item | {"source": item["source"] | {"table": "public.others"}}
    items.extra = {"data_types": {"item": item | {"match": {"of": "item"}}, "other": other | {"match": {"of": "other"}}}}
    before = registry(items)
    _, said = notes(items)
    assert registry(items) == before
    assert "4 orphans were not removed: public.item_registry is the registry of 'other' too" in said


@pytest.mark.parametrize(
    ("policy", "ddl", "why"),
    [
        ({"state": 5}, "ALTER TABLE item_registry ADD CONSTRAINT no CHECK (state < 5)", "constraint 'no'"),
        ({"state": "five"}, "SELECT", "invalid input syntax for type smallint"),
        (
            "delete",
            "CREATE TABLE c (id int8 CONSTRAINT no REFERENCES item_registry); INSERT INTO c SELECT max(id) FROM item_registry",
            "constraint 'no'",
        ),
    ],
    ids=["a check", "not a value of the column", "referred to"],
)
def test_orphans_that_the_registry_refuses_to_give_up_keep_nobody_from_the_report(
    orphaned: World, policy: Any, ddl: str, why: str
) -> None:
    """What was inserted before that is told, and the pass is finished."""
    orphaned.registry_extra = {"orphans": policy}
    orphaned.rows([201])
    with psycopg.connect(orphaned.target) as db:
        db.execute(ddl)
    before = registry(orphaned)
    report = orphaned.sweep(backfill=True).report
    (told,) = report.data_types
    assert (told.backfilled, told.orphans.count, told.orphans.removed) == (1, 3, 0)
    assert why in " ".join(told.notes)
    assert not any("orphans were removed" in note for note in report.notes)
    assert {key: row for key, row in registry(orphaned).items() if key != 201} == before
    with psycopg.connect(orphaned.target) as db:
        assert db.execute("SELECT state, found, fixed FROM fencepost.sweep").fetchall() == [("finished", 4, 1)]


def test_an_orphan_never_gets_another_key(orphaned: World) -> None:
    """As the state of one: its row would then stand for a row that is not registered."""
    orphaned.registry_extra = {"orphans": {"item_id": 201}}
    with pytest.raises(SettingsError, match=r"registry\.orphans must not set a column of registry\.key"):
        orphaned.sweep(backfill=True)
    before = registry(orphaned)
    orphaned.registry_extra = {"orphans": {"ITEM_ID": 201}}  # as the database would read it
    _, said = notes(orphaned)
    assert "3 orphans were not removed: ITEM_ID is the key" in said
    assert registry(orphaned) == before


def test_without_being_told_to_heal_and_above_the_cap_nothing_is_removed(orphaned: World) -> None:
    before = registry(orphaned)
    orphaned.registry_extra = {"orphans": "delete"}
    orphaned.sweep()
    assert registry(orphaned) == before
    _, said = notes(orphaned, max_backfill=2)
    assert "--max-backfill allows 2" in said
    assert registry(orphaned) == before


@pytest.mark.parametrize("policy", ["delete", {"state": 5}], ids=str)
@pytest.mark.parametrize("nth", [1, 2], ids=["right before", "right after"])
def test_an_orphan_whose_row_comes_back_meanwhile_stands(
    orphaned: World, monkeypatch: pytest.MonkeyPatch, policy: Any, nth: int
) -> None:
    """Its id is used again between the second look and the removal, or between the removal and the look after it."""
    orphaned.registry_extra = {"orphans": policy}
    before = registry(orphaned)
    real, calls = Source.look, [0]

    def look(self: Source, *args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth:
            orphaned.rows([902])
        return real(self, *args, **options)

    monkeypatch.setattr(Source, "look", look)
    notes(orphaned)
    assert registry(orphaned)[902] == before[902]
    if policy == "delete":
        assert registry(orphaned).keys() & {901, 902, 903} == {902}


def test_an_orphan_that_is_registered_anew_before_it_is_removed_stands(
    orphaned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row and registry row come into being after the source was asked: the version that was read is no more."""
    orphaned.registry_extra = {"orphans": "delete"}
    real = take._Remover._remove

    def removed(self: Any, *args: Any) -> Any:
        with psycopg.connect(orphaned.target) as db:
            db.execute("UPDATE item_registry SET state = 1 WHERE item_id = 902")
        return real(self, *args)

    monkeypatch.setattr(take._Remover, "_remove", removed)
    _, said = notes(orphaned)
    assert registry(orphaned).keys() & {901, 902, 903} == {902}
    assert "1 orphan was left" in said


def test_what_a_crash_left_is_asked_for_again_and_put_back(orphaned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    orphaned.registry_extra = {"orphans": "delete"}
    before = registry(orphaned)

    def died(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(take._Remover, "_look_again", died)
        with pytest.raises(KeyboardInterrupt):
            orphaned.sweep(backfill=True)
    assert not registry(orphaned).keys() & {901, 902, 903}
    orphaned.rows([902])
    with psycopg.connect(orphaned.source) as db:
        db.execute("ALTER TABLE items RENAME TO kept; CREATE TABLE items (LIKE kept INCLUDING ALL)")
    _, said = notes(orphaned)  # another table of its name cannot say whose row came back
    assert "asked of the source is another by now" in said
    with psycopg.connect(orphaned.source) as db:
        db.execute("DROP TABLE items; ALTER TABLE kept RENAME TO items")
    _, said = notes(orphaned)
    assert "finished 1 batch of orphans that earlier runs removed, put back 1 row of them" in said
    assert registry(orphaned)[902] == before[902]


def test_a_changed_journal_of_removals_breaks_the_chain(orphaned: World) -> None:
    orphaned.registry_extra = {"orphans": "delete"}
    run, _ = notes(orphaned)
    _, ledger, _ = orphaned._handed()
    assert recall.verify(ledger, run).intact
    with psycopg.connect(orphaned.target) as db:
        db.execute("DELETE FROM fencepost.removal")
    assert not recall.verify(ledger, run).intact
