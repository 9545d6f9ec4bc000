"""Missing numbers of events, one thing at a time: from a log in memory into a real ledger."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from consumer import tracker as module
from consumer.catch_up import catch_up
from consumer.streams.memory import MemoryLog
from consumer.tracker import Tracker
from databases.ledger import Ledger
from schemas import sequence_ledger as tables
from schemas.metrics import SEQUENCE_JUDGED, SEQUENCE_LATE, SEQUENCE_MISSING, UNNUMBERED
from schemas.settings import Settings
from tests.consumer.numbers import GRACE_MIN, Follower, follow, judge, lacking, read, standing, totals, write
from tests.consumer.support import KEY_TYPES, age, rows, settings
from tests.stack.processes import wait_until
from tests.stack.threads import beside


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database, sequence="n")


def test_a_number_that_no_event_has_is_open_first_and_missing_when_it_is_settled(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    write(log, [1, 2, 5])
    follow(about, ledger, log)
    assert standing(ledger) == (5, 5, 0), "what was written before nobody judges"
    write(log, [6, 9, 10])
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((5, 10, 2), [])
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((10, 10, 0), [(7, 8)])
    assert totals(ledger).items() >= {SEQUENCE_JUDGED.name: 5, SEQUENCE_MISSING.name: 2}.items()
    assert rows(ledger, tables.sequence_seen) == [], "what is judged is not kept"


def test_a_late_commit_closes_its_gap_before_it_settles_and_after(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [4, 8])
    follow(about, ledger, log)
    write(log, [3], partition=2)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(2, 2), (5, 7)]
    write(log, [6, 6])
    follow(about, ledger, log)
    follow(about, ledger, log)
    assert lacking(ledger) == [(2, 2), (5, 5), (7, 7)]
    assert totals(ledger).items() >= {SEQUENCE_MISSING.name: 4, SEQUENCE_LATE.name: 1}.items()


def test_a_flush_that_reaches_over_what_is_judged_is_kept_whole(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [8])
    follow(about, ledger, log)
    age(ledger, 6)
    write(log, [5, 9])
    follow(about, ledger, log)
    age(ledger, 6)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((8, 9, 0), [(2, 4), (6, 7)])
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((9, 9, 0), [(2, 4), (6, 7)])


def test_records_of_no_data_type_and_of_other_ops_fill_their_numbers(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2], name="somebody else's")
    write(log, [3], op="checksum_succeeded")
    write(log, [4])
    write(log, ["x", None])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((4, 4, 0), [])
    assert totals(ledger)[UNNUMBERED.name] == 2


def test_a_tracker_judges_also_while_nothing_comes(
    database: str, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    about = settings(database, sequence="n", tracker={"flush_every": "10ms"})
    tracking = Tracker(settings=about, ledger=ledger, key_types=KEY_TYPES, streams=log.stream)
    with beside(tracking.run):
        write(log, [1])
        wait_until(lambda: len(rows(ledger, tables.sequence)) == 1, "all partitions were read to their ends")
        write(log, [3], partition=2)
        wait_until(lambda: standing(ledger) == (1, 3, 1), "the gap is open")
        age(ledger, GRACE_MIN + 1)
        wait_until(lambda: lacking(ledger) == [(2, 2)], "it is settled")


def test_while_a_partition_is_not_read_to_its_end_nothing_is_missing(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2, 4])
    write(log, [3], partition=1)
    with Follower(about, ledger, log, [("jobs", 0)]) as one:
        read(one)
    for _ in range(2):
        age(ledger, GRACE_MIN + 1)
        judge(about, ledger, {("jobs", 0): 3, ("jobs", 2): 0})
        assert (standing(ledger), lacking(ledger)) == ((1, 4, 1), [])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert (standing(ledger), lacking(ledger)) == ((4, 4, 0), [])


def test_a_sequence_over_several_topics_is_judged_once_all_of_them_are_read(
    database: str, ledger: Ledger, log: MemoryLog
) -> None:
    about = settings(database, types={"job": ["jobs"], "upload": ["uploads"]}, sequence="n")
    log.create("uploads")
    write(log, [1])
    write(log, [2], topic="uploads")
    for names in (["job"], ["job"], ["job"], []):
        catch_up(about, ledger, KEY_TYPES, names=names, streams=log.stream, deadline_s=0.3)
        write(log, [3] if names else [6])
        write(log, [4] if names else [], topic="uploads")
        age(ledger, GRACE_MIN + 1)
        assert lacking(ledger) == []
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(5, 5)]


def test_after_a_hole_judgement_begins_anew_for_nobody_knows_which_numbers_it_held(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2, 3, 4, 6])
    log.delete_records("jobs", 0, 4)
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    write(log, [7, 9])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(8, 8)]


def test_what_was_read_without_the_setting_is_not_missed(
    about: Settings, database: str, ledger: Ledger, log: MemoryLog
) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [2, 3])
    follow(settings(database), ledger, log)
    write(log, [4, 6])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    write(log, [8])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    assert lacking(ledger) == [(7, 7)]


def test_what_cannot_be_judged_for_a_day_is_given_up(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [3])
    with Follower(about, ledger, log, [("jobs", 0)]) as one:
        read(one)
    age(ledger, 25 * 60)
    judge(about, ledger, {})
    assert (rows(ledger, tables.sequence_seen), rows(ledger, tables.sequence)) == ([], [])
    write(log, [4, 6])
    follow(about, ledger, log)
    assert standing(ledger) == (6, 6, 0)


def test_numbers_drawn_at_random_are_said_to_be_none(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [n * 10**12 for n in range(200)])
    follow(about, ledger, log)
    assert (rows(ledger, tables.sequence_seen), totals(ledger)[UNNUMBERED.name]) == ([], 200)


def test_ranges_are_kept_for_a_day_and_counts_for_eight(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1])
    follow(about, ledger, log)
    write(log, [3])
    follow(about, ledger, log)
    age(ledger, GRACE_MIN + 1)
    follow(about, ledger, log)
    h = tables.sequence_hour
    for days, kept in ((2, [(2, 1, True)]), (7, [])):
        with ledger.begin() as db:
            db.execute(sa.update(h).values(hour=h.c.hour - sa.text(f"interval '{days} days'")))
        follow(about, ledger, log)
        assert [(row.judged, row.missing, row.ranges is None) for row in rows(ledger, h)] == kept


def test_without_the_setting_nothing_is_kept(database: str, ledger: Ledger, log: MemoryLog) -> None:
    write(log, [1, 5])
    follow(settings(database), ledger, log)
    assert [rows(ledger, t) for t in (tables.sequence_seen, tables.sequence_place, tables.sequence)] == [[], [], []]
