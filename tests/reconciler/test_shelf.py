"""What the log announced, kept at hand: any range of it is what the segments hold there, in memory or in a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import shelf as shelves
from reconciler.announced import AnnouncedReader
from reconciler.shelf import Shelf
from schemas.key_sets import joined
from schemas.keys import ByteKeys, IntKeys, Key, KeySet, KeyType, key_type
from schemas.ledger import Said

INT, UUID, TEXT = key_type("int"), key_type("uuid"), key_type("text")
ints = st.one_of(st.integers(-70_000, 70_000), st.integers(-(1 << 63), (1 << 63) - 1))
uuids = st.one_of(st.integers(0, 300), st.integers(0, (1 << 128) - 1)).map(lambda n: UUID.canonical(uuid.UUID(int=n)))
letters = st.text(st.sampled_from("ab\x01é"), max_size=40).map(str.encode)
KEYS: dict[str, tuple[KeyType, st.SearchStrategy[Any]]] = {"int": (INT, ints), "uuid": (UUID, uuids), "text": (TEXT, letters)}


@dataclass
class Ledger:
    """Rows as `databases.ledger` would stream them."""

    rows: Sequence[tuple[Any, ...]]
    asked: int = 0

    @contextmanager
    def begin(self, what: str) -> Iterator[None]:
        self.asked += 1
        yield

    def stream(self, connection: object, query: object, batch: int) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)


def row(number: int, said: Said, chunk: int, keys: KeySet, shape: KeyType) -> tuple[Any, ...]:
    span = (number * 10, number * 10 + 5)
    return (number, str(said), chunk, shape.bound(keys.min()), shape.bound(keys.max()), keys.serialize(), *span, {})


def filled(shape: KeyType, sets: Sequence[set[Key]]) -> tuple[Shelf, Ledger]:
    ledger = Ledger([row(n, Said.CREATED, 0, shape.of(keys), shape) for n, keys in enumerate(sets) if keys])
    return Shelf(ledger, "job", shape), ledger  # type: ignore[arg-type]


@pytest.fixture(params=["held", "spilled"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, or in the file from the first byte on; with every kind of piece, and marks that skip keys."""
    monkeypatch.setattr(shelves, "STEP", 3)
    monkeypatch.setattr(shelves, "COMPACT_BYTES", 60)
    if request.param == "spilled":
        monkeypatch.setattr(shelves, "HELD_BYTES", 0)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("kind", KEYS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_range_is_what_the_segments_hold_there(kind: str, data: st.DataObject) -> None:
    shape, some = KEYS[kind]
    sets = data.draw(st.lists(st.sets(some, max_size=25), min_size=1, max_size=4))
    low, high = (data.draw(st.none() | some) for _ in range(2))
    above = data.draw(st.booleans())
    bound = shape.after(high) if above and high is not None else high  # as a compare asks: up to and with a key
    kept, ledger = filled(shape, sets)
    found = {chunk.segment.number: set(keys) for chunk, keys in kept.range(low, bound) if len(keys)}

    def within(key: Any) -> bool:
        return (low is None or key >= low) and (high is None or key < high or (above and key == high))

    assert found == {n: inside for n, keys in enumerate(sets) if (inside := {k for k in keys if within(k)})}
    list(kept.range(None, None))
    assert ledger.asked == 1


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("kind", KEYS)
@given(data=st.data())
@settings(max_examples=30)
def test_the_words_on_some_keys_are_those_on_all_cut_to_them(kind: str, data: st.DataObject) -> None:
    shape, some = KEYS[kind]
    events = data.draw(st.lists(st.tuples(some, st.sampled_from(Said)), max_size=30))
    rows = [row(n, said, 0, shape.of([key]), shape) for n, (key, said) in enumerate(events)]
    reader = AnnouncedReader(Shelf(Ledger(rows), "job", shape), shape, ordered=True)  # type: ignore[arg-type]
    keys = shape.of([key for key, _ in events[::2]])
    whole, part = reader.range(None, None), reader.of(keys)
    for said in Said:
        assert set(part.words.sets()[said]) == set(whole.words.sets()[said] & keys)
    assert set(part.credited) == set(whole.credited & keys)
    assert {key for found, *_ in reader.spans(keys) for key in found} == set(keys)


def test_of_the_newest_creations_only_those_count_whose_rows_had_time_to_become_visible() -> None:
    rows = [row(n, Said.CREATED, 0, INT.of([n]), INT) for n in range(1, 5)]
    rows += [row(1, Said.DELETED, 1, INT.of([9]), INT), row(4, Said.CREATED, 1, INT.of([9]), INT)]  # used again
    undated = (*row(5, Said.CREATED, 0, INT.of([5]), INT)[:6], None, None, {})
    reader = AnnouncedReader(Shelf(Ledger([*rows, undated]), "job", INT), INT, ordered=True)  # type: ignore[arg-type]
    assert set(reader.newest(3)) == {4, 5, 9}
    assert set(reader.latest(2, 35)) == {2, 3}
    assert set(reader.latest(2, 34)) == {1, 2}
    assert set(reader.latest(2, 45)) == {3, 4}
    assert set(reader.latest(2, 0)) == set()


def test_a_range_of_a_long_column_reads_little_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = IntKeys.of(np.arange(0, 1 << 40, 1 << 20))
    ledger = Ledger([row(1, Said.CREATED, 0, keys, INT)])
    kept = Shelf(ledger, "job", INT)  # type: ignore[arg-type]
    assert len(kept.chunks) == 1
    read: list[int] = []
    take = Shelf._take

    def counted(self: Shelf, at: int, size: int) -> bytes:
        read.append(size)
        return take(self, at, size)

    monkeypatch.setattr(Shelf, "_take", counted)
    ((_, found),) = kept.range(5 << 30, 6 << 30)
    assert len(found) == 1024
    assert sum(read) <= 8 * (1024 + 3 * shelves.STEP)


@pytest.mark.parametrize("spread", [1, 1 << 64])  # within one head of eight bytes, and over many
def test_large_sets_of_unlike_sizes_keep_the_algebra_of_sets(spread: int) -> None:
    draw = np.random.default_rng(5)

    def some(count: int) -> ByteKeys:
        numbers = draw.integers(1, 4000, count)
        return ByteKeys.of(np.array([(int(n) * spread).to_bytes(16, "big") for n in numbers], "S16"))

    sets = [some(count) for count in (3000, 2000, 100, 1, 0)]
    for a in sets:
        for b in sets:
            assert set(a & b) == set(a) & set(b)
            assert set(a - b) == set(a) - set(b)
            assert set(a | b) == set(a) | set(b)
            assert (a == b) == (set(a) == set(b))
    assert set(joined(sets)) == set().union(*map(set, sets))
