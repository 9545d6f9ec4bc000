"""Integer key sets of one slice as blocks, holes and 64-bit words. Pure; roaring and numpy only.

A word holds the keys of 64 neighbouring integers from a multiple of 64 on, lowest key in the lowest bit. So no word
reaches past either end of int64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.keys import BIAS, IntKeys

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def runs(keys: IntKeys) -> tuple[Ints, Ints]:
    """First and last of each run of neighbours."""
    column = keys.column()
    if not len(column):
        return column, column
    cuts = np.flatnonzero(np.diff(column) != 1)
    return column[np.concatenate([[0], cuts + 1])], column[np.concatenate([cuts, [len(column) - 1]])]


def holes(keys: IntKeys, low: int, high: int) -> tuple[Ints, Ints]:
    """First and last of each run of integers in [low, high) that are not among the keys, which all lie there."""
    if len(keys) > (high - low) // 2:
        return runs(IntKeys.range(low, high) - keys)
    firsts, lasts = runs(keys)
    if not len(firsts):
        return np.array([low], np.int64), np.array([high - 1], np.int64)
    # The outer two apart: one less than the least integer, or one more than the greatest, is none.
    before, after = int(firsts[0]) > low, int(lasts[-1]) < high - 1
    begins = [[low]] * before + [lasts[:-1] + 1] + [lasts[-1:] + 1] * after
    ends = [firsts[:1] - 1] * before + [firsts[1:] - 1] + [[high - 1]] * after
    return np.concatenate(begins).astype(np.int64), np.concatenate(ends).astype(np.int64)


def blocks(keys: IntKeys, width: int) -> tuple[Ints, Ints, Ints]:
    """First, last and number of keys of each block of `width` keys; the last block may hold fewer."""
    total = len(keys)
    firsts = range(0, total, width)
    lasts = [min(at + width, total) - 1 for at in firsts]
    select = keys.bits.__getitem__
    first = np.array([select(at) - BIAS for at in firsts], np.int64)
    last = np.array([select(at) - BIAS for at in lasts], np.int64)
    return first, last, np.array(lasts, np.int64) - np.array(firsts, np.int64) + 1


def words_of(keys: IntKeys, low: int, high: int) -> Words:
    """The words of [low, high), both multiples of 64, for keys that all lie there."""
    size = high - low
    flags = np.zeros(size, np.uint8)
    if len(keys) > size // 2:  # the holes are fewer
        flags[:] = 1
        flags[(IntKeys.range(low, high) - keys).column() - low] = 0
    else:
        flags[keys.column() - low] = 1
    return np.packbits(flags, bitorder="little").view("<u8")


def keys_of(words: Words, firsts: Ints) -> IntKeys:
    """The keys of the words that begin at `firsts`."""
    rows = np.flatnonzero(words)
    flags = np.unpackbits(words[rows].astype("<u8").view(np.uint8), bitorder="little")
    at = np.flatnonzero(flags)
    return IntKeys.of(firsts[rows[at >> 6]] + (at & 63))


def flipped(guess: IntKeys, words: Words, low: int, high: int) -> IntKeys:
    """The keys that the words of [low, high) hold, made from the guess by flipping what differs: often nearly nothing."""
    differing = words ^ words_of(guess, low, high)
    if not differing.any():
        return guess
    return IntKeys(guess.bits ^ keys_of(differing, steps(low, high, 64)).bits)


def steps(low: int, high: int, step: int) -> Ints:
    """low, low + step, … below high, which may be 2**63: more than `arange` can be told."""
    return low + step * np.arange(-(-(high - low) // step), dtype=np.int64)


def aligned(low: int, high: int, step: int) -> tuple[int, int]:
    """[low, high) widened to multiples of step, a power of two of at most 2**63."""
    return low & -step, -(-high // step) * step
