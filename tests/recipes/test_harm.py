"""What a cutover refuses to write, and how it says so: the wrong side, a closed registry, keys that are not the same ids."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler import recall, undo
from reconciler.ports import Silent
from schemas.errors import CatalogError, Exit, MisfitError, UnavailableError
from schemas.settings import Dsn
from schemas.verdict import Report, Verdict
from terminal.errors import report_failure
from tests.recipes.world import World, found
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until


@pytest.fixture
def databases_with_ledger(databases: tuple[str, str]) -> tuple[str, str]:
    """Without one: that none is made in the wrong place is part of the matter."""
    return databases


def on(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        for statement in statements:
            db.execute(statement)


def schemas_of(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as db:
        return {name for (name,) in db.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")}


def swapped(world: World) -> None:
    world.extra = {"source": {"dsn": world.target}, "registry": {"dsn": world.source}}


def test_swapped_connection_strings_write_nothing_anywhere(items: World) -> None:
    """Failure mode 67: not even a ledger is made on what is in truth the source."""
    items.rows([201])
    swapped(items)
    with pytest.raises(CatalogError, match="items"):
        items.cutover()
    assert "fencepost" not in schemas_of(items.source) | schemas_of(items.target)


def test_swapped_connection_strings_of_databases_that_both_have_both_tables_are_recognised(items: World) -> None:
    """Failure mode 67, where nothing but the recorded identity can tell the sides apart."""
    items.rows([201])
    items.extra = {"ledger": {"dsn": items.target}}
    assert items.gaps().report.verdict is Verdict.GAPS
    on(items.source, "CREATE TABLE item_registry (id bigserial PRIMARY KEY, item_id bigint NOT NULL UNIQUE,"
       " state smallint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now())")  # fmt: skip
    on(items.target, "CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)",
       "INSERT INTO items SELECT g, 1, now() FROM generate_series(1, 50) g")  # fmt: skip
    swapped(items)
    items.extra |= {"ledger": {"dsn": items.extra["source"]["dsn"]}}
    report = items.cutover().report
    assert report.verdict is Verdict.CANNOT_TELL
    assert "identity" in [p.name for p in report.proofs if p.held is False]
    with psycopg.connect(items.source) as db:
        assert db.execute("SELECT count(*) FROM item_registry").fetchone() == (0,)


def not_written(report: Report, why: str) -> None:
    assert report.verdict is Verdict.GAPS
    assert report.data_types[0].backfilled == 0
    assert why in " ".join(report.notes)


def test_a_read_only_registry_is_told_and_the_gaps_are(items: World, database: str) -> None:
    items.rows([201])
    items.extra = {"ledger": {"dsn": database}}
    name = items.target.rpartition("/")[2]
    on(items.target, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    not_written(items.cutover().report, "the registry is read-only for our role")
    on(items.target, "SET default_transaction_read_only = off", f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    assert items.cutover().report.verdict is Verdict.CLEAR


def test_a_registry_on_a_standby_is_told_and_the_gaps_are(items: World, database: str, postgres: Postgres) -> None:
    items.rows([201])
    with postgres.standby() as standby:
        name = items.target.rpartition("/")[2]
        wait_until(lambda: _there(standby.dsn(name)), "the standby has the registry")
        items.extra = {"ledger": {"dsn": database}, "registry": {"dsn": standby.dsn(name)}}
        not_written(items.cutover().report, "the registry is a standby")


def _there(dsn: str) -> bool:
    with psycopg.connect(dsn) as db:
        return db.execute("SELECT count(*) FROM item_registry").fetchone() == (100,)


def test_more_than_half_missing_is_told_as_a_suspect_mapping(items: World) -> None:
    """Failure mode 82: most often the keys are not the same ids."""
    items.rows(range(201, 300))
    assert "more than half" not in " ".join(items.gaps().report.data_types[0].notes)
    items.rows(range(300, 310))
    report = items.cutover(dry_run=True).report
    note = " ".join(report.data_types[0].notes)
    assert "109 of 209 source rows are missing, more than half" in note
    assert "source.key id and registry.key item_id" in note


def test_forged_creations_close_no_gap_and_bring_no_row(items: World) -> None:
    """Failure mode S20: whoever may write to the topic is believed about nothing but what was announced."""
    items.rows([201])
    items.announce([201, 999])
    outcome = items.gaps()
    assert found(outcome) == {"201": ("unapplied_create", "unapplied")}
    assert outcome.report.verdict is Verdict.GAPS
    assert items.cutover().report.data_types[0].backfilled == 1
    assert items.in_registry() == {str(key) for key in (*range(1, 101), 201)}


def test_why_a_run_failed_is_told_even_where_the_ledger_is_away_too(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def both_gone(*_: object, **__: object) -> None:
        on(items.target, "ALTER SCHEMA fencepost RENAME TO gone")
        raise UnavailableError("the source went away")

    monkeypatch.setattr("reconciler.cutover.look", both_gone)
    with pytest.raises(UnavailableError, match="the source went away"):
        items.cutover()


def test_a_cutover_that_fails_after_its_first_rows_says_that_it_wrote_and_how_they_are_taken_back(
    items: World, capsys: pytest.CaptureFixture[str]
) -> None:
    items.rows([201, 202, 203])
    items.extra = {"backfill": {"batch": 1}}
    on(
        items.target,
        "CREATE FUNCTION no_203() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.item_id = 203 THEN"
        " RAISE EXCEPTION 'not this one' USING ERRCODE = 'query_canceled'; END IF; RETURN new; END$$",
        "CREATE TRIGGER no_203 BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION no_203()",
    )
    with pytest.raises(UnavailableError, match="not this one") as failed:
        items.cutover()
    with closing(Ledger(Dsn(items.target), "fencepost")) as ledger:
        (run,) = [past for past in recall.runs(ledger, 9) if past.kind == "cutover"]
        more = f"registry rows were written before that: `fencepost undo {run.run}` takes them back"
        assert (run.note or "").endswith(f"not this one; {more}")
        assert report_failure(failed.value) == 1
        assert capsys.readouterr().err.splitlines()[-1] == f"fencepost: {more}"
        taken = undo.run(items.settings(), ledger, run.run, say=Silent())
    assert taken.data_types["item"].removed == 2
    assert items.in_registry() == {str(key) for key in range(1, 101)}


def test_an_undo_names_the_rows_that_somebody_touched_and_a_second_one_finds_nothing(items: World) -> None:
    items.rows(range(201, 211))
    run = items.cutover().report.run
    on(items.target, "UPDATE item_registry SET state = 1 WHERE item_id IN (203, 207)")
    on(items.target, "DELETE FROM item_registry WHERE item_id = 210")
    settings = items.settings()
    with closing(Ledger(Dsn(items.target), "fencepost")) as ledger:
        first, second = (undo.run(settings, ledger, run, say=Silent()) for _ in range(2))
    (told,) = first.plain()["data_types"]
    assert told == {
        "name": "item", "removed": 7, "touched": 2, "gone": 1, "touched_keys": ["203", "207"],
        "orphans": {"put_back": 0, "left": 0},
    }  # fmt: skip
    assert "2 left alone, touched since or referred to: 203, 207" in first.text()
    assert second.data_types["item"].removed == 0
    assert items.in_registry() == {str(key) for key in (*range(1, 101), 203, 207)}


REFUSED = {
    "a trigger": "CREATE FUNCTION no_203() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.item_id = 203 THEN"
    " RAISE EXCEPTION 'not this one'; END IF; RETURN new; END$$;"
    " CREATE TRIGGER no_203 BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION no_203()",
    "a constraint": "ALTER TABLE item_registry ADD CONSTRAINT not_this_one CHECK (item_id <> 203)",
    "a trigger's own code": "CREATE FUNCTION no_203() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.item_id = 203 THEN"
    " RAISE EXCEPTION 'not this one' USING ERRCODE = 'U0001'; END IF; RETURN new; END$$;"
    " CREATE TRIGGER no_203 BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION no_203()",
}


@pytest.mark.parametrize("batch", [1, 3, 5000])
@pytest.mark.parametrize("rule", REFUSED)
def test_a_row_that_the_registry_refuses_stays_a_gap_that_is_named_and_all_others_are_inserted(
    items: World, rule: str, batch: int
) -> None:
    """Failure mode 63: one row that cannot be inserted takes neither the report nor the other rows along."""
    items.rows(range(201, 211))
    items.extra = {"backfill": {"batch": batch}}
    on(items.target, REFUSED[rule])
    outcome = items.cutover()
    (told,) = outcome.report.data_types
    assert (outcome.report.verdict, told.gaps.count, told.backfilled, told.remaining) == (Verdict.GAPS, 10, 9, 1)
    assert "1 row could not be inserted, the first because: cannot insert 1 row into" in told.notes[0]
    assert "(keys '203')" in told.notes[0]
    assert "not this one" in told.notes[0].replace("_", " ")
    assert items.in_registry() == {*map(str, range(1, 101)), *map(str, range(201, 211))} - {"203"}
    with closing(Ledger.of(items.settings())) as ledger:
        assert recall.verify(ledger, outcome.report.run).intact
        taken = undo.run(items.settings(), ledger, outcome.report.run, say=Silent()).data_types["item"]
    assert taken.removed == 9
    assert items.in_registry() == set(map(str, range(1, 101)))


def test_a_row_refused_at_the_commit_leaves_no_journal_of_rows_that_never_stood(items: World) -> None:
    """The journal is in another database then, and was written before."""
    items.rows(range(201, 211))
    items.extra = {"ledger": {"dsn": items.source}}
    on(items.target, "CREATE TABLE parents (id bigint PRIMARY KEY)",
       "INSERT INTO parents SELECT g FROM generate_series(1, 300) g WHERE g <> 203",
       "ALTER TABLE item_registry ADD FOREIGN KEY (item_id) REFERENCES parents DEFERRABLE INITIALLY DEFERRED")  # fmt: skip
    outcome = items.cutover()
    (told,) = outcome.report.data_types
    assert (outcome.report.verdict, told.backfilled, told.remaining) == (Verdict.GAPS, 9, 1)
    with closing(Ledger.of(items.settings())) as ledger:
        taken = undo.run(items.settings(), ledger, outcome.report.run, say=Silent()).data_types["item"]
    assert (taken.removed, taken.touched, taken.gone) == (9, 0, 0)
    assert not any("earlier run" in note for note in items.cutover().report.notes)


def test_where_the_registry_refuses_row_after_row_the_data_type_is_left_there(items: World) -> None:
    items.rows(range(201, 301))
    on(items.target, "ALTER TABLE item_registry ADD CONSTRAINT not_these CHECK (item_id < 220) NOT VALID")
    (told,) = items.cutover().report.data_types
    assert (told.gaps.count, told.backfilled, told.remaining) == (100, 19, 81)
    assert "the backfill of this type stopped after 19 rows: cannot insert 1 row into" in told.notes[-1]
    assert "not_these" in told.notes[-1]


def test_a_row_that_an_exclusion_constraint_keeps_out_is_told_and_the_others_are_inserted(items: World) -> None:
    items.rows([201, 202, 203])
    on(
        items.target,
        "ALTER TABLE item_registry ADD span int8range GENERATED ALWAYS AS (int8range(item_id, item_id + 1)) STORED,"
        " ADD EXCLUDE USING gist (span WITH &&)",
        "ALTER TABLE item_registry ALTER span DROP EXPRESSION",
        "UPDATE item_registry SET span = '[202,203)' WHERE item_id = 1",
        "CREATE FUNCTION span() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN new.span := pg_catalog.int8range(new.item_id, new.item_id + 1); RETURN new; END$$",
        "CREATE TRIGGER span BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION span()",
    )
    (told,) = items.cutover().report.data_types
    assert (told.backfilled, told.remaining) == (2, 1)
    assert told.notes[0].startswith("1 rows were not inserted: each was registered by then, conflicts with another row")
    assert "202" not in items.in_registry()


def test_rows_that_are_inserted_in_a_state_that_does_not_count_are_told(items: World) -> None:
    """The settings contradict themselves, or rows count only once an applier has moved them."""
    items.rows([201, 202])
    items.registry_extra = {"accepted": {"state": [2]}, "insert": {"state": 0}}
    (told,) = items.cutover().report.data_types
    assert (told.backfilled, told.remaining) == (2, 2)
    (note,) = told.notes
    assert note.startswith("2 of the inserted rows are in a state that does not count: registry.accepted does not hold what")


def test_one_data_type_that_cannot_be_inserted_keeps_no_other_from_it(items: World) -> None:
    items.rows([201])
    on(items.source, "CREATE TABLE docs (id bigint PRIMARY KEY)", "INSERT INTO docs VALUES (1), (2)")
    on(items.target, "CREATE TABLE doc_registry (doc_id bigint PRIMARY KEY, owner text NOT NULL)")
    docs = {
        "topics": [items.topic],
        "format": "json",
        "event": {"key": "id"},
        "match": {"kind": "doc"},
        "source": {"table": "public.docs", "key": "id"},
        "registry": {"table": "public.doc_registry", "key": "doc_id"},
    }
    item = items.plain()["data_types"]["item"]
    items.extra = {"data_types": {"doc": docs, "item": item | {"match": {"kind": "item"}}}}
    outcome = items.cutover()
    told = {t.name: t for t in outcome.report.data_types}
    assert (told["doc"].gaps.count, told["doc"].backfilled, told["doc"].remaining) == (2, 0, 2)
    assert (told["item"].backfilled, told["item"].remaining) == (1, 0)
    assert "'owner' must not be empty" in told["doc"].notes[0]
    assert "registry.insert: {owner: …}" in told["doc"].notes[0]
    assert outcome.report.verdict is Verdict.GAPS


def test_a_rule_that_our_statement_cannot_pass_is_told_and_the_gaps_are(items: World) -> None:
    items.rows([201])
    on(
        items.target,
        "CREATE TABLE seen (item_id bigint)",
        "CREATE RULE also AS ON INSERT TO item_registry DO ALSO INSERT INTO public.seen VALUES (new.item_id)",
    )
    outcome = items.cutover()
    assert (outcome.report.verdict, outcome.report.data_types[0].backfilled) == (Verdict.GAPS, 0)
    assert set(found(outcome)) == {"201"}
    assert "a rule on INSERT" in outcome.report.data_types[0].notes[0]


def test_a_deferrable_constraint_beside_a_row_that_is_in_the_way_is_told_and_the_gaps_are(items: World) -> None:
    """PostgreSQL steps over no row of a table with such a constraint, whatever it is about."""
    items.rows([201, 202])
    on(
        items.target,
        # Looked into in the order of their names: the one that defers before the one that a row conflicts with.
        "ALTER TABLE item_registry ADD a int UNIQUE DEFERRABLE, ADD z int UNIQUE",
        "UPDATE item_registry SET z = 1 WHERE item_id = 1",
    )
    items.registry_extra = {"insert": {"state": 0, "z": 1}}
    outcome = items.cutover()
    assert (outcome.report.verdict, outcome.report.data_types[0].backfilled) == (Verdict.GAPS, 0)
    assert set(found(outcome)) == {"201", "202"}
    assert "a deferrable constraint" in outcome.report.data_types[0].notes[0]


@pytest.mark.parametrize(("extra", "of", "words"), [
    ({"scope": [{"column": "project_id", "eq": "abc"}]}, "source", r't\."project_id" = \'abc\'.*integer'),
    ({"scope": [{"column": "project_id", "in": [True]}]}, "source", r't\."project_id" IN \(true\).*integer = boolean'),
    ({"scope": [{"column": "created_at", "gt": "yesterdayish"}]}, "source", "timestamp"),
    ({"accepted": {"state": ["done"]}}, "registry", "smallint"),
])  # fmt: skip
def test_a_value_that_its_column_cannot_be_compared_with_is_an_error_of_the_settings(
    items: World, extra: dict[str, Any], of: str, words: str
) -> None:
    setattr(items, f"{of}_extra", extra)
    with pytest.raises(MisfitError, match=words) as failed:
        items.gaps()
    assert (failed.value.exit_code, failed.value.__cause__) == (Exit.USAGE, None)
    assert "values of its own kind" in (failed.value.hint or "")


def test_text_of_the_source_that_is_no_utf8_keeps_its_rows_out_and_the_gaps_are_told(items: World, postgres: Postgres) -> None:
    name = f"{items.source.rpartition('/')[2]}_ascii"
    with postgres.connect() as db:
        db.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        items.source = postgres.dsn(name)
        on(
            items.source,
            "CREATE TABLE items (id bigint PRIMARY KEY, created_at timestamptz, name text)",
            r"INSERT INTO items SELECT g, now(), convert_from('\xff', 'SQL_ASCII') FROM generate_series(1, 101) g",
        )
        on(items.target, "ALTER TABLE item_registry ADD name text")
        items.registry_extra = {"insert": {"name": {"source": "name"}}}
        not_written(items.cutover().report, "no registry row was inserted")
        items.registry_extra = {}
        assert items.cutover().report.verdict is Verdict.CLEAR
    finally:
        postgres.drop_database(name)
