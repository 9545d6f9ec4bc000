"""The wanted values of a chunk of Avro records, as columns over the joined bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from consumer.formats import listed
from consumer.formats.avro_schema import Node
from consumer.formats.columns import ABSENT, ODD, OTHER, Codes, Column, Mask, Rows
from consumer.formats.columns import NULL as NULL_CODE
from consumer.formats.cursors import BOOL, ENUM, GONE, INT, NULL, TEXT, Cursors, Leaf, Words
from consumer.formats.json_projection import Projected, Projection
from consumer.formats.key_columns import composite, gather, one_by_one, texts, uuids
from consumer.formats.paths import Path
from consumer.formats.plan import Literal
from consumer.formats.times import ISO_LENGTHS, numbers
from consumer.formats.times import texts as iso
from schemas.events import NO_TIME, Int64s
from schemas.keys import CompositeKey, KeyType

_U = np.uint64
#: The top bits of the first n bytes of a word.
_HIGH_BITS = np.array([0x8080808080808080 & ((1 << 8 * n) - 1) for n in range(9)], np.uint64)
#: Literals are short words; a longer text is not compared column by column.
_SHORT = 128
#: So few are read faster one by one than by columns.
_FEW = 32


class AvroLeaves:
    """`columns.Leaves` over what `Cursors` found. Paths that go on inside a text field are followed as JSON."""

    def __init__(self, cursors: Cursors, kinds: dict[Path, Node], inside: dict[Path, Projection]) -> None:
        self.cursors, self.kinds, self.inside = cursors, kinds, inside
        self.count = cursors.count
        self._parsed: dict[Path, tuple[Projected, Mask | None]] = {}

    # -- literals -----------------------------------------------------------------------------------------------------

    def codes(self, path: Path, literals: tuple[Literal, ...]) -> Codes:
        hop = self._hop(path)
        if hop is not None:
            return self._codes_inside(*hop, path[len(hop[0]) :], literals)
        if path not in self.kinds:
            return np.full(self.count, ABSENT, np.int8)
        leaf = self.cursors.leaves.get(path)
        if leaf is None:
            return np.full(self.count, NULL_CODE, np.int8)
        if isinstance(leaf.tag, int):
            return self._codes_of(path, leaf, leaf.tag, literals, None)
        codes = np.full(self.count, NULL_CODE, np.int8)
        for tag in np.unique(leaf.tag).tolist():
            rows = np.flatnonzero(leaf.tag == tag)
            codes[rows] = self._codes_of(path, leaf, tag, literals, rows)
        return codes

    def _codes_of(self, path: Path, leaf: Leaf, tag: int, literals: tuple[Literal, ...], rows: Rows | None) -> Codes:
        count = self.count if rows is None else len(rows)
        if tag in (GONE, NULL):
            return np.full(count, NULL_CODE, np.int8)
        value = leaf.value if rows is None else leaf.value[rows]
        if tag == TEXT:
            return self._codes_of_text(value, leaf.length if rows is None else leaf.length[rows], literals)
        codes = np.full(count, OTHER, np.int8)
        if tag == ENUM:
            table = np.array([literals.index(s) if s in literals else OTHER for s in self.kinds[path].symbols], np.int8)
            return table.take(value)
        if tag == INT and self.kinds[path].is_plain_int:
            for code, literal in enumerate(literals):
                if type(literal) is int and -(1 << 63) <= literal < 1 << 63:
                    codes[value == literal] = code
            return codes
        if tag == BOOL:
            for code, literal in enumerate(literals):
                if type(literal) is bool:
                    codes[value == literal] = code
            return codes
        return np.full(count, ODD, np.int8)

    def _codes_of_text(self, start: Int64s, length: Int64s, literals: tuple[Literal, ...]) -> Codes:
        codes = np.full(len(start), OTHER, np.int8)
        table = _single(literals)
        if table is not None and length.max() <= 1:
            codes = table.take(self.cursors.byte(start))
            codes[length != 1] = OTHER
            return codes
        first = self.cursors.words[start]
        for code, literal in enumerate(literals):
            if type(literal) is str:
                same = self._equal(first, start, length, literal.encode())
                if same.all():
                    return np.full(len(start), code, np.int8)
                codes += same.view(np.int8) * np.int8(code - OTHER)  # literals differ: at most one is the same
        others = np.flatnonzero(codes == OTHER)
        if len(others):
            codes[others[self._not_ascii(start[others], length[others])]] = ODD
        return codes

    def _equal(self, first: Words, start: Int64s, length: Int64s, literal: bytes) -> Mask:
        """Which texts are this literal; `first` are their first words."""
        size = len(literal)
        if size < 8:
            first = first & _U((1 << (8 * size)) - 1)
        same: Mask = first == _U(int.from_bytes(literal[:8], "little"))
        same &= length == size
        for at in range(8, size, 8):  # the last word overlaps the one before it
            at = min(at, size - 8)
            same &= self.cursors.words[start + at] == _U(int.from_bytes(literal[at : at + 8], "little"))
        return same

    def _not_ascii(self, start: Int64s, length: Int64s) -> Mask:
        """Texts that may not be UTF-8, or are too long to be looked at here."""
        odd = length > _SHORT
        for at in range(0, min(int(length.max()), _SHORT), 8):
            left = np.minimum(np.maximum(length - at, 0), 8)
            odd |= (self.cursors.words[start + at] & _HIGH_BITS.take(left)) != 0
        return odd

    # -- keys ---------------------------------------------------------------------------------------------------------

    def key(self, paths: tuple[Path, ...], key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        if not isinstance(key_type, CompositeKey):
            return self._key(paths[0], key_type, rows)
        parts = []
        for path, part in zip(paths, key_type.parts, strict=True):
            parts.append((part.kind, *self._key(path, part, rows)))
        return composite(parts)

    def _key(self, path: Path, key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        hop = self._hop(path)
        if hop is not None:
            found, bad = self._inside(*hop)
            keys, unsure = found.key((path[len(hop[0]) :],), key_type, rows)
            return keys, _either(unsure, bad, rows)
        leaf = self.cursors.leaves.get(path)
        if leaf is None:
            return self._unsure(key_type, rows)
        wanted = INT if key_type.kind == "int" else TEXT
        if wanted == INT and (path not in self.kinds or not self.kinds[path].is_plain_int):
            return self._unsure(key_type, rows)
        value, length, odd = _typed(leaf, wanted, rows)
        if key_type.kind == "int":
            return value, odd
        column, bad = (uuids if key_type.kind == "uuid" else texts)(self.cursors.data, value, length)
        return column, bad if odd is None else odd if bad is None else odd | bad

    def _unsure(self, key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        return one_by_one([None] * (self.count if rows is None else len(rows)), key_type)

    def null(self, path: Path, rows: Rows) -> Mask:
        hop = self._hop(path)
        if hop is not None:
            return self._inside(*hop)[0].null(path[len(hop[0]) :], rows)
        leaf = self.cursors.leaves.get(path)
        if leaf is None:
            return np.full(len(rows), path in self.kinds)
        tags = leaf.tags(self.count)[rows]
        return np.asarray(tags <= NULL)

    # -- times --------------------------------------------------------------------------------------------------------

    def time(self, path: Path, unit: str | None, zone: ZoneInfo | None, rows: Rows | None) -> tuple[Int64s, Mask | None]:
        hop = self._hop(path)
        if hop is not None:
            found, bad = self._inside(*hop)
            at, unsure = found.time(path[len(hop[0]) :], unit, zone, rows)
            return at, _either(unsure, bad, rows)
        count = self.count if rows is None else len(rows)
        if path in self.cursors.leaves:
            self.cursors.open(self.cursors.leaves[path])
        silent = np.full(count, NO_TIME, np.int64)
        leaf = self.cursors.leaves.get(path)
        if leaf is None:
            return silent, None
        node = self.kinds[path]
        if node.kind == "string" and unit is None:
            return self._text_times(leaf, zone, rows)
        if node.kind not in ("int", "long") or (node.stamp is None and not node.is_plain_int):
            tags = leaf.tags(self.count)
            return silent, (tags if rows is None else tags[rows]) > NULL
        if node.stamp is not None and unit is None:
            unit, local = node.stamp
            if local:
                return silent, np.ones(count, np.bool_)  # a local clock's: `records` places it
            return _numbers(leaf, unit, rows, positive=False)
        return _numbers(leaf, unit, rows, positive=unit is not None)

    def _text_times(self, leaf: Leaf, zone: ZoneInfo | None, rows: Rows | None) -> tuple[Int64s, Mask | None]:
        start, length, _ = _typed(leaf, TEXT, rows)
        at, good = np.full(len(start), NO_TIME, np.int64), np.zeros(len(start), np.bool_)
        for size in ISO_LENGTHS:
            mine = np.flatnonzero(length == size)
            if len(mine) > _FEW:
                at[mine], good[mine] = iso(gather(self.cursors.data, start[mine], size))
        odd = np.flatnonzero(~good)
        if not len(odd):
            return at, None
        unsure = np.zeros(len(start), np.bool_)
        at[odd], bad = listed.times(self._texts(leaf, odd if rows is None else rows[odd]), None, zone)
        if bad is not None:
            unsure[odd] = bad
        return at, unsure

    def _texts(self, leaf: Leaf, rows: Rows | None) -> Sequence[Any]:
        """The texts as Python values; None where null, bytes where they are not UTF-8."""
        start, length, tags = leaf.value, leaf.length, leaf.tags(self.count)
        if rows is not None:
            start, length, tags = start[rows], length[rows], tags[rows]
        data = self.cursors.data
        ends = (start + length).tolist()
        return [
            _text(data[begin:end]) if tag == TEXT else None if tag <= NULL else b""
            for begin, end, tag in zip(start.tolist(), ends, tags.tolist(), strict=True)
        ]

    # -- JSON inside text ---------------------------------------------------------------------------------------------

    def _hop(self, path: Path) -> tuple[Path, Projection] | None:
        """The text field on the way to this path, if there is one."""
        for outer, projection in self.inside.items():
            if len(outer) < len(path) and path[: len(outer)] == outer:
                return outer, projection
        return None

    def _inside(self, outer: Path, projection: Projection) -> tuple[Projected, Mask | None]:
        if outer not in self._parsed:
            leaf = self.cursors.leaves.get(outer)
            values = [None] * self.count if leaf is None else self._texts(leaf, None)
            self._parsed[outer] = projection.inner(values)
        return self._parsed[outer]

    def _codes_inside(self, outer: Path, projection: Projection, rest: Path, literals: tuple[Literal, ...]) -> Codes:
        found, bad = self._inside(outer, projection)
        codes = found.codes(rest, literals)
        if bad is not None:
            codes[bad] = ODD
        return codes


@cache
def _single(literals: tuple[Literal, ...]) -> Codes | None:
    """Byte -> code, where all literals are one ASCII character; other bytes of the upper half are ODD, as no UTF-8."""
    if not all(type(literal) is str and len(literal) == 1 and literal.isascii() for literal in literals):
        return None
    table = np.full(256, OTHER, np.int8)
    table[128:] = ODD
    for code, literal in enumerate(literals):
        table[ord(str(literal))] = code
    return table


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _either(unsure: Mask | None, bad: Mask | None, rows: Rows | None) -> Mask | None:
    if bad is None:
        return unsure
    mine: Mask = bad if rows is None else bad[rows]
    return mine if unsure is None else mine | unsure


def _typed(leaf: Leaf, wanted: int, rows: Rows | None) -> tuple[Int64s, Int64s, Mask | None]:
    """Values and lengths of the chosen records, and which are of another type (their values are then 0)."""
    value, length = leaf.value, leaf.length
    if rows is not None:
        value, length = value[rows], length[rows]
    if isinstance(leaf.tag, int):
        if leaf.tag == wanted:
            return value, length, None
        return np.zeros_like(value), np.zeros_like(length), np.ones(len(value), np.bool_)
    odd: npt.NDArray[np.bool_] = (leaf.tag if rows is None else leaf.tag[rows]) != wanted
    if not odd.any():
        return value, length, None
    return np.where(odd, 0, value), np.where(odd, 0, length), odd


def _numbers(leaf: Leaf, unit: str | None, rows: Rows | None, *, positive: bool) -> tuple[Int64s, Mask | None]:
    """Times from a number column. `positive`: a clock with a unit of its own is silent at 0 and below."""
    value, _, odd = _typed(leaf, INT, rows)
    at, bad = numbers(value, unit)
    if positive and (value <= 0).any():
        at = np.where(value <= 0, NO_TIME, at)
        bad = None if bad is None else bad & (value > 0)
    if odd is None:
        return at, bad
    tags = leaf.tags(len(leaf.value))
    silent = (tags if rows is None else tags[rows]) <= NULL
    at = np.where(odd, NO_TIME, at)
    return at, (odd & ~silent) | (False if bad is None else bad & ~odd)
