"""Creations and deletions that follow each other: within a partition, between partitions, between two reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from consumer.catch_up import catch_up
from schemas.errors import UnavailableError
from schemas.keys import KeyType
from schemas.log_state import LogState
from schemas.verdict import Verdict
from tests.recipes.world import World, found

HOUR = timedelta(hours=1)


def test_rows_that_lived_for_a_moment_do_not_make_the_log_another_worlds(items: World) -> None:
    """Each was read alone, so the newest creations are all of rows that are gone, as their deletions say."""
    for key in (901, 902, 903, 904):
        items.announce([key])
        items.gaps()
    items.announce([901, 902, 903, 904], "deleted", at=items.now - 0.5 * HOUR)
    assert items.gaps().report.verdict is Verdict.CLEAR


def test_an_orphan_whose_deletion_was_announced_in_another_partition_is_no_dropped_delete(items: World) -> None:
    """Failure mode 61: read apart, and the spans of event times overlap, so only the log itself can tell their order."""
    items.registered([901, 902])
    items.announce([901, 902], at=items.now - 0.5 * HOUR)
    items.announce([5001], at=items.now - 0.2 * HOUR)
    items.gaps()
    items.announce([901], "deleted", at=items.now - 0.4 * HOUR, partition=1)
    outcome = items.gaps(deletes=True)
    assert found(outcome) == {"901": ("unapplied_delete", "unapplied"), "902": ("dropped_delete", "never_announced")}


def test_a_log_that_goes_away_between_two_looks_takes_no_credit_back(items: World) -> None:
    items.rows([301])
    items.announce([301])
    settings, ledger, _ = items._handed()
    calls = []

    def follow(key_types: Mapping[str, KeyType], *, deadline_s: float) -> LogState:
        calls.append(1)
        if len(calls) > 1:
            raise UnavailableError("the broker is gone")
        return catch_up(settings, ledger, key_types, deadline_s=deadline_s)

    outcome = items.gaps(catch_up=follow)
    ledger.close()
    assert len(calls) == 2
    assert outcome.report.verdict is Verdict.CANNOT_TELL
    assert found(outcome) == {"301": ("unapplied_create", "unapplied")}


def test_a_flood_of_unreadable_records_keeps_nobody_from_the_gaps(items: World) -> None:
    items.rows([201])
    items.extra = {"quarantine": {"limit": 3}}
    items.publish([b"junk"] * 20)  # of 120
    outcome = items.gaps()
    assert outcome.report.verdict is Verdict.CANNOT_TELL
    assert any("more than 3 records cannot be read" in p.seen for p in outcome.report.proofs if p.held is False)
    assert set(found(outcome)) == {"201"}
    assert set(found(items.gaps(without_log=True))) == {"201"}
