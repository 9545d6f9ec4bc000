"""What is taken, what is passed over, and what a flush says of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from consumer.intake import Intake, anchor_hash
from consumer.streams.contract import Place, Reading
from schemas.events import Decoded, EventBatch, RawBatch
from schemas.keys import IntKey

PLACE: Place = ("t", 0)


class Plain:
    """A record's value is its key, as text."""

    needs_timestamps = False

    def decode(self, *batches: RawBatch) -> Decoded:
        return Decoded(batches=list(map(self._decoded, batches)), unreadable=[])

    def _decoded(self, batch: RawBatch) -> EventBatch:
        keys = np.array([int(v or b"0") for v in batch.values], np.int64)
        return EventBatch(
            data_type="job", topic=batch.topic, partition=batch.partition, keys=keys,
            ops=np.ones(len(keys), np.uint8), times=keys * 10, offsets=batch.offsets,
        )  # fmt: skip


def raw(*offsets: int, partition: int = 0) -> RawBatch:
    return RawBatch(topic="t", partition=partition, offsets=np.array(offsets, np.int64), values=[b"%d" % o for o in offsets])


def intake(at: int = 10) -> Intake:
    made = Intake(decoders={"t": Plain()}, key_types={"job": IntKey()})
    made.begin({PLACE: at}, {"t": "id"}, {PLACE: 7})
    return made


def move(made: Intake) -> Any:
    (only,) = made.flush().moves
    return only


def test_records_already_read_and_places_not_ours_are_passed_over() -> None:
    made = intake()
    made.take(Reading(batches=[raw(7, 8, 9), raw(9, 10, 11), raw(5, partition=1)]))
    flush = made.flush()
    assert list(flush.segments[0].said.created) == [10, 11]
    assert (flush.records, flush.next_offsets) == (2, {PLACE: 12})


def test_gaps_in_offsets_are_no_loss_and_the_end_counts_past_control_records() -> None:
    made = intake()
    made.take(Reading(batches=[raw(10, 14)], ends={PLACE: 17, ("t", 1): 3}))
    assert (move(made).expected, move(made).next) == (10, 17)
    assert move(made).anchor_offset == 14
    assert move(made).anchor_hash == anchor_hash(b"14")
    assert move(made).event_us == 140


def test_an_end_behind_us_moves_nothing_back() -> None:
    made = intake()
    made.take(Reading(ends={PLACE: 4}))
    assert not made.dirty


def test_after_a_flush_only_what_is_new_counts() -> None:
    made = intake()
    made.take(Reading(batches=[raw(10)]))
    made.settle(made.flush())
    assert not made.dirty
    made.take(Reading(batches=[raw(11)]))
    assert (move(made).expected, move(made).next, made.flush().records) == (11, 12, 1)


def test_a_tombstone_is_no_empty_value() -> None:
    assert anchor_hash(None) != anchor_hash(b"")
