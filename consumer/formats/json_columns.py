"""Read JSON records that follow a learnt template, column by column, with the cursors that Avro uses.

A record fits if the template's fixed bytes stand around its values, each value is made of what its kind allows, and the
last byte is its own last byte. Such a record has exactly the example's structure, so nothing of it needs to be parsed.
Text with backslashes, numbers longer than 18 digits, and whatever else does not fit is left to the parser.
"""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from consumer.formats.avro_leaves import AvroLeaves
from consumer.formats.avro_schema import Node
from consumer.formats.columns import Codes, Column, Mask, Rows
from consumer.formats.cursors import INT, TEXT, Cursors, Leaf, Words
from consumer.formats.json_template import Kind, Template
from consumer.formats.key_columns import PADDING, one_by_one
from consumer.formats.listed import UNSET, code
from consumer.formats.paths import Path
from consumer.formats.plan import Literal
from schemas.events import NO_TIME, Int64s
from schemas.keys import KeyType

_U = np.uint64
_HIGH, _ONES = _U(0x8080808080808080), _U(0x0101010101010101)
_ZEROS, _SIX = _U(0x3030303030303030), _U(0x7676767676767676)
_QUOTES = _U(0x2222222222222222)
_POWERS = np.array([10**n for n in range(9)], np.int64)
#: Longest text looked at here, in words.
_MAX_WORDS = 64
#: One record's length is tried for all the others, this often, if it is shorter than this.
_GUESSES, _MAX_GUESS = 3, 128


class Fits:
    """Which records of a chunk fit a template, and their values."""

    def __init__(self, template: Template, cursors: Cursors) -> None:
        self.template, self.cursors = template, cursors
        self.misfit: Mask | None = None
        self.kinds: dict[Path, Node] = {}

    def leaves(self, which: Rows | None) -> TemplateLeaves:
        """The values of some of the records (None: all)."""
        if which is not None:
            cut = Cursors(self.cursors.data, self.cursors.end[which])
            for path, leaf in self.cursors.leaves.items():
                cut.leaves[path] = Leaf(leaf.tag, leaf.value[which], leaf.length[which])
            return TemplateLeaves(cut, self.kinds, self.template.constants)
        return TemplateLeaves(self.cursors, self.kinds, self.template.constants)

    def refuse(self, where: Mask) -> None:
        if where.any():
            self.misfit = where if self.misfit is None else self.misfit | where


class Fitting(Fits):
    """Records of any lengths, walked through value by value."""

    def __init__(self, template: Template, data: bytes, start: Int64s, end: Int64s) -> None:
        """`start` is behind the template's head, which the caller has compared."""
        super().__init__(template, Cursors(data, end))
        self._walk(start, end)

    def _walk(self, pos: Int64s, end: Int64s) -> None:
        for number, (fixed, kind, path) in enumerate(self.template.steps):
            pos = self._fixed(pos, fixed) if number else pos + len(fixed)
            if kind is Kind.TEXT:
                after = self._text(pos)
                if path is not None:
                    self.kinds[path] = STRING
                    self.cursors.keep(path, TEXT, pos, None, after - pos)
            else:
                value, after = self._digits(pos, wanted=path is not None, whole=kind is Kind.WHOLE)
                if path is not None:
                    self.kinds[path] = LONG
                    self.cursors.keep(path, INT, value, None)
            pos = after
        pos = self._fixed(pos, self.template.tail) if self.template.steps else pos + len(self.template.tail)
        self.refuse(pos != end)

    def _fixed(self, pos: Int64s, fixed: bytes) -> Int64s:
        """Hold the bytes at each cursor against the template's."""
        if not fixed:
            return pos
        different = differ(self.cursors.data, pos, fixed)
        if different is not None:
            self.refuse(different)
        return pos + len(fixed)

    def _text(self, pos: Int64s) -> Int64s:
        """The places of the quotes that end each text."""
        after = np.empty_like(pos)
        rows: Rows | None = None  # those still open; None: all
        for _ in range(_GUESSES):
            at = pos if rows is None else pos[rows]
            size = self.cursors.data.find(b'"', int(at[0])) - int(at[0])
            if not 8 <= size < _MAX_GUESS:
                break
            other = _not_quoted_at(self.cursors.data, at, size)
            if rows is None:
                after = pos + size
            else:
                after[rows] = at + size
            if other is None:
                return after
            rows = np.flatnonzero(other) if rows is None else rows[other]
        found = self._search(pos, rows)
        if rows is None:
            return found
        after[rows] = found
        return after

    def _search(self, start: Int64s, rows: Rows | None) -> Int64s:
        """The same for texts of any length."""
        pos = start if rows is None else start[rows]
        signs = self.cursors.word(pos) ^ _QUOTES
        ends = (signs - _ONES) & ~signs & _HIGH
        if ends.all():
            return pos + _length(ends)
        after = pos + _length(ends)
        open_ = np.flatnonzero(ends == 0)
        for _ in range(_MAX_WORDS):
            signs = self.cursors.word(after[open_]) ^ _QUOTES
            ends = (signs - _ONES) & ~signs & _HIGH
            after[open_] += _length(ends)
            open_ = open_[ends == 0]
            if not len(open_):
                return after
        long = np.zeros(len(start), np.bool_)
        long[open_ if rows is None else rows[open_]] = True
        self.refuse(long)
        return after

    def _digits(self, pos: Int64s, *, wanted: bool, whole: bool) -> tuple[Int64s, Int64s]:
        """Numbers of up to 18 digits (their values only where wanted), and the places behind them."""
        first = self.cursors.word(pos) ^ _ZEROS
        count, value = _eight(first, wanted=wanted)
        after = pos + count
        wrong = count == 0
        if whole:
            wrong |= ((first & _U(0xFF)) == 0) & (count > 1)
        for _ in range(2):
            more = np.flatnonzero(after - pos == 8 * (_ + 1))
            if not len(more):
                break
            every = len(more) == len(pos)
            at = after if every else after[more]
            count, low = _eight(self.cursors.word(at) ^ _ZEROS, wanted=wanted)
            if every:
                after, value = after + count, value * _POWERS.take(count) + low if wanted else value
            else:
                after[more] += count
                if wanted:
                    value[more] = value[more] * _POWERS.take(count) + low
        wrong |= after - pos > 18
        self.refuse(wrong)
        return value, after


