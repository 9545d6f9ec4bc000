"""A batch whose bytes changed on the broker's disk: passed over as a hole of its exact length, and nothing else is lost."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from consumer.catch_up import catch_up
from consumer.damage import beyond
from consumer.streams.memory import MemoryLog
from consumer.tracker import Tracker
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, credited, event, fill, positions, rows, settings
from tests.stack.kafka import Kafka
from tests.stack.processes import wait_until


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(0, 199))
def test_reading_goes_on_at_the_end_of_a_damaged_stretch(sound: list[bool], at: int) -> None:
    at = min(at, len(sound) - 1)
    asked: list[int] = []

    def intact(offset: int) -> bool:
        asked.append(offset)
        return sound[offset]

    found = beyond(intact, at, len(sound))
    assert at <= found <= len(sound)
    assert len(asked) < 20
    if sound[at]:
        assert found == at
    else:
        assert not sound[found - 1]
        assert found == len(sound) or sound[found]


def test_one_damaged_batch_is_left_to_the_record() -> None:
    for size in (1, 2, 3, 100, 4096):
        assert beyond(lambda offset, size=size: not 7 <= offset < 7 + size, 7, 10_000) == 7 + size  # type: ignore[misc]


def test_a_damaged_batch_becomes_a_hole_of_its_own_length(database: str, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(100), 1)
    log.damage("jobs", 1, 20, 33)
    log.damage("jobs", 1, 90, 100)
    for _ in range(2):  # the second finds nothing new
        state = catch_up(settings(database), ledger, KEY_TYPES, streams=log.stream, deadline_s=0.3)
        assert state.drained
        assert [(h.kind, h.from_offset, h.to_offset) for h in state.holes] == [("corrupt", 20, 33), ("corrupt", 90, 100)]
        assert credited(ledger) == {*range(20), *range(33, 90)}
    fill(log, "jobs", range(100, 105), 1)
    catch_up(settings(database), ledger, KEY_TYPES, streams=log.stream, deadline_s=0.3)
    assert credited(ledger) >= set(range(100, 105))


def produced(kafka: Kafka, topic: str, batches: int, compression: str) -> None:
    """Ten events to a batch: a flush ends one, whatever `linger.ms` is left."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 60_000, "compression.type": compression})
    for batch in range(batches):
        for key in range(10 * batch, 10 * batch + 10):
            producer.produce(topic, event(key), partition=0)
        assert producer.flush(60) == 0


@pytest.fixture
def about(database: str, kafka: Kafka, topic_name: str) -> Settings:
    kafka.create_topic(topic_name)
    return settings(database, bootstrap=kafka.bootstrap, group=topic_name, types={"job": [topic_name]})


def test_a_bit_that_flipped_on_the_brokers_disk_withholds_what_rests_on_the_log(
    about: Settings, ledger: Ledger, kafka: Kafka, topic_name: str
) -> None:
    produced(kafka, topic_name, 6, "none")
    kafka.flip(topic_name, event(25))
    state = catch_up(about, ledger, KEY_TYPES)
    assert state.drained
    (hole,) = state.holes
    assert (hole.kind, hole.state) == ("corrupt", "open")
    assert hole.to_offset is not None
    lost = range(hole.from_offset, hole.to_offset)
    assert 25 in lost
    assert credited(ledger) == set(range(60)) - set(lost)
    assert positions(ledger) == {(topic_name, 0): 60}


def test_a_tracker_goes_on_behind_a_damaged_batch_and_records_it_once(
    about: Settings, ledger: Ledger, kafka: Kafka, topic_name: str
) -> None:
    produced(kafka, topic_name, 2, "none")
    kafka.flip(topic_name, event(15))
    stop = threading.Event()
    tracker = threading.Thread(target=Tracker(settings=about, ledger=ledger, key_types=KEY_TYPES).run, args=[stop])
    tracker.start()
    try:
        wait_until(lambda: positions(ledger).get((topic_name, 0)) == 20, "the tracker to pass the damaged batch")
        produced(kafka, topic_name, 1, "none")
        wait_until(lambda: positions(ledger).get((topic_name, 0)) == 30, "the tracker to read on")
    finally:
        stop.set()
        tracker.join(60)
    (hole,) = rows(ledger, tables.hole)
    assert hole.kind == "corrupt"
    assert credited(ledger) == set(range(20)) - set(range(hole.from_offset, hole.to_offset))
    assert 15 in range(hole.from_offset, hole.to_offset)
