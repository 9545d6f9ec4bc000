"""Merging changes no last word, keeps numbers gapless and bytes few, and retires only the low end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from consumer import merge
from consumer.catch_up import catch_up
from consumer.ledger import lock_number
from consumer.merge import Part, due, retired
from consumer.session import opened
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas import ledger as tables
from tests.consumer.support import KEY_TYPES, credited, event, gapless, numbers, rows, settings, words

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


def part(
    number: int, at: datetime = NOON, level: int = 0, offsets: Mapping[str, list[int]] | None = None, size: int = 10
) -> Part:
    spans = offsets if offsets is not None else {"0": [number * 10, number * 10 + 10]}
    return Part(
        first=number, last=number, level=level, events=10, first_us=number, last_us=number,
        offsets={"jobs": dict(spans)}, at=at, size=size,
    )  # fmt: skip


def firsts(parts: list[Part]) -> list[int]:
    return [p.first for p in parts]


def test_few_flushes_of_this_hour_stay_apart() -> None:
    assert due([part(n) for n in range(merge.FLUSHES_KEPT)], NOON) == []


def test_many_flushes_are_merged_but_for_the_newest() -> None:
    run = due([part(n) for n in range(merge.FLUSHES_KEPT + 1)], NOON)
    assert firsts(run) == list(range(merge.FLUSHES_KEPT + 1 - merge.FLUSHES_LEFT))


def test_flushes_of_an_hour_gone_by_become_one_and_hours_of_a_day_gone_by_too() -> None:
    parts = [part(n, NOON - timedelta(hours=2 - n // 3)) for n in range(9)]
    assert firsts(due(parts, NOON)) == [0, 1, 2]
    days = [part(n, NOON - timedelta(days=1, hours=n), merge.HOUR) for n in range(3)] + [part(3, NOON, merge.HOUR)]
    assert firsts(due(days, NOON)) == [0, 1, 2]


def test_a_recreated_topic_and_a_bound_on_memory_cut_runs() -> None:
    hour_ago = NOON - timedelta(hours=1)
    parts = [part(n, hour_ago) for n in range(3)] + [part(n, hour_ago, offsets={"0": [0, 5]}) for n in (3,)]
    assert firsts(due(parts, NOON)) == [0, 1, 2]
    heavy = [part(n, hour_ago, size=merge.MERGE_BYTES // 2) for n in range(4)]
    assert firsts(due(heavy, NOON)) == [0, 1]


def test_only_the_low_end_is_retired() -> None:
    parts = [part(0, NOON - timedelta(days=9)), part(1, NOON), part(2, NOON - timedelta(days=9))]
    assert firsts(retired(parts, NOON - timedelta(days=1))) == [0]


@pytest.fixture
def many(database: str, ledger: Ledger, log: MemoryLog) -> tuple[Ledger, MemoryLog]:
    """A hundred flushes of creations, deletions and creations again, none merged yet."""
    rng = np.random.default_rng(3)
    with opened(settings(database), ledger, KEY_TYPES, streams=log.stream) as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumer.merge.tidy", lambda *_: 0)
        session.attach()
        session.start()
        for flush in range(100):
            at = 1_700_000_000 + flush * 10
            for key in rng.integers(flush * 20, flush * 20 + 40, 30).tolist():
                log.append("jobs", event(key, at=at), key % 3)
            for key in rng.integers(flush * 20, flush * 20 + 40, 5).tolist():
                log.append("jobs", event(key, "deleted", at=at + 1), key % 3)
            session.read()
            session.flush()
    return ledger, log


def test_a_merge_keeps_every_last_word_and_the_numbers(many: tuple[Ledger, MemoryLog]) -> None:
    ledger, _ = many
    with ledger.begin() as db:  # no hour goes by in between
        db.execute(sa.update(tables.segment).values(at=tables.segment.c.at + timedelta(days=1)))
    before, events = words(ledger), sum(s.events for s in rows(ledger, tables.segment))
    gone = merge.tidy(ledger, 1, KEY_TYPES, timedelta(days=90))
    assert gone == 100 - merge.FLUSHES_LEFT - 1
    after = words(ledger)
    assert after.sets() == before.sets()
    assert (after.first_us, after.last_us) == (before.first_us, before.last_us)
    assert gapless(numbers(ledger))
    assert sum(s.events for s in rows(ledger, tables.segment)) == events


def test_only_one_merges_at_a_time_and_the_other_passes_by(many: tuple[Ledger, MemoryLog]) -> None:
    ledger, _ = many
    lock = sa.func.pg_advisory_xact_lock(lock_number("merge", ledger.schema, "job"))
    with ledger.begin() as db:
        db.execute(sa.select(lock))
        assert merge.tidy(ledger, 1, KEY_TYPES, timedelta(days=90)) == 0
    assert merge.tidy(ledger, 1, KEY_TYPES, timedelta(days=90)) > 0


def test_what_is_retired_is_no_longer_covered(many: tuple[Ledger, MemoryLog]) -> None:
    ledger, _ = many
    cutoff = datetime.now(UTC) - timedelta(days=3)
    with ledger.begin() as db:
        db.execute(sa.update(tables.segment).where(tables.segment.c.first_number <= 40).values(at=cutoff - timedelta(days=1)))
    last = [s.last_us for s in rows(ledger, tables.segment) if s.first_number <= 40]
    assert merge.tidy(ledger, 1, KEY_TYPES, timedelta(days=3)) >= 40
    assert min(first for first, _ in numbers(ledger)) == 41
    assert {c.first_us for c in rows(ledger, tables.coverage)} == {max(last) + 1}


def test_dense_keys_cost_less_than_half_a_byte_each_once_merged(
    database: str, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "FLUSHES_KEPT", 8)
    monkeypatch.setattr(merge, "FLUSHES_LEFT", 4)
    about = settings(database, tracker={"flush_records": 2000})
    order = np.random.default_rng(5).permutation(200_000)
    for partition in range(3):
        for key in np.sort(order[partition::3]).tolist():
            log.append("jobs", event(key), partition)
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    assert len(numbers(ledger)) < 12
    assert len(credited(ledger)) == 200_000
    assert sum(len(k.keys) for k in rows(ledger, tables.segment_keys)) < 0.5 * 200_000
