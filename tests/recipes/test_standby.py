"""A standby as the source: what it has not replayed is never taken for what is not there, in no look of no command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler import recall, recheck, replay
from reconciler.compare import compare
from reconciler.identity import position
from reconciler.outcome import Outcome
from reconciler.ports import Silent
from schemas.errors import UnavailableError
from schemas.verdict import Report, Verdict
from tests.recipes.world import World
from tests.stack.postgres import Postgres, Standby
from tests.stack.processes import wait_until

reached = replay.reached
SOON = timedelta(seconds=1)
#: What a standby is given that is only slow, on a machine that may stand still.
PATIENT = timedelta(seconds=60)


@pytest.fixture
def standby(items: World, postgres: Postgres) -> Iterator[Standby]:
    """A hundred fine rows, read from a standby of the source."""
    with postgres.standby() as server:
        dsn = server.dsn(items.source.rpartition("/")[2])

        def there() -> bool:
            try:
                with psycopg.connect(dsn) as db:
                    return db.execute("SELECT count(*) FROM items").fetchone() == (100,)
            except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
                return False

        wait_until(there, "the standby shows the rows", within_s=60)
        items.extra = {"source": {"dsn": dsn, "kind": "standby", "primary": items.source}}
        yield server


def fault(outcome: Outcome | Report) -> str:
    report = outcome.report if isinstance(outcome, Outcome) else outcome
    assert report.verdict is Verdict.CANNOT_TELL, report
    (proof,) = [p for p in report.proofs if p.held is False]
    assert proof.name == "snapshot"
    return proof.seen


def test_rows_that_a_standby_has_not_replayed_keep_every_command_from_clear(items: World, standby: Standby) -> None:
    before = items.cutover(wait=PATIENT).report
    assert before.verdict is Verdict.CLEAR
    standby.pause_replay()
    items.rows([201, 202])
    items.registered([301])  # as if its row, too, were on the primary alone
    paused = "its replay is paused, until pg_wal_replay_resume()"
    assert paused in fault(items.gaps(wait=SOON, deletes=True))
    assert paused in fault(items.cutover(wait=SOON))
    with pytest.raises(UnavailableError, match="where its primary stood before the pass: its replay is paused"):
        items.sweep(wait=SOON)
    settings = items.settings()
    with closing(Ledger.of(settings)) as ledger, pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "reached", lambda scene, lsn, _, say: reached(scene, lsn, 1.0, say))
        assert paused in fault(recheck.run(settings, ledger, recall.load(ledger, before.run), say=Silent()).report)
    standby.resume_replay()
    report = items.gaps(wait=PATIENT).report
    assert (report.verdict, report.data_types[0].gaps.keys) == (Verdict.GAPS, ["201", "202"])


def test_a_standby_behind_the_one_that_was_asked_before_is_late_and_not_of_another_history(
    items: World, standby: Standby, postgres: Postgres
) -> None:
    """As behind a name that leads to any of several standbys."""
    with postgres.standby() as other:
        other.pause_replay()
        items.rows([201])
        assert items.gaps(wait=PATIENT).report.verdict is Verdict.GAPS
        items.extra["source"]["dsn"] = other.dsn(items.source.rpartition("/")[2])
        assert "its replay is paused" in fault(items.gaps(wait=SOON))
        other.resume_replay()
        assert items.gaps(wait=PATIENT).report.verdict is Verdict.GAPS


def test_a_standby_that_ends_our_reading_is_told_with_what_to_set(
    items: World, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its primary removed rows that a snapshot there still sees."""
    with standby.connect() as db:
        db.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        db.execute("SELECT pg_reload_conf()")

    def removed(*asked: Any) -> Any:
        with psycopg.connect(items.source, autocommit=True) as primary, standby.connect() as behind:
            primary.execute("DELETE FROM items WHERE id > 50")
            primary.execute("VACUUM items")
            there = position(primary)
            replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_until(lambda: behind.execute(replayed, [there]).fetchone() == (True,), "it is replayed", within_s=60)
        return compare(*asked)

    monkeypatch.setattr("reconciler.look.compare", removed)
    with pytest.raises(UnavailableError, match="conflict with recovery") as told:
        items.cutover(wait=PATIENT)
    assert "hot_standby_feedback = on there" in (told.value.hint or "")


def test_a_row_that_came_after_the_fence_is_seen_by_the_second_compare_of_a_standby_too(items: World, standby: Standby) -> None:
    """Standing still it would show the same rows twice."""

    class BetweenTheCompares(Silent):
        def phase(self, text: str) -> None:
            if text == "comparing again":
                standby.pause_replay()
                items.rows([201])

    assert "where its primary stood before the rows were read" in fault(items.cutover(wait=SOON, say=BetweenTheCompares()))

    class OnlySlow(BetweenTheCompares):
        def waiting(self, text: str) -> None:
            if text.startswith("for the standby to replay"):
                standby.resume_replay()

    standby.resume_replay()
    with psycopg.connect(items.source) as db:
        db.execute("DELETE FROM items WHERE id = 201")
    report = items.cutover(wait=PATIENT, say=OnlySlow()).report
    assert (report.verdict, report.data_types[0].remaining) == (Verdict.GAPS, 1)
