"""One contract, over the stream in memory and over Kafka, so that the one in memory cannot drift."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from consumer.streams.contract import EventStream, Place
from schemas.errors import SettingsError
from schemas.events import RawBatch
from tests.consumer.brokers import NOW_MS
from tests.stack.processes import wait_until

Records = dict[Place, list[tuple[int, bytes | None]]]


def read_until(
    stream: EventStream, at: dict[Place, int], ends: dict[Place, int]
) -> dict[Place, list[tuple[int, bytes | None]]]:
    """Read from `at` until each place was told to have been read up to its end."""
    found: Records = {}
    reached: dict[Place, int] = {}

    def begin() -> None:
        found.update({place: [] for place in at})
        reached.clear()
        stream.assign(at)

    def done() -> bool:
        reading = stream.read(1000, 0.1)
        if reading.broken:  # a false alarm, as the contract allows: these offsets are there
            begin()
        for raw in reading.batches:
            found[raw.topic, raw.partition] += zip(raw.offsets.tolist(), raw.values, strict=True)
        reached.update(reading.ends)
        return all(reached.get(place, 0) >= end for place, end in ends.items())

    begin()
    wait_until(done, f"the ends {ends}")
    return found


def test_records_come_in_order_as_runs_of_one_partition(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", None, b"", b"b")
    broker.append(b"c", partition=1)
    at = {(broker.topic, 0): 0, (broker.topic, 1): 0}
    found = read_until(stream, at, {(broker.topic, 0): 4, (broker.topic, 1): 1})
    assert found == {
        (broker.topic, 0): [(0, b"a"), (1, None), (2, b""), (3, b"b")],
        (broker.topic, 1): [(0, b"c")],
    }


def test_reading_starts_where_told_and_again_where_told_again(broker: Any, stream: EventStream) -> None:
    broker.append(*(b"%d" % i for i in range(10)))
    place = (broker.topic, 0)
    for at in (7, 2):
        found = read_until(stream, {place: at}, {place: 10})
        assert [offset for offset, _ in found[place]] == list(range(at, 10))


def test_shape_and_spans_tell_ids_and_offsets(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", b"b", b"c")
    broker.delete_records(1)
    shape = stream.shape([broker.topic])
    assert shape.cluster_id
    assert shape.topic_ids[broker.topic]
    assert shape.places() == [(broker.topic, 0), (broker.topic, 1)]
    spans = stream.spans(shape.places())
    assert [(s.start, s.stable, s.high) for s in spans.values()] == [(1, 3, 3), (0, 0, 0)]


def test_a_recreated_topic_has_another_id(broker: Any, stream: EventStream) -> None:
    before = stream.shape([broker.topic]).topic_ids[broker.topic]
    broker.delete()
    broker.create(2)
    assert stream.shape([broker.topic]).topic_ids[broker.topic] not in (None, before)


def test_a_topic_that_does_not_exist_is_a_clear_error_and_stays_absent(broker: Any, stream: EventStream) -> None:
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"'no-such-topic' does not exist"):
            stream.shape([broker.topic, "no-such-topic"])


def test_an_open_transaction_hides_what_follows_and_the_high_watermark_tells(broker: Any, stream: EventStream) -> None:
    place = (broker.topic, 0)
    broker.append(b"before")
    end = broker.transaction(b"within")
    broker.append(b"behind")
    span = stream.spans([place])[place]
    assert (span.stable, span.high) == (1, 3)
    found = read_until(stream, {place: 0}, {place: 1})
    assert found[place] == [(0, b"before")]
    end(True)
    found = read_until(stream, {place: 1}, {place: 4})
    assert found[place] == [(1, b"within"), (2, b"behind")]


def test_an_aborted_transaction_is_passed_over_and_the_end_lies_past_its_control_record(
    broker: Any, stream: EventStream
) -> None:
    place = (broker.topic, 0)
    broker.transaction(b"one", b"two")(False)
    found = read_until(stream, {place: 0}, {place: stream.spans([place])[place].high})
    assert found[place] == []


@pytest.mark.parametrize("at", [0, 9])
def test_an_offset_the_log_does_not_hold_is_told_and_never_followed(broker: Any, stream: EventStream, at: Any) -> None:
    place = (broker.topic, 0)
    broker.append(b"a", b"b", b"c")
    broker.delete_records(2)
    stream.assign({place: at})
    broken: dict[Place, str] = {}
    seen = 0

    def told() -> bool:
        nonlocal seen
        reading = stream.read(100, 0.1)
        broken.update(reading.broken)
        seen += sum(map(len, reading.batches))
        return place in broken

    wait_until(told, "the broken place")
    assert "out of range" in broken[place]
    assert seen == sum(map(len, stream.read(100, 0.3).batches)) == 0


def test_a_damaged_batch_is_told_and_nothing_of_it_or_behind_it_comes(broker: Any, stream: EventStream) -> None:
    place = (broker.topic, 0)
    for value in (b"before", b"damaged-1", b"damaged-2", b"behind"):
        broker.append(value)  # a batch each
    broker.damage(b"damaged-1")
    broker.damage(b"damaged-2")
    stream.assign({place: 0})
    found: list[tuple[int, bytes | None]] = []
    corrupt: list[str] = []

    def told() -> bool:
        reading = stream.read(1000, 0.1)
        for raw in reading.batches:
            found.extend(zip(raw.offsets.tolist(), raw.values, strict=True))
        corrupt.extend(reading.corrupt.values())
        return len(corrupt) > 1  # told again: it does not go on by itself

    wait_until(told, "the damaged batch")
    assert found == [(0, b"before")]
    assert [stream.intact(place, offset) for offset in range(5)] == [True, False, False, True, True]
    assert stream.peek({place: 1}) == {}
    assert read_until(stream, {place: 3}, {place: 4})[place] == [(3, b"behind")]


def test_peek_finds_the_first_record_at_or_after_an_offset(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", b"b")
    place, empty = (broker.topic, 0), (broker.topic, 1)
    assert stream.peek({place: 1, empty: 0}) == {place: (1, b"b")}


def test_timestamps_come_where_asked_for(broker: Any) -> None:
    broker.create(1)
    broker.append(b"a")
    for timestamps, expected in (((broker.topic,), [NOW_MS]), ((), None)):
        with contextlib.closing(broker.open(timestamps)) as stream:
            stream.assign({(broker.topic, 0): 0})
            stamps = first_record(stream).timestamps
            assert (None if stamps is None else stamps.tolist()) == expected


def first_record(stream: EventStream) -> RawBatch:
    found: list[RawBatch] = []

    def read() -> bool:
        found.extend(stream.read(10, 0.1).batches)
        return bool(found)

    wait_until(read, "a record")
    return found[0]


def grants(stream: EventStream, count: int) -> tuple[Place, ...]:
    """Read until the group gave this stream so many places."""
    last: list[tuple[Place, ...]] = []

    def granted() -> bool:
        reading = stream.read(100, 0.1)
        if reading.granted is not None:
            last.append(reading.granted)
        return bool(last) and len(last[-1]) == count

    wait_until(granted, f"{count} places")
    return last[-1]


def test_a_group_shares_places_and_takes_them_back_before_they_are_given_on(broker: Any, stream: EventStream) -> None:
    broker.append(b"a", b"b")
    revoked: list[bool] = []
    stream.join([broker.topic], revoked.append)
    assert grants(stream, 2) == ((broker.topic, 0), (broker.topic, 1))
    found = read_until(stream, {(broker.topic, 0): 0, (broker.topic, 1): 0}, {(broker.topic, 0): 2})
    assert len(found[broker.topic, 0]) == 2
    with contextlib.closing(broker.open()) as other:
        other.join([broker.topic], lambda _: None)
        shares: list[tuple[Place, ...] | None] = [None, None]

        def shared() -> bool:
            for i, one in enumerate((stream, other)):
                granted = one.read(100, 0.1).granted
                shares[i] = granted if granted is not None else shares[i]
            return [len(s or ()) for s in shares] == [1, 1]

        wait_until(shared, "a share for each")
    assert revoked[0] is False
    assert set(shares[0] or ()) | set(shares[1] or ()) == {(broker.topic, 0), (broker.topic, 1)}


def test_a_new_partition_is_granted(broker: Any, stream: EventStream) -> None:
    stream.join([broker.topic], lambda _: None)
    grants(stream, 2)
    broker.grow(3)
    assert grants(stream, 3)[-1] == (broker.topic, 2)


def test_an_error_in_a_callback_comes_out_of_read_or_close(broker: Any) -> None:
    broker.create(1)
    stream = broker.open()

    def fail(lost: bool) -> None:
        raise ZeroDivisionError

    stream.join([broker.topic], fail)
    grants(stream, 1)
    with pytest.raises(ZeroDivisionError):
        stream.close()
