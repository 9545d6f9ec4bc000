"""A stretch that nobody read can be listed, shown, and its loss accepted by name and reason; it cannot be read again."""

from __future__ import annotations

import pytest

from consumer import holes, settling
from consumer.catch_up import catch_up
from consumer.settlement import Settlement
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas.errors import LedgerError, SettingsError
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, fill, settings


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database)


@pytest.fixture
def name(about: Settings, ledger: Ledger, log: MemoryLog) -> str:
    """Retention overtook a stopped tracker: offsets 5 to 8 were never read."""
    fill(log, "jobs", range(5))
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    fill(log, "jobs", range(5, 10))
    log.delete_records("jobs", 0, 8)
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    (found,) = holes.list_(ledger)
    return found.name


def resolve(about: Settings, ledger: Ledger, *names: str | int, accept: str | None) -> Settlement:
    return settling.resolve(about, ledger, KEY_TYPES, names, accept=accept, by="ana@here")


def test_a_hole_is_listed_beside_the_records_and_shown_by_name(ledger: Ledger, name: str) -> None:
    told = settling.unsettled(ledger)
    (listed,) = told.json()["holes"]
    assert (listed["id"], listed["kind"], listed["from_offset"], listed["to_offset"]) == (name, "retention", 5, 8)
    assert f"{name}  jobs[0] offsets 5 to 8 (retention)  open" in told.text()
    plain, words = settling.shown(ledger, name)
    assert plain == listed
    assert "they stay 'unread'" in words
    assert plain["to"] > plain["from"] == "2023-11-14T22:13:20Z"


def test_an_accepted_hole_names_who_and_why_and_is_still_told_to_whoever_judges(
    about: Settings, ledger: Ledger, log: MemoryLog, name: str
) -> None:
    done = resolve(about, ledger, name, accept="the  outage\nof May")
    assert (done.settled, dict(done.failed)) == ((name,), {})
    assert settling.unsettled(ledger).json() == {"records": [], "holes": []}
    (kept,) = settling.unsettled(ledger, every=True).json()["holes"]
    assert (kept["state"], kept["settled_by"], kept["settled_reason"]) == ("accepted", "ana@here", "the outage of May")
    (told,) = catch_up(about, ledger, KEY_TYPES, streams=log.stream).holes
    assert (told.state, told.by, told.reason) == ("accepted", "ana@here", "the outage of May")
    assert "accepted by ana@here: the outage of May" in settling.shown(ledger, name)[1]


def test_the_first_reason_stands(about: Settings, ledger: Ledger, name: str) -> None:
    resolve(about, ledger, name, accept="one")
    again = resolve(about, ledger, name, accept="two")
    assert (again.settled, dict(again.failed)) == ((), {name: "it is already accepted"})
    assert f"{name} was not settled" in settling.settlement_text(again)
    assert holes.show(ledger, name).reason == "one"


def test_a_hole_cannot_be_read_again(about: Settings, ledger: Ledger, name: str) -> None:
    done = resolve(about, ledger, name, accept=None)
    assert "does not hold it any more" in done.failed[name]
    assert holes.show(ledger, name).state == "open"


@pytest.mark.parametrize(("reason", "said"), [(" \n", "needs a reason"), ("x" * 501, "501 characters")])
def test_a_loss_needs_a_reason_that_can_be_printed(about: Settings, ledger: Ledger, name: str, reason: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        resolve(about, ledger, name, accept=reason)
    assert holes.show(ledger, name).state == "open"


def test_nothing_is_settled_where_one_name_is_nobodys(about: Settings, ledger: Ledger, name: str) -> None:
    for stranger, said in (("hole-77", "no hole-77"), (5, "no quarantined record 5")):
        with pytest.raises(LedgerError, match=said):
            resolve(about, ledger, name, stranger, accept="gone")
    assert holes.show(ledger, name).state == "open"
