"""The arithmetic of missing numbers, held against plain sets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import sequences
from consumer.sequences import BLOCK, LEAP, MAX_BLOCKS, Ranges
from schemas.int_keys import IntKeys

#: Some numbers around the seams of blocks, where two parts of the arithmetic meet.
NUMBERS = st.one_of(*(st.integers(max(0, seam - 9), seam + 9) for seam in (9, BLOCK, 2 * BLOCK, 7 * BLOCK)))


def column(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers), np.int64)


def spread(ranges: Ranges, within: Iterable[int]) -> set[int]:
    """The numbers of the ranges, of some that are asked about: of whole blocks there would be millions."""
    return {n for n in within for first, last in ranges.tolist() if first <= n <= last}


@given(st.lists(st.lists(NUMBERS, min_size=1), max_size=4), NUMBERS, NUMBERS)
def test_what_is_missing_is_what_a_plain_set_lacks(flushes: list[list[int]], low: int, high: int) -> None:
    held: dict[int, list[IntKeys]] = {}
    for numbers in flushes:
        for block, keys in sequences.blocks([column(numbers)]) or []:
            held.setdefault(block, []).append(keys)
    parts = list(sequences.missing(held, held.__getitem__, low, high))
    found: Ranges = np.concatenate(parts) if parts else sequences.NONE
    read = {n for numbers in flushes for n in numbers if low <= n <= high}
    assert sequences.count(found) == max(0, high - low + 1 - len(read))
    near = {n + step for n in (*read, low, high) for step in (-1, 0, 1) if low <= n + step <= high}
    assert spread(found, near) == near - read
    assert (found[:, 0] <= found[:, 1]).all()
    assert (found[1:, 0] > found[:-1, 1] + 1).all()


@given(st.sets(st.integers(0, 40)), st.lists(st.integers(0, 40)))
def test_what_came_late_is_taken_out_of_the_ranges_and_counted_once(lacking: set[int], came: list[int]) -> None:
    inside = column(sorted(set(range(41)) - lacking))
    held = {0: [IntKeys.of(inside)]} if len(inside) else {}
    parts = list(sequences.missing(held, held.__getitem__, 0, 40))
    ranges: Ranges = np.concatenate(parts) if parts else sequences.NONE
    left, late = sequences.without(ranges, column(came))
    assert late == len(lacking & set(came))
    assert spread(left, range(41)) == lacking - set(came)
    assert sequences.unpacked(sequences.packed(left)).tolist() == left.tolist()


def test_the_highest_numbers_there_are_can_be_read() -> None:
    top = 2**63 - 1
    held = dict(sequences.blocks([column([top, top - 3])]) or [])
    parts = list(sequences.missing(held, lambda block: [held[block]], top - 5, top))
    assert np.concatenate(parts).tolist() == [[top - 5, top - 4], [top - 2, top - 1]]


def test_a_leap_is_no_gap_and_of_many_ranges_some_are_kept() -> None:
    far = 9 * LEAP
    parts = [column([3, 4, 10, 10 + LEAP]), column([2 * LEAP, 3 * LEAP + 7]), column([far, far + LEAP - 1, 2 * far, 2 * far])]
    ranges = [part.reshape(-1, 2) for part in parts]
    lowest, newest = (sequences.summed(ranges, 1, newest=chosen) for chosen in (False, True))
    assert (lowest.count, lowest.leapt) == (newest.count, newest.leapt) == (3 + LEAP, LEAP + 1 + LEAP + 8)
    assert (lowest.ranges.tolist(), newest.ranges.tolist()) == ([[3, 4]], [[2 * far, 2 * far]])


@pytest.mark.parametrize(("count", "taken"), [(MAX_BLOCKS, True), (MAX_BLOCKS + 1, False)])
def test_numbers_drawn_at_random_are_no_sequence(count: int, taken: bool) -> None:
    found = sequences.blocks([column(range(0, count * BLOCK, BLOCK))])
    assert (found is not None) is taken
