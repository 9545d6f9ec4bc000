"""A source that is a copy: held against its origin over real logical replication, behind, caught up, and never whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from reconciler import recheck
from reconciler.outcome import Outcome
from reconciler.ports import Silent
from reconciler.recall import load
from schemas.errors import UnavailableError
from schemas.verdict import Proof, Verdict
from tests.recipes.world import World
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until

SOON = timedelta(seconds=1)
#: A subscription is given longer than any machine needs; who waits for less says so.
PATIENT = timedelta(seconds=60)


class Copy:
    """The subscription `copied` on another server, and what it holds."""

    def __init__(self, world: World, dsn: str) -> None:
        self.world, self.dsn = world, dsn

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as db:
            for statement in statements:
                db.execute(statement.encode())

    def subscribe(self) -> None:
        self.execute(
            "CREATE SUBSCRIPTION copied CONNECTION"
            f" '{self.world.source}' PUBLICATION items WITH (slot_name = '{self.slot}', streaming = on)"
        )
        wait_until(lambda: self.count("pg_subscription_rel WHERE srsubstate = 'r'") == 1, "the table is copied", within_s=60)

    @property
    def slot(self) -> str:
        return "slot_of_" + self.world.source.rpartition("/")[2]

    def count(self, what: str) -> int:
        with psycopg.connect(self.dsn) as db:
            row = db.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
        assert row
        return int(row[0])

    def pause(self) -> None:
        self.execute("ALTER SUBSCRIPTION copied DISABLE")
        wait_until(lambda: self.count("pg_stat_subscription WHERE pid IS NOT NULL") == 0, "nothing is applied", within_s=60)

    def resume(self) -> None:
        self.execute("ALTER SUBSCRIPTION copied ENABLE")

    def holds(self, rows: int) -> None:
        wait_until(lambda: self.count("items") == rows, f"the copy holds {rows} rows", within_s=60)

    def confirms(self) -> None:
        """What is applied is told to the origin only once it is flushed there, by a timer of the subscriber's."""
        with psycopg.connect(self.world.source, autocommit=True) as db:
            row = db.execute("SELECT pg_current_wal_lsn()").fetchone()
            assert row
            passed = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
            wait_until(lambda: db.execute(passed, (row[0], self.slot)).fetchone() == (True,), "the copy confirms", within_s=60)


@pytest.fixture
def copy(items: World, postgres16: Postgres) -> Iterator[Copy]:
    """A hundred fine rows at the origin, in the registry, and in a copy on another server that follows the origin."""
    name = "copy_of_" + items.source.rpartition("/")[2]
    made = Copy(items, postgres16.create_database(name))
    made.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
    with psycopg.connect(items.source, autocommit=True) as db:
        db.execute("CREATE PUBLICATION items FOR TABLE items")
    made.subscribe()
    items.extra = {"source": {"dsn": made.dsn, "kind": "copy", "origin": items.source}}
    try:
        yield made
    finally:
        made.execute(
            "ALTER SUBSCRIPTION copied DISABLE", "ALTER SUBSCRIPTION copied SET (slot_name = NONE)", "DROP SUBSCRIPTION copied"
        )
        postgres16.drop_database(name)


def snapshots(outcome: Outcome) -> list[Proof]:
    return [p for p in outcome.report.proofs if p.name == "snapshot"]


def test_a_copy_that_has_caught_up_is_proved_and_what_is_missing_is_told_and_inserted(copy: Copy) -> None:
    copy.world.rows([201, 202])
    outcome = copy.world.cutover(wait=PATIENT)
    assert outcome.report.verdict is Verdict.CLEAR, snapshots(outcome)
    (told,) = outcome.report.data_types
    assert (told.rows, told.gaps.count, told.backfilled, told.remaining) == (102, 2, 2, 0)
    whole, held = snapshots(outcome)
    assert "the copy's origin at" in whole.seen
    assert "the copy at" in whole.seen
    assert held.data_type == "item"
    assert held.seen.startswith("the copy holds all 102 rows of its origin, key by key")
    assert {"201", "202"} <= copy.world.in_registry()
    beside = copy.world.gaps(wait=PATIENT)
    assert beside.report.verdict is Verdict.CLEAR, snapshots(beside)


def test_a_copy_that_is_behind_is_never_clear_and_says_why(copy: Copy) -> None:
    copy.pause()
    copy.world.fine([201])
    report = copy.world.cutover(wait=SOON).report
    assert report.verdict is Verdict.CANNOT_TELL
    (proof,) = [p for p in report.proofs if p.name == "snapshot"]
    assert "the copy is behind the fence at" in proof.seen
    assert "the subscription copied is disabled and has confirmed" in proof.seen
    beside = copy.world.gaps(wait=SOON)
    assert beside.report.verdict is Verdict.CANNOT_TELL
    failed = next(p for p in snapshots(beside) if p.held is False)
    assert "the copy lacks 1 of the 101 rows of its origin" in failed.seen
    assert "'201'" in failed.seen
    assert "copied is disabled" in failed.seen
    copy.resume()
    assert copy.world.cutover(wait=PATIENT).report.verdict is Verdict.CLEAR


