"""One cursor per record over the joined bytes of a chunk, all moved together: numbers, lengths, and what was found.

Soundness rests on three things. Every step only moves a cursor forward: lengths are checked to be neither negative nor
longer than the buffer. Reads beyond the buffer are clipped. And at the end each cursor must stand exactly on its own
record's end (`finish`). So a record that reaches into its neighbour or is cut short is found, and blamed alone.

Steps are quick where all records are alike. So that a few that are not (most often damaged) cost no more than themselves,
they are put aside: their cursors go on with one of the others, and they are walked again afterwards, without the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from consumer.formats.columns import Mask, Rows
from consumer.formats.key_columns import PADDING
from consumer.formats.paths import Path
from schemas.events import Bytes8, Int64s

#: So many records of a chunk, one in this, may be put aside.
ASIDE = 16
#: A length is common if one record in so many has it. Above the longest, all count as one.
_COMMON, _LONG = 256, 1 << 14
#: What stands at a wanted path in one record. GONE: something above it is null.
GONE, NULL, INT, TEXT, ENUM, BOOL, UNFIT = range(7)  # the first two are the nulls

Words = npt.NDArray[np.uint64]
_U = np.uint64
_HIGH, _LOW7 = _U(0x8080808080808080), _U(0x7F7F7F7F7F7F7F7F)
_ONE, _TWO, _FOUR = _U(1), _U(2), _U(4)
_A1, _B1 = _U(0x7F007F007F007F00), _U(0x007F007F007F007F)
_A2, _B2 = _U(0x3FFF00003FFF0000), _U(0x00003FFF00003FFF)
_A3, _B3 = _U(0x0FFFFFFF00000000), _U(0x000000000FFFFFFF)
_NO_END = 64
#: Ones below a varint's last top bit -> its bytes. A varint that does not end within its word has all 64.
_BYTES = (np.arange(_NO_END + 1) + 1) >> 3
_ZIGZAG = (np.arange(256) >> 1) ^ -(np.arange(256) & 1)
#: The bits of a varint of so many bytes.
_MASKS = [_LOW7 & _U((1 << 8 * size) - 1) for size in range(9)]
_HALF = np.arange(256) >> 1


class Leaf:
    """The values at one wanted path. `tag` is one number where all records agree.

    A lazy leaf holds the places of its numbers until somebody asks for them (`Cursors.open`).
    """

    __slots__ = ("lazy", "length", "tag", "value")

    def __init__(self, tag: int | Bytes8, value: Int64s, length: Int64s) -> None:
        self.tag, self.value, self.length = tag, value, length
        self.lazy = False

    def tags(self, count: int) -> Bytes8:
        return np.full(count, self.tag, np.uint8) if isinstance(self.tag, int) else self.tag


class Cursors:
    """The buffer, what was found in it so far, and which records are bad."""

    def __init__(self, data: bytes, end: Int64s, *, sift: bool = False) -> None:
        """`data` holds the records and PADDING after them; `end` is where each record ends.

        `sift`: records unlike the others may be put aside.
        """
        self.data = data
        self.bytes = np.frombuffer(data, np.uint8)
        self.words: Words = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))
        self.end = end
        self.count = len(end)
        self.limit = len(data) - len(PADDING)
        self.bad: Mask | None = None
        self.aside: Mask | None = None  #: to be walked again; nothing that was found of them is theirs
        self._may_stray = self.count // ASIDE if sift else 0
        #: bytes between each cursor and its record's end, where no other fault was found in the record
        self.left: Int64s | None = None
        self._cut_short: list[Rows] = []
        self.leaves: dict[Path, Leaf] = {}
        #: bits no honest length has, zigzag-encoded: its lowest (the sign), and those beyond the buffer's size
        self._wrong = ~((1 << (2 * self.limit + 1).bit_length()) - 1) & (2**64 - 1) | 1

    def blame(self, where: Mask, rows: Rows | None, after: Int64s | None = None) -> None:
        """Where a fault was found; `after`: where the faulty values end.

        The first fault of a record that ends beyond its end is that it was cut short: what is read there is its neighbour's.
        """
        if self.bad is None:
            self.bad = np.zeros(self.count, np.bool_)
        which = np.flatnonzero(where) if rows is None else rows[where]
        if after is not None:
            beyond = (after[where] > self.end[which]) & ~self.bad[which]
            self._cut_short.append(which[beyond])
        self.bad[which] = True

    def of_common_length(self, start: Int64s) -> Int64s:
        """Cursors at the records' starts, with those aside whose length is rare: cut short, most often.

        Not so those longer than any common one: if bytes were added to such a record, it is walked like the others.
        """
        if not self._may_stray:
            return start
        length = np.minimum(self.end - start, _LONG)
        rare = np.bincount(length) * _COMMON < self.count
        rare[len(rare) - int(np.argmin(rare[::-1])) :] = False
        return start if (same := self.put_aside(rare[length], start, None)) is None else same

    def put_aside(self, where: Mask, pos: Int64s, rows: Rows | None) -> Int64s | None:
        """Cursors with those `where` records are unlike the others replaced by one of the others; None: too many are."""
        if rows is not None or not self._may_stray:
            return None
        odd = np.flatnonzero(where)
        if not 0 < len(odd) <= self._may_stray:
            return None
        self._may_stray -= len(odd)
        if self.aside is None:
            self.aside = np.zeros(self.count, np.bool_)
        self.aside[odd] = True
        pos = pos.copy()
        pos[odd] = pos[np.argmin(where)]
        return pos

    def word(self, pos: Int64s) -> Words:
        """The eight bytes at each cursor."""
        try:
            return self.words[pos]
        except IndexError:  # some record is bad; its cursor will not come back to its end
            return self.words[np.minimum(pos, len(self.words) - 1)]

    def byte(self, pos: Int64s) -> Bytes8:
        return self.bytes.take(pos, mode="clip")

    def unsigned(self, pos: Int64s, rows: Rows | None) -> tuple[npt.NDArray[np.unsignedinteger], Int64s]:
        """One varint each, not yet zigzag-decoded, and the places after it."""
        first = self.byte(pos)
        if np.bitwise_or.reduce(first) < 128:
            return first, pos + 1
        word = self.word(pos)
        size = alike(*_bounds(word))
        if 0 < size <= 8:
            word &= _MASKS[size]
            _compact(word, size)
            return word, pos + size
        same = None if size else self.put_aside(_unlike(word), pos, rows)
        if same is not None:
            return self.unsigned(same, rows)
        mask, ones, after = _ends(word, pos)
        word &= mask
        word &= _LOW7
        _compact(word, 8)
        if ones.max() == _NO_END:
            self._long(np.flatnonzero(ones == _NO_END), pos, rows, word, after)
        return word, after

    def _long(self, which: Rows, pos: Int64s, rows: Rows | None, word: Words, after: Int64s) -> None:
        """Numbers of nine or ten bytes: 56 bits from the word, the rest from the two bytes behind it."""
        ninth, tenth = self._behind(which, pos, rows, after)
        word[which] |= (ninth & _U(127)) << _U(56) | (tenth & _ONE) << _U(63)

    def _behind(self, which: Rows, pos: Int64s, rows: Rows | None, after: Int64s) -> tuple[Words, Words]:
        at = pos[which] + 8
        ninth = self.byte(at)
        ten = ninth >= 128
        tenth = np.where(ten, self.byte(at + 1), np.uint8(0))
        after[which] = at + 1 + ten
        if tenth.max() > 1:  # more than 64 bits
            blamed = np.zeros(len(pos), np.bool_)
            blamed[which[tenth > 1]] = True
            self.blame(blamed, rows, after)
        return ninth.astype(np.uint64), tenth.astype(np.uint64)

    def number(self, pos: Int64s, rows: Rows | None) -> tuple[Int64s, Int64s]:
        """One signed number each, and the places after it."""
        value, pos = self.unsigned(pos, rows)
        if value.dtype == np.uint8:
            return _ZIGZAG.take(value), pos
        sign = -(value & _ONE).view(np.int64)
        value >>= _ONE
        sign ^= value.view(np.int64)
        return sign, pos

    def skip_number(self, pos: Int64s, rows: Rows | None) -> Int64s:
        if np.bitwise_or.reduce(self.byte(pos)) < 128:
            return pos + 1
        word = self.word(pos)
        size = alike(*_bounds(word))
        if 0 < size <= 8:
            return pos + size
        if size > 8 and np.bitwise_or.reduce(self.byte(pos + 8)) < 128:
            return pos + 9
        same = None if size else self.put_aside(_unlike(word), pos, rows)
        if same is not None:
            return self.skip_number(same, rows)
        _, ones, after = _ends(word, pos)
        if ones.max() == _NO_END:
            self._behind(np.flatnonzero(ones == _NO_END), pos, rows, after)
        return after

    def skip_optional_number(self, pos: Int64s, rows: Rows | None) -> Int64s | None:
        """Over `["null", "long"]` where all records have null or all have a number; None: look closer."""
        every, some = _bounds(self.word(pos))
        branch = some & 0xFF
        if branch != every & 0xFF or branch not in (0, 2):
            return None
        if branch == 0:
            return pos + 1
        size = alike(every >> 8 | 0x80 << 56, some >> 8 | 0x80 << 56)
        return pos + (size + 1) if 0 < size < 8 else self.skip_number(pos + 1, rows)

    def length(self, pos: Int64s, rows: Rows | None) -> tuple[Int64s, Int64s]:
        """A length that cannot lead back, nor so far that cursors overflow."""
        first = self.byte(pos)
        if not np.bitwise_or.reduce(first) & 129:  # one byte each, and not negative
            return _HALF.take(first), pos + 1
        same = self.put_aside((first & 129) != 0, pos, rows)
        if same is not None:
            return self.length(same, rows)
        value, after = self.unsigned(pos, rows)
        if int(np.bitwise_or.reduce(value)) & self._wrong:
            wrong = ((value & value.dtype.type(1)) != 0) | (value > 2 * self.limit)
            self.blame(wrong, rows, after)
            value = np.where(wrong, value.dtype.type(0), value)
        return (value >> value.dtype.type(1)).astype(np.int64), after

    def keep(self, path: Path, tag: int, value: Int64s, rows: Rows | None, length: Int64s | None = None) -> None:
        if rows is None:
            self.leaves[path] = Leaf(tag, value, value if length is None else length)
            return
        self.expect(path)
        leaf = self.leaves[path]
        assert not isinstance(leaf.tag, int)
        leaf.tag[rows], leaf.value[rows] = tag, value
        if length is not None:
            leaf.length[rows] = length

    def expect(self, path: Path) -> None:
        """Prepare for values from some records only; the others have GONE there."""
        if path not in self.leaves:
            tags = np.zeros(self.count, np.uint8)
            self.leaves[path] = Leaf(tags, np.zeros(self.count, np.int64), np.zeros(self.count, np.int64))

    def open(self, leaf: Leaf) -> None:
        """Read a lazy leaf's numbers. What stands where there is none is read as well, and means nothing."""
        if leaf.lazy:
            leaf.value, _ = self.number(leaf.value, None)
            leaf.lazy = False

    def finish(self, pos: Int64s) -> None:
        """Blame the records that did not end where they should, and lay a sound one's values over theirs.

        For theirs may point anywhere, and would be unlike all others.
        """
        left = self.end - pos
        if self.bad is not None:
            left[self.bad] = 0
        for rows in self._cut_short:
            left[rows] = -1
        if self.aside is not None:
            left[self.aside] = 0
        if left.any():
            self.left = left
            self.blame(left != 0, None)
        off = self.bad if self.aside is None else self.aside if self.bad is None else self.bad | self.aside
        if off is not None:
            self._cover(off)

    def _cover(self, off: Mask) -> None:
        sound, rows = int(np.argmin(off)), np.flatnonzero(off)
        for leaf in self.leaves.values():
            if off[sound]:  # there is no sound one
                leaf.tag, leaf.value, leaf.length = np.full(self.count, UNFIT, np.uint8), self._zeros(), self._zeros()
                continue
            if not isinstance(leaf.tag, int):
                leaf.tag[rows] = leaf.tag[sound]
            leaf.value, leaf.length = _with(leaf.value, rows, sound), _with(leaf.length, rows, sound)

    def _zeros(self) -> Int64s:
        return np.zeros(self.count, np.int64)


