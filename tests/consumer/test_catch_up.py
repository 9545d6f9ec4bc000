"""The ledger is brought up to the log's end: over a log in memory, with a real ledger."""

from __future__ import annotations

import threading
from collections.abc import Collection

import pytest

from consumer import aside, quarantine
from consumer.catch_up import catch_up
from consumer.streams.contract import Place, Span
from consumer.streams.memory import MemoryLog, MemoryStream
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import FloodError, SettingsError, UnavailableError
from schemas.log_state import LogState
from schemas.settings import Settings
from tests.consumer.support import (
    KEY_TYPES,
    caught_up,
    credited,
    event,
    fill,
    gapless,
    numbers,
    positions,
    rows,
    settings,
    words,
)


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database)


def test_everything_is_read_once_and_positions_stand_at_the_end(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    for partition in range(3):
        fill(log, "jobs", range(partition, 300, 3), partition)
    state = caught_up(about, ledger, log)
    assert state.drained
    assert state.records == 300
    assert credited(ledger) == set(range(300))
    assert positions(ledger) == {("jobs", p): 100 for p in range(3)} == log.committed
    again = caught_up(about, ledger, log)
    assert (again.records, again.identity_held) == (0, True)
    assert numbers(ledger) == [(1, 1)]
    assert {(c.partition, c.first_offset, c.first_us) for c in rows(ledger, tables.coverage)} == {
        (p, 0, 1_700_000_000_000_000) for p in range(3)
    }


def test_small_flushes_make_gapless_numbers(database: str, ledger: Ledger, log: MemoryLog) -> None:
    about = settings(database, tracker={"flush_records": 10})
    for number in range(5):
        fill(log, "jobs", range(number * 20, number * 20 + 20), number % 3)
        caught_up(about, ledger, log)
    assert credited(ledger) == set(range(100))
    assert gapless(numbers(ledger))


def test_types_that_share_a_topic_are_read_together_whichever_is_asked_for(
    database: str, ledger: Ledger, log: MemoryLog
) -> None:
    about = settings(database, types={"job": ["jobs"], "upload": ["jobs", "uploads"]})
    log.create("uploads")
    fill(log, "jobs", range(5))
    fill(log, "jobs", range(5, 9), name="upload")
    fill(log, "uploads", [77], name="upload")
    state = caught_up(about, ledger, log, names=["job"])
    assert [p.topic for p in state.partitions] == ["jobs"] * 3
    assert (credited(ledger, "job"), credited(ledger, "upload")) == (set(range(5)), set(range(5, 9)))
    with pytest.raises(SettingsError, match="shared with data type 'upload'"):
        catch_up(about, ledger, {"job": KEY_TYPES["job"]}, names=["job"], streams=log.stream)


def test_a_poison_record_is_set_aside_and_its_neighbours_go_on(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    """Failure mode 54."""
    for value in (event(1), b"{", event(1.5), event(2), event(None), b""):
        log.append("jobs", value)
    state = caught_up(about, ledger, log)
    assert state.drained
    assert credited(ledger) == {1, 2}
    assert [q.offset for q in rows(ledger, tables.quarantine)] == [1, 2, 4, 5]
    assert state.quarantined == {"jobs": 4}


def test_a_flood_stops_with_the_ledger_as_it_was(database: str, ledger: Ledger, log: MemoryLog) -> None:
    about = settings(database, quarantine={"limit": 3})
    fill(log, "jobs", range(10))
    caught_up(about, ledger, log)
    before = positions(ledger)
    for _ in range(4):
        log.append("jobs", b"{", 0)
        fill(log, "jobs", [99], 1)
    with pytest.raises(FloodError, match="more than 3 records"):
        caught_up(about, ledger, log)
    assert positions(ledger) == before
    assert rows(ledger, tables.quarantine) == []
    assert credited(ledger) == set(range(10))


def test_a_flood_over_several_runs_is_a_flood_too(database: str, ledger: Ledger, log: MemoryLog) -> None:
    about = settings(database, quarantine={"limit": 3})
    for _ in range(3):
        log.append("jobs", b"{")
        caught_up(about, ledger, log)
    log.append("jobs", b"{")
    with pytest.raises(FloodError):
        caught_up(about, ledger, log)
    assert len(rows(ledger, tables.quarantine)) == 3


def test_a_trickle_of_bad_records_stops_nothing_and_a_burst_of_them_does(database: str, ledger: Ledger, log: MemoryLog) -> None:
    about = settings(database, quarantine={"limit": 3})

    def trickle(begin: int) -> None:
        for n in range(begin, begin + 200):
            log.append("jobs", b"{" if n % 50 == 7 else event(n), 0)
        caught_up(about, ledger, log)

    trickle(0)
    trickle(200)
    assert len(rows(ledger, tables.quarantine)) == 8
    for _ in range(6):
        log.append("jobs", b"{", 0)
    caught_up(about, ledger, log)  # 14 of 406: few, though in a row
    before = positions(ledger)
    for _ in range(40):
        log.append("jobs", b"{", 0)
    with pytest.raises(FloodError, match=r"more than 3 records .* of the newest 446 there 54; the ledger is as"):
        caught_up(about, ledger, log)
    assert positions(ledger) == before
    assert len(rows(ledger, tables.quarantine)) == 14


def test_a_trickle_fills_no_ledger(database: str, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "MOST", 2)
    about = settings(database, quarantine={"limit": 3})
    for n in range(600):
        log.append("jobs", b"{" if n % 100 == 7 else event(n), 0)
    caught_up(about, ledger, log)
    log.append("jobs", b"{", 0)
    with pytest.raises(FloodError, match="more than 6 records"):
        caught_up(about, ledger, log)
    (first, *_) = rows(ledger, tables.quarantine)
    quarantine.accept(ledger, [first.id], reason="a test", by="tester")
    caught_up(about, ledger, log)


def test_what_was_bad_long_ago_does_not_count_as_a_flood(
    database: str, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "RECENT", 100)
    for n in range(300):
        log.append("jobs", b"{" if n < 40 else event(n), 0)
    caught_up(settings(database, quarantine={"limit": 40}), ledger, log)
    log.append("jobs", b"{", 0)
    caught_up(settings(database, quarantine={"limit": 3}), ledger, log)
    assert len(rows(ledger, tables.quarantine)) == 41


# -- a log that changes under us --------------------------------------------------------------------------------------


def holes(ledger: Ledger) -> list[tuple[str, int, int | None]]:
    return [(h.kind, h.from_offset, h.to_offset) for h in rows(ledger, tables.hole)]


def test_retention_that_overtook_us_is_a_hole(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(10))
    caught_up(about, ledger, log)
    fill(log, "jobs", range(10, 30))
    log.delete_records("jobs", 0, 25)
    state = caught_up(about, ledger, log)
    assert holes(ledger) == [("retention", 10, 25)]
    (hole,) = state.holes
    assert (hole.state, hole.from_us) == ("open", 1_700_000_000_000_000)
    assert state.drained
    assert credited(ledger) == {*range(10), *range(25, 30)}


def test_a_log_that_had_lost_its_beginning_when_first_met_starts_there_without_a_hole(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    fill(log, "jobs", range(10))
    log.delete_records("jobs", 0, 4)
    state = caught_up(about, ledger, log)
    assert holes(ledger) == []
    assert [p.first_read for p in state.partitions] == [4, 0, 0]


@pytest.mark.parametrize("tells_ids", [True, False])
def test_a_recreated_topic_with_more_records_is_read_from_its_start(
    about: Settings, ledger: Ledger, log: MemoryLog, tells_ids: bool
) -> None:
    log.tells_ids = tells_ids
    fill(log, "jobs", range(10))
    caught_up(about, ledger, log)
    log.delete("jobs")
    log.create("jobs", 3)
    fill(log, "jobs", range(100, 140))
    state = caught_up(about, ledger, log)
    assert not state.identity_held
    assert ("recreated", 10, None) in holes(ledger)
    assert credited(ledger) == {*range(10), *range(100, 140)}
    assert caught_up(about, ledger, log).identity_held
    if not tells_ids:
        assert "records compared" in caught_up(about, ledger, log).identity_seen


def test_a_truncated_log_is_read_from_the_cut(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(10))
    caught_up(about, ledger, log)
    log.truncate("jobs", 0, 6)
    caught_up(about, ledger, log)
    fill(log, "jobs", range(50, 60))
    caught_up(about, ledger, log)
    assert holes(ledger) == [("truncated", 6, 10)]
    assert credited(ledger) == {*range(10), *range(50, 60)}


def test_another_cluster_is_another_incarnation_and_all_is_read_again(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(10))
    caught_up(about, ledger, log)
    other = MemoryLog("elsewhere")
    other.create("jobs", 3)
    fill(other, "jobs", range(5))
    state = caught_up(about, ledger, other)
    assert (state.incarnation, state.identity_held) == (2, False)
    assert positions(ledger)["jobs", 0] == 5
    assert ("recreated", 10, None) in holes(ledger)


@pytest.mark.parametrize("tells_ids", [True, False])
def test_a_tracker_that_reads_on_while_we_attach_makes_no_hole(about: Settings, ledger: Ledger, tells_ids: bool) -> None:
    """The log's ends are told, then another tracker moves the position past them."""
    log = MemoryLog(tells_ids=tells_ids)
    log.create("jobs", 1)
    fill(log, "jobs", range(10))
    caught_up(about, ledger, log)

    class Slow(MemoryStream):
        asked = False

        def spans(self, places: Collection[Place]) -> dict[Place, Span]:
            told = super().spans(places)
            if not Slow.asked:
                Slow.asked = True
                fill(log, "jobs", range(10, 20))
                caught_up(about, ledger, log)
            return told

    catch_up(about, ledger, KEY_TYPES, deadline_s=10, streams=lambda timestamps: Slow(log, timestamps))
    assert Slow.asked
    assert holes(ledger) == []
    assert positions(ledger) == {("jobs", 0): 20}
    assert credited(ledger) == set(range(20))


def test_a_new_partition_is_read_from_its_start_and_what_it_lost_is_a_hole(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    caught_up(about, ledger, log)
    log.grow("jobs", 5)
    fill(log, "jobs", range(10), 3)
    fill(log, "jobs", range(10, 20), 4)
    log.delete_records("jobs", 4, 2)
    caught_up(about, ledger, log)
    assert credited(ledger) == {*range(10), *range(12, 20)}
    assert holes(ledger) == [("retention", 0, 2)]


# -- transactions -----------------------------------------------------------------------------------------------------


def test_an_open_transaction_is_told_with_its_partition_and_stable_offset(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    fill(log, "jobs", [1, 2], 1)
    log.append("jobs", event(3), 1, state="open")
    fill(log, "jobs", [4], 1)
    state = caught_up(about, ledger, log)
    assert not state.drained
    (pinned,) = (p for p in state.partitions if not p.drained)
    assert (pinned.partition, pinned.stable, pinned.high, pinned.behind) == (1, 2, 4, 2)
    assert "jobs[1]: an open transaction hides what follows offset 2" in state.problems[0]
    assert credited(ledger) == {1, 2}
    log.end("jobs", 1, commit=True)
    assert caught_up(about, ledger, log).drained
    assert credited(ledger) == {1, 2, 3, 4}


def test_what_an_aborted_transaction_announced_is_not_credited(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    log.append("jobs", event(3), state="open")
    log.end("jobs", 0, commit=False)
    assert caught_up(about, ledger, log).drained
    assert credited(ledger) == set()
    assert positions(ledger)["jobs", 0] == 2


# -- others -----------------------------------------------------------------------------------------------------------


def test_two_at_once_store_everything_once(database: str, ledger: Ledger, log: MemoryLog) -> None:
    about = settings(database, tracker={"flush_records": 500})
    for partition in range(3):
        fill(log, "jobs", range(partition * 10_000, partition * 10_000 + 6_000), partition)
    states: list[LogState] = []
    threads = [threading.Thread(target=lambda: states.append(caught_up(about, ledger, log, deadline_s=20.0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [s.drained for s in states] == [True] * 3
    assert sum(s.records for s in states) == 18_000
    assert len(credited(ledger)) == 18_000
    assert gapless(numbers(ledger))
    assert sum(s.events for s in rows(ledger, tables.segment)) == 18_000


def test_a_log_that_is_away_is_unavailable(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    log.away = True
    with pytest.raises(UnavailableError):
        caught_up(about, ledger, log)


def test_a_missing_topic_is_named_and_not_created(about: Settings, ledger: Ledger) -> None:
    with pytest.raises(SettingsError, match="'jobs' does not exist"):
        caught_up(about, ledger, MemoryLog())
    assert positions(ledger) == {}


def test_the_last_word_counts_over_flushes(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    for at, (key, op) in enumerate([(1, "created"), (2, "created"), (1, "deleted"), (2, "deleted"), (2, "created")]):
        log.append("jobs", event(key, op, 1_700_000_000 + at))
        caught_up(about, ledger, log)
    said = words(ledger)
    assert (list(said.deleted), list(said.recreated), list(said.created)) == ([1], [2], [])
