"""Who is followed, and whose report is taken: only that of a captain who was asked the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler import captain, history, lease
from reconciler.outcome import Outcome
from reconciler.ports import Silent
from schemas.settings import Dsn
from tests import reports


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    found = Ledger(Dsn(ledger_database), "fencepost")
    yield found
    found.close()


def taken(ledger: Ledger, settings: str) -> str:
    """A run of these settings that holds the lease on registry writes."""
    run = history.begin(ledger, captain.KIND, settings)
    assert isinstance(lease.acquire(ledger, run), lease.Held)
    return run


def test_a_third_cutover_of_the_same_settings_does_not_hide_the_captain_from_the_second(ledger: Ledger) -> None:
    run = taken(ledger, "sha256:s")
    history.begin(ledger, captain.KIND, "sha256:s")  # it was as quick as the captain, and is about to stand down
    followed: list[Outcome | None] = []
    second = threading.Thread(target=lambda: followed.append(captain.follow(ledger, "sha256:s", Silent())))
    second.start()
    history.finish(ledger, run, reports.report(run=run, kind="cutover"))
    second.join(60)
    assert [outcome and outcome.report.run for outcome in followed] == [run]


def test_a_captain_of_other_settings_that_has_just_ended_is_waited_for_and_its_report_is_never_ours(ledger: Ledger) -> None:
    run = taken(ledger, "sha256:asked-for-less")
    history.finish(ledger, run, reports.report(run=run, kind="cutover"))
    waits: list[str] = []

    class ThenItsTimeIsOver(Silent):
        def waiting(self, text: str) -> None:
            waits.append(text)
            with psycopg.connect(ledger.dsn.get_secret_value()) as db:
                db.execute("UPDATE fencepost.lease SET expires_at = clock_timestamp() WHERE name = %s", [lease.WRITER])

    assert captain.follow(ledger, "sha256:s", ThenItsTimeIsOver()) is None
    assert waits
    assert lease.holder_of(ledger) is None