def _with(column: Int64s, rows: Rows, one: int) -> Int64s:
    """A copy, for others hold the column too, in which these rows have the value of one."""
    column = column.copy()
    column[rows] = column[one]
    return column


def _ends(word: Words, pos: Int64s) -> tuple[Words, Bytes8, Int64s]:
    """For the varint each word begins with: ones below its last top bit, how many they are, and the place after it."""
    last = ~word
    last &= _HIGH
    mask = last - _ONE
    np.invert(last, out=last)
    mask &= last
    ones = np.bitwise_count(mask)
    after = _BYTES.take(ones)
    after += pos
    return mask, ones, after


def _bounds(word: Words) -> tuple[int, int]:
    """Bits set in every word, and in some."""
    return int(np.bitwise_and.reduce(word)), int(np.bitwise_or.reduce(word))


def alike(every: int, some: int) -> int:
    """The bytes that varints take, if all take as many; 9 where none ends within its word; 0 where they differ."""
    ends = ~some & int(_HIGH)
    last = ends & -ends
    below = (last - 1) & int(_HIGH)
    if every & below != below:
        return 0
    return last.bit_length() // 8 if last else 9


def _unlike(word: Words) -> Mask:
    """Which varints take another number of bytes than the first one does."""
    first = int(word[0])
    ends = ~first & int(_HIGH)
    bits = (ends & -ends | (ends & -ends) - 1 if ends else 2**64 - 1) & int(_HIGH)
    return np.asarray(word & _U(bits) != _U(first & bits))


def _compact(word: Words, size: int) -> None:
    """Push the groups of seven bits together; `size` bytes at most are in use."""
    stages = ((_A1, _B1, _ONE), (_A2, _B2, _TWO), (_A3, _B3, _FOUR))
    for upper, lower, shift in stages[: 3 if size > 4 else 2 if size > 2 else 1]:
        part = word & upper
        part >>= shift
        word &= lower
        word |= part
