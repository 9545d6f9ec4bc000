"""The last event about a key is found again in the log, in bounds."""

from __future__ import annotations

import pytest

from consumer.catch_up import catch_up
from consumer.locate import Limits, Spoken, joined, last_of, locate, within
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas.events import NO_TIME, Op
from schemas.keys import IntKey
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, event, fill, settings

KEY = IntKey()


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database)


def test_the_last_event_of_each_key_is_found_where_it_stands(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(100), 1, at=1_700_000_000)
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    log.append("jobs", event(40, "deleted", 1_700_000_005), 2, stamp=77)
    fill(log, "jobs", range(100, 120), 2)
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    found = locate(about, ledger, KEY_TYPES, "job", KEY.of([3, 40, 5000]), streams=log.stream)
    assert {k: (v.partition, v.offset, v.op) for k, v in found.items()} == {3: (1, 3, Op.CREATE), 40: (2, 0, Op.DELETE)}
    assert (found[40].time_us, found[40].broker_ms, found[40].sure) == (1_700_000_005_000_000, 77, True)


def test_a_record_that_is_gone_is_not_told(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(10))
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    log.delete_records("jobs", 0, 5)
    assert locate(about, ledger, KEY_TYPES, "job", KEY.of([2, 7]), streams=log.stream) == {}
    log.delete("jobs")
    assert locate(about, ledger, KEY_TYPES, "job", KEY.of([2, 7]), streams=log.stream) == {}


def test_the_broker_s_time_breaks_a_tie_between_partitions() -> None:
    created, deleted = (5, 1000, Op.CREATE, 20), (9, 1000, Op.DELETE, 10)
    assert last_of({("t", 0): created, ("t", 1): deleted}).op is Op.CREATE
    tied = last_of({("t", 0): created, ("t", 1): (9, 1000, Op.DELETE, 20)})
    assert not tied.sure
    undated = last_of({("t", 0): (5, NO_TIME, Op.CREATE, 10), ("t", 1): (9, 1000, Op.DELETE, 20)})
    assert (undated.op, undated.sure) == (Op.DELETE, True)
    assert not last_of({("t", 0): (5, NO_TIME, Op.CREATE, -1), ("t", 1): (9, 1000, Op.DELETE, -1)}).sure


def test_limits_leave_out_old_segments_and_every_key_they_speak_of() -> None:
    new = Spoken(number=2, keys=KEY.of([1, 2]), offsets={("t", 0): (100, 150)})
    old = Spoken(number=1, keys=KEY.of([2, 3]), offsets={("t", 0): (0, 100)})
    chosen, wanted = within([new, old], KEY, 60)
    assert chosen == [new]
    assert list(wanted) == [1]
    assert list(within([new, old], KEY, 150)[1]) == [1, 2, 3]


def test_ranges_that_touch_are_read_as_one() -> None:
    spans = [(0, 10), (10, 20), (40, 50), (15, 25)]
    made = [Spoken(number=n, keys=KEY.of([1]), offsets={("t", 0): span}) for n, span in enumerate(spans)]
    assert joined(made) == {("t", 0): [(0, 25), (40, 50)]}


def test_nothing_is_read_where_limits_forbid_it(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(100))
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    assert locate(about, ledger, KEY_TYPES, "job", KEY.of([2]), Limits(records=50), streams=log.stream) == {}