def _not_quoted_at(data: bytes, pos: Int64s, size: int) -> Mask | None:
    """Which texts do not end after so many bytes; None: all do."""
    count = size // 8 + 1
    windows = np.ndarray((len(data) - 8 * count + 1,), f"V{8 * count}", data, 0, (1,))
    signs = windows[np.minimum(pos, len(data) - 8 * count)].view(np.uint64).reshape(len(pos), count)
    signs ^= _QUOTES
    marks = signs - _ONES
    np.invert(signs, out=signs)
    marks &= signs
    # In each word the lowest mark is a quote; those above it may not be. So what lies behind the wanted one is cut off.
    end = 1 << 8 * (size % 8) + 7
    masks, wanted = np.full(count, _HIGH), np.zeros(count, np.uint64)
    masks[-1], wanted[-1] = int(_HIGH) & (2 * end - 1), end
    marks &= masks
    different = marks != wanted
    return rows_with(different)


def rows_with(different: npt.NDArray[np.bool_] | Words) -> Mask | None:
    """The rows of a matrix that hold a truth; None: none. Faster than `any(axis=1)` where they are few, or all."""
    count, width = different.shape
    places = np.flatnonzero(different.reshape(-1))
    if not len(places):
        return None
    mask = np.zeros(count, np.bool_)
    mask[places // width] = True
    return mask


def differ(data: bytes, pos: Int64s, fixed: bytes) -> Mask | None:
    """At which places of a padded buffer other bytes stand; None: at none."""
    size = len(fixed)
    whole = -(-size // 8) * 8
    windows = np.ndarray((len(data) - whole + 1,), f"V{whole}", data, 0, (1,))
    found = windows[np.minimum(pos, len(data) - whole)].view(np.uint64).reshape(len(pos), whole // 8)
    if size < whole:
        found[:, -1] &= _U((1 << 8 * (size - whole + 8)) - 1)
    different = found != np.frombuffer(fixed.ljust(whole, b"\0"), np.uint64)
    return rows_with(different)


STRING, LONG = Node("string"), Node("long")
#: Ones below a mark's bit -> bytes before the mark's.
_BEFORE = np.arange(65) >> 3


def _length(marks: Words) -> Int64s:
    """How many bytes stand before the first marked one; 8 where none is marked."""
    return np.asarray(_BEFORE.take(np.bitwise_count((marks - _U(1)) & ~marks)))


def _eight(signs: Words, *, wanted: bool) -> tuple[Int64s, Int64s]:
    """Of words with the code of 0 taken off: how many leading bytes are digits, and their number."""
    marks = signs + _SIX  # a carry can only reach bytes behind the first that is no digit
    marks |= signs
    marks &= _HIGH
    count = _length(marks)
    if not wanted:
        return count, count
    shift = ((8 - count) << 3).astype(np.uint64)
    return count, folded(np.where(count > 0, signs << np.minimum(shift, _U(63)), _U(0)))


def folded(value: Words) -> Int64s:
    """The numbers whose digits are the bytes of words, the first one lowest."""
    value = value * _U(10) + (value >> _U(8))
    upper = (value >> _U(16)) & _U(0x000000FF000000FF)
    value &= _U(0x000000FF000000FF)
    value *= _U(0x000F424000000064)
    upper *= _U(0x0000271000000001)
    value += upper
    value >>= _U(32)
    return value.view(np.int64)


class TemplateLeaves(AvroLeaves):
    """The values read, and those that the template fixes."""

    def __init__(self, cursors: Cursors, kinds: dict[Path, Node], constants: Any) -> None:
        super().__init__(cursors, kinds, {})
        self._constants = constants

    def codes(self, path: Path, literals: tuple[Literal, ...]) -> Codes:
        if path in self._constants:
            return np.full(self.count, code(self._constants[path], literals), np.int8)
        return super().codes(path, literals)

    def _key(self, path: Path, key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        if path in self._constants:
            count = self.count if rows is None else len(rows)
            return one_by_one([self._constants[path]] * count, key_type)
        return super()._key(path, key_type, rows)

    def null(self, path: Path, rows: Rows) -> Mask:
        return np.full(len(rows), path in self._constants and self._constants[path] is None)

    def time(self, path: Path, unit: str | None, zone: ZoneInfo | None, rows: Rows | None) -> tuple[Int64s, Mask | None]:
        if path not in self._constants:
            return super().time(path, unit, zone, rows)
        count = self.count if rows is None else len(rows)
        fixed = self._constants[path]
        silent = fixed is None or (fixed is UNSET and unit is not None)
        return np.full(count, NO_TIME, np.int64), None if silent else np.ones(count, np.bool_)


assert len(PADDING) > 24  # reading a word or two behind the last record stays within the buffer
