"""`kill -9` in the middle of everything: every planted drop is counted once, no other ever, by whoever is alive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.motion import Application, Motion
from tests.end_to_end.installation import CANARY, Installation, fine_items, item, item_tables, settings
from tests.stack.kafka import Kafka
from tests.stack.processes import wait_until
from tests.stack.receiver import Receiver
from tests.stack.threads import beside

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(path=f"/{CANARY}") as made:
        yield made


@pytest.fixture
def motion(databases: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path, receiver: Receiver) -> Iterator[Motion]:
    source, target = databases
    kafka.create_topic(topic_name)
    item_tables(source, target)
    fine_items(source, target, kafka, topic_name, range(1, 101))
    here = Installation(tmp_path, settings(source, target, kafka, {"item": item(topic_name)}))
    with Motion(here, Application(source, target, kafka, topic_name), target, receiver.url) as made:
        yield made


def test_audits_that_are_killed_lose_no_drop_and_count_none_twice_and_tell_of_each_alarm_once(
    motion: Motion, receiver: Receiver
) -> None:
    application, kills = motion.application, 2
    with beside(application.work, patience_s=90):
        application.losing = True
        for _ in range(kills):
            motion.looks_on()
            first = motion.holder()
            other = next(name for name in motion.audits if name != first)
            motion.kill(first)
            motion.the_lease_runs_out()
            motion.holds(other)
            motion.looks_on()
            motion.begin(first)
        motion.all_is_counted()
        wait_until(lambda: _standing(receiver) == "resolved", "the last alarm has ended", within_s=60)
    assert motion.application.lost
    told = [(one["status"], one["startsAt"]) for one in receiver.told if one["labels"]["alertname"] == "FencepostDropRateFast"]
    once = [one for one, before in zip(told, [None, *told], strict=False) if one != before]
    assert [status for status, _ in once] == ["firing", "resolved"] * (len(once) // 2)
    assert len(told) - len(once) <= kills, "again only by one that died between the answer and the ledger"


def test_an_audit_that_stands_still_loses_its_type_to_the_other_and_counts_nothing_once_it_goes_on(motion: Motion) -> None:
    application = motion.application
    with beside(application.work, patience_s=90):
        application.losing = True
        for _ in range(3):
            motion.looks_on()
            with motion.standing_still() as paused:
                motion.looks_on()
                assert motion.holder() != paused
        motion.all_is_counted()
        assert all(running.child.poll() is None for running in motion.audits.values())
    assert application.lost


#: Each audit dies at the next one, the last with a look in the ledger that it did not live to know of.
BOUNDARIES = [
    ("reconciler.auditing.look:look", "after", 2),  # seen, nothing kept
    ("reconciler.history:record", "after", 1),  # the ledger's transaction is open
    ("reconciler.auditing.book:store", "after", 2),
]


def test_audits_that_die_in_the_middle_of_a_look_lose_no_drop_and_count_none_twice(motion: Motion) -> None:
    application = motion.application
    with beside(application.work, patience_s=90):
        application.losing = True
        for name in motion.audits:
            motion.kill(name)
        for boundary in BOUNDARIES:
            motion.dies_at(*boundary)
        motion.the_lease_runs_out()
        motion.begin("one")
        motion.all_is_counted()
    assert application.lost


def _standing(receiver: Receiver) -> str | None:
    told = [one["status"] for one in receiver.told if one["labels"]["alertname"] == "FencepostDropRateFast"]
    return told[-1] if told else None


def test_a_log_that_stalls_is_blindness_and_its_end_shows_only_what_was_lost(motion: Motion) -> None:
    application = motion.application
    with beside(application.work, patience_s=90):
        motion.looks_on()
        application.held.set()
        wait_until(lambda: "log" in motion.blind(), "the audit says that it is blind", within_s=60)
        application.losing = True
        motion.looks_on()
        explained = {"rows"}  # and what trailed its commit for longer than `settle` before, on a busy machine
        explained |= {"dropped_create", "healed_drop", "late"} if application.trailed else set()
        explained |= {"unapplied_create"} if application.unapplied else set()
        assert set(found := motion.totals()) <= explained
        assert found.get("dropped_create", 0) + found.get("healed_drop", 0) <= len(application.trailed)
        application.held.clear()
        motion.all_is_counted()
        wait_until(lambda: motion.blind() == "", "it sees again", within_s=60)
