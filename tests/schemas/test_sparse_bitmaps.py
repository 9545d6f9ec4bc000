"""Bitmaps of keys far apart are read as the library reads them, or left to it."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from schemas import int_keys
from schemas.int_keys import INT64_MAX, INT64_MIN, IntKeys
from schemas.sparse_bitmaps import column_of

#: Single numbers, neighbours in one container, in one bucket, and full runs.
NUMBERS = st.integers(0, 2**64 - 1)
GROUPS = st.lists(
    st.tuples(NUMBERS, st.sampled_from([1, 3, 40, 6000]), st.sampled_from([1, 7, 1 << 16, 1 << 20, 1 << 33])), max_size=6
).map(lambda some: {(first + step * at) % 2**64 for first, count, step in some for at in range(count)})
MANY = st.integers(0, 2**32).map(lambda seed: {random.Random(seed).getrandbits(64) for _ in range(5000)})


def written(numbers: set[int]) -> bytes:
    bits = BitMap64(array("Q", sorted(numbers)))
    bits.run_optimize()
    return bytes(bits.serialize())


@settings(max_examples=60, deadline=None)
@given(numbers=st.one_of(GROUPS, MANY, st.tuples(GROUPS, MANY).map(lambda both: both[0] | both[1])))
def test_a_column_is_exactly_the_bitmap_or_nothing(numbers: set[int]) -> None:
    found = column_of(written(numbers))
    assert found is None or found.tolist() == sorted(numbers)


@settings(max_examples=30, deadline=None)
@given(numbers=MANY)
def test_numbers_far_apart_are_read_without_the_library(numbers: set[int]) -> None:
    found = column_of(written(numbers))
    assert found is not None
    assert found.tolist() == sorted(numbers)


@settings(max_examples=60, deadline=None)
@given(numbers=st.one_of(GROUPS, MANY), noise=st.integers(0, 2**32))
def test_bytes_that_were_damaged_never_give_another_answer_than_the_library(numbers: set[int], noise: int) -> None:
    chance, data = random.Random(noise), bytearray(written(numbers))
    if chance.random() < 0.5:
        del data[chance.randrange(len(data)) :]
    else:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    found = column_of(bytes(data))
    if found is not None:
        assert found.tolist() == list(BitMap64.deserialize(bytes(data)))


@pytest.mark.parametrize("count", [1000, 30_000])
def test_key_sets_survive_the_ledger_whichever_way_they_are_read(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(count)
    keys = np.array(sorted({chance.randrange(INT64_MIN, INT64_MAX) for _ in range(count)}), np.int64)
    data = IntKeys.of(keys).serialize()
    quick = IntKeys.parse(data)
    monkeypatch.setattr(int_keys, "column_of", lambda _: None)
    slow = IntKeys.parse(data)
    assert quick == slow == IntKeys.of(keys)
    assert quick.serialize() == slow.serialize() == data