def test_rows_that_replication_never_brought_are_named_and_nothing_is_written(copy: Copy) -> None:
    """Lost on the copy's side: behind no position, so only the keys can tell."""
    copy.world.rows([201])
    copy.holds(101)
    copy.confirms()
    copy.execute("DELETE FROM items WHERE id IN (7, 8, 201)")
    outcome = copy.world.cutover(wait=SOON)

    def caught_up() -> bool:
        """The origin's log goes on by itself (a checkpoint), so the subscription may be behind it by a hair at any one look."""
        nonlocal outcome
        assert outcome.report.verdict is Verdict.CANNOT_TELL
        failed = next(p for p in snapshots(outcome) if p.held is False)
        assert "the copy lacks 3 of the 101 rows of its origin, key by key: '7', '8', '201'" in failed.seen
        if "no subscription of it is behind" in failed.seen:
            return True
        outcome = copy.world.cutover(wait=SOON)
        return False

    wait_until(caught_up, "what is lost is told from what is late")
    assert outcome.report.data_types[0].gaps.count == 1  # the origin's row is judged, whatever the copy holds
    assert "201" not in copy.world.in_registry()
    assert copy.world.gaps(wait=SOON).report.verdict is Verdict.CANNOT_TELL


def test_a_filtered_publication_and_a_row_that_left_the_scope_unheard_are_noticed(copy: Copy) -> None:
    """The copy's own columns are not believed: the scope of each side is its own."""
    copy.world.source_extra = {"scope": [{"column": "project_id", "eq": 1}]}
    copy.execute("UPDATE items SET project_id = 2 WHERE id = 5")
    outcome = copy.world.gaps(wait=SOON)
    assert outcome.report.verdict is Verdict.CANNOT_TELL
    assert "lacks 1 of the 100 rows of its origin, key by key: '5'" in next(p for p in snapshots(outcome) if not p.held).seen


def test_rows_of_the_copy_alone_are_neither_gaps_nor_inserted(copy: Copy) -> None:
    copy.execute("INSERT INTO items VALUES (900, 1, now())")
    outcome = copy.world.cutover(wait=PATIENT)
    assert outcome.report.verdict is Verdict.CLEAR, snapshots(outcome)
    assert "1 rows of the copy alone are in no judgement" in snapshots(outcome)[1].seen
    assert "900" not in copy.world.in_registry()


def test_a_window_is_dated_by_the_origin(copy: Copy) -> None:
    """A date that the copy never heard of must not put a missing row outside the window."""
    copy.world.rows([201], at=copy.world.now - timedelta(minutes=5))
    copy.holds(101)
    copy.execute("UPDATE items SET created_at = '2001-01-01Z' WHERE id = 201")
    report = copy.world.gaps(since="2h", wait=PATIENT).report
    assert report.verdict is Verdict.GAPS
    assert report.data_types[0].gaps.keys == ["201"]


def test_deletions_are_judged_by_the_origin(copy: Copy) -> None:
    copy.pause()
    with psycopg.connect(copy.world.source) as db:
        db.execute("DELETE FROM items WHERE id = 3")
    report = copy.world.gaps(deletes=True, wait=PATIENT).report
    assert report.verdict is Verdict.GAPS
    assert report.data_types[0].orphans.keys == ["3"]


def test_the_verdict_on_a_copy_is_rechecked_in_both_places(copy: Copy) -> None:
    run = copy.world.gaps(wait=PATIENT).report.run
    settings, ledger, _ = copy.world._handed()
    with closing(ledger):
        assert recheck.run(settings, ledger, load(ledger, run), say=Silent()).report.verdict is Verdict.CLEAR
        copy.world.extra["source"]["dsn"] = copy.world.target
        with psycopg.connect(copy.world.target) as db:
            db.execute("CREATE TABLE items (LIKE item_registry); ALTER TABLE items DROP id, ADD PRIMARY KEY (item_id)")
            db.execute("ALTER TABLE items RENAME item_id TO id")
            db.execute("INSERT INTO items SELECT item_id, state, created_at FROM item_registry")
        elsewhere = recheck.run(copy.world.settings(), ledger, load(ledger, run), say=Silent()).report
    assert elsewhere.verdict is Verdict.CANNOT_TELL
    assert "the copy was system" in next(p.seen for p in elsewhere.proofs if p.name == "identity" and not p.held)


def test_a_restored_copy_without_a_subscription_is_held_to_its_origin_by_keys_alone(items: World, postgres16: Postgres) -> None:
    name = "restored_" + items.source.rpartition("/")[2]
    dsn = postgres16.create_database(name)
    try:
        with psycopg.connect(dsn) as db:
            db.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
            db.execute("INSERT INTO items SELECT i, 1, now() FROM generate_series(1, 100) i")
        items.extra = {"source": {"dsn": dsn, "kind": "copy", "origin": items.source}}
        assert items.cutover(wait=PATIENT).report.verdict is Verdict.CLEAR
        items.fine([101])
        assert items.cutover(wait=SOON).report.verdict is Verdict.CANNOT_TELL
    finally:
        postgres16.drop_database(name)


def test_a_sweep_takes_no_copy(copy: Copy) -> None:
    with pytest.raises(UnavailableError, match="which sweep does not hold against its origin"):
        copy.world.sweep(wait=SOON)
