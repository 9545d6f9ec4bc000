"""Read JSON records whose values are as long, each, as one example's: every byte then has its place, and none is searched.

Of a template's records those of one length mostly share a layout. They are a matrix of bytes, a row a record, and at each
place only some bytes may stand: one where the template is fixed, ten for a digit. So the lowest and the highest byte that
a set of records has at each place tell whether all of them fit, and only where they do not is each record looked at. A
row that differs anywhere is not of this layout; `json_columns` then walks through it value by value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from consumer.formats.columns import Codes, Column, Mask, Rows
from consumer.formats.cursors import INT, TEXT, Cursors
from consumer.formats.json_columns import LONG, STRING, Fits, TemplateLeaves, folded, rows_with
from consumer.formats.json_damage import Outline
from consumer.formats.json_template import Kind, Template
from consumer.formats.key_columns import Bytes, gather
from consumer.formats.paths import Path
from consumer.formats.plan import Literal
from schemas.events import Int64s
from schemas.keys import KeyType

#: Fewer records of one length than this are walked through instead.
MIN_ALIKE = 128
MAX_LAYOUTS = 16
#: Longer numbers are left to the parser, as the walk leaves them.
MAX_DIGITS = 18
#: Rows looked at in one step are about as many bytes: they stay in the second-level cache.
BLOCK_BYTES = 512 << 10
#: Records of one set, and how many sets lie in one another: so many records are long enough a stretch to be quick.
DEEP, WIDE = 16, 4
#: More texts than this of one place that are no UTF-8 are found one by one.
MANY_BROKEN = 16

_U = np.uint64
_NUMBERS = _U(0x0F0F0F0F0F0F0F0F)
_QUOTE, _BACKSLASH = 0x22, 0x5C
_DIGITS = re.compile(rb"[0-9]+")
_TEXT = re.compile(rb'[^"]*')


@dataclass(frozen=True, slots=True)
class Place:
    """One value: where it stands from the record's first byte on, and the path it is wanted for, if any."""

    at: int
    size: int
    kind: Kind
    path: Path | None


class Layout:
    """The places of all values, and which bytes may stand at each place of a record."""

    def __init__(self, template: Template, example: bytes, places: tuple[Place, ...]) -> None:
        self.template, self.size = template, len(example)
        self.lowest = np.frombuffer(example, np.uint8).copy()
        self.highest = self.lowest.copy()
        for place in places:
            span = slice(place.at, place.at + place.size)
            self.lowest[span], self.highest[span] = (0x20, 0xFF) if place.kind is Kind.TEXT else (0x30, 0x39)
            if place.kind is Kind.WHOLE and place.size > 1:
                self.lowest[place.at] = 0x31
        self.span = self.highest - self.lowest
        self.texts = [place for place in places if place.kind is Kind.TEXT and place.size]
        self.wanted = {place.path: place for place in places if place.path is not None}
        self.kinds = {path: STRING if place.kind is Kind.TEXT else LONG for path, place in self.wanted.items()}

    def misfits(self, rows: Bytes) -> Rows:
        """The numbers of the records, one a row, that are not of this layout."""
        whole = len(rows) // (WIDE * DEEP) * (WIDE * DEEP)
        found = [self._misfits(rows[:whole], WIDE, DEEP)] if whole else []
        if whole < len(rows):
            found.append(self._misfits(rows[whole:], 1, len(rows) - whole) + whole)
        return np.concatenate(found)

    def _misfits(self, rows: Bytes, wide: int, deep: int) -> Rows:
        """Of `wide` sets that lie in one another, `deep` records each, and so on through all rows."""
        sets = rows.reshape(-1, deep, wide * self.size)
        low = np.minimum.reduce(sets, axis=1).reshape(-1, self.size)
        high = np.maximum.reduce(sets, axis=1).reshape(-1, self.size)
        odd = np.zeros(0, np.int64)
        outside = rows_with((low < self.lowest) | (high > self.highest))
        if outside is not None:
            number = np.flatnonzero(outside)
            first = number // wide * (wide * deep) + number % wide
            suspects = (first[:, None] + np.arange(0, wide * deep, wide)).ravel()
            odd = suspects[np.flatnonzero((rows[suspects] - self.lowest > self.span).any(axis=1))]
        for place in self.texts:
            at = slice(place.at, place.at + place.size)
            if low[:, at].min() <= _QUOTE or high[:, at].max() >= _BACKSLASH:
                odd = np.concatenate([odd, _not_plain(rows, place, odd)])
        return odd


def _not_plain(rows: Bytes, place: Place, odd: Rows) -> Rows:
    """The records whose text at a place holds a quote or a backslash, or is no UTF-8. Those `odd` differ elsewhere."""
    text = rows[:, place.at : place.at + place.size]
    flat = text.tobytes()
    found: Mask | None = None
    if b'"' in flat or b"\\" in flat:
        found = rows_with((text == _QUOTE) | (text == _BACKSLASH))
    wrong = np.flatnonzero(found) if found is not None else odd[:0]
    if flat.isascii():
        return wrong
    fits = np.ones(len(rows), np.bool_)
    fits[odd] = False
    sound = np.flatnonzero(fits)
    # With the quote behind it, which was seen to be there: so no text can be completed by the next one's first bytes.
    broken = _broken(rows[sound, place.at : place.at + place.size + 1].tobytes(), place.size + 1)
    return np.concatenate([wrong, sound[broken]])


def _broken(flat: bytes, width: int) -> list[int]:
    """Which texts of one width, each with an ASCII byte at its end, are no UTF-8."""
    found: list[int] = []
    at = 0
    while len(found) < MANY_BROKEN:
        try:
            flat[at:].decode()
        except UnicodeDecodeError as error:
            found.append((at + error.start) // width)
            at = (found[-1] + 1) * width
        else:
            return found
    return [
        *found,
        *(row for row in range(at // width, len(flat) // width) if not is_utf8(flat[row * width : (row + 1) * width])),
    ]


def is_utf8(data: bytes) -> bool:
    """Of joined records it tells enough: one that fits a template begins and ends in ASCII."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def layout(template: Template, example: bytes) -> Layout | None:
    """The layout of one record; None where it is not of the template's form."""
    places, at = [], 0
    for fixed, kind, path in template.steps:
        if not example.startswith(fixed, at):
            return None
        at += len(fixed)
        found = (_TEXT if kind is Kind.TEXT else _DIGITS).match(example, at)
        if found is None or (kind is not Kind.TEXT and found.end() - at > MAX_DIGITS):
            return None
        places.append(Place(at, found.end() - at, kind, path))
        at = found.end()
    return Layout(template, example, tuple(places)) if example[at:] == template.tail else None


class Uniform(Fits):
    """Records of one length, held against a layout of that length."""

    def __init__(self, one: Layout, data: bytes, start: Int64s, end: Int64s) -> None:
        super().__init__(one.template, Cursors(data, end))
        self.layout, self.start = one, start
        step = max(1, BLOCK_BYTES // (one.size * WIDE * DEEP)) * WIDE * DEEP
        odd = [one.misfits(rows) + low for low, rows in _matrices(data, start, one.size, step)]
        if any(map(len, odd)):
            self.misfit = np.zeros(len(start), np.bool_)
            self.misfit[np.concatenate(odd)] = True

    def leaves(self, which: Rows | None) -> PlacedLeaves:
        start, end = (self.start, self.cursors.end) if which is None else (self.start[which], self.cursors.end[which])
        return PlacedLeaves(self.layout, self.cursors.data, start, end)


def _matrices(data: bytes, start: Int64s, size: int, step: int) -> Iterator[tuple[int, Bytes]]:
    """The records in steps, one a row, with the number of the first."""
    if int(start[-1]) - int(start[0]) == size * (len(start) - 1):  # nothing lies between them
        every = np.frombuffer(data, np.uint8, size * len(start), int(start[0])).reshape(len(start), size)
        yield from ((low, every[low : low + step]) for low in range(0, len(start), step))
        return
    for low in range(0, len(start), step):
        yield low, gather(data, start[low : low + step], size)


class PlacedLeaves(TemplateLeaves):
    """Values at the places of a layout, each read when it is first asked for: of several clocks one mostly does."""

    def __init__(self, one: Layout, data: bytes, start: Int64s, end: Int64s) -> None:
        super().__init__(Cursors(data, end), one.kinds, one.template.constants)
        self._places, self._start = one.wanted, start

    def _read(self, path: Path) -> None:
        place = self._places.get(path)
        if place is None or path in self.cursors.leaves:
            return
        if place.kind is Kind.TEXT:
            self.cursors.keep(path, TEXT, self._start + place.at, None, np.full(self.count, place.size))
        else:
            self.cursors.keep(path, INT, self._number(place), None)

    def _number(self, place: Place) -> Int64s:
        """The numbers that the digits make."""
        value: Int64s | None = None
        at, left = place.at, place.size
        while left:
            size = min(left, 8)
            word = self.cursors.word(self._start + at)
            word &= _NUMBERS
            word <<= _U(64 - 8 * size)
            part = folded(word)
            value = part if value is None else value * 10**size + part
            at, left = at + size, left - size
        assert value is not None
        return value

    def codes(self, path: Path, literals: tuple[Literal, ...]) -> Codes:
        self._read(path)
        return super().codes(path, literals)

    def _key(self, path: Path, key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        self._read(path)
        return super()._key(path, key_type, rows)

    def null(self, path: Path, rows: Rows) -> Mask:
        self._read(path)
        return super().null(path, rows)

    def time(self, path: Path, unit: str | None, zone: ZoneInfo | None, rows: Rows | None) -> tuple[Int64s, Mask | None]:
        self._read(path)
        return super().time(path, unit, zone, rows)


class Layouts:
    """The layouts of one template that were met lately, by the record's length."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.outline = Outline(template)
        self._known: dict[int, Layout] = {}

    def fit(self, data: bytes, start: Int64s, end: Int64s) -> Iterator[tuple[Rows, Uniform]]:
        """For each length that many records have: which of them, by number, and how they fit."""
        sizes = end - start
        counts = np.bincount(np.minimum(sizes, _LONGEST))
        common = np.flatnonzero(counts[:_LONGEST] >= MIN_ALIKE)
        if len(common) > MAX_LAYOUTS:
            common = common[np.argsort(counts[common])[-MAX_LAYOUTS:]]
        for size in common.tolist():
            which = np.flatnonzero(sizes == size)
            found = self._fit(data, size, start[which], end[which])
            if found is not None:
                yield which, found

    def _fit(self, data: bytes, size: int, start: Int64s, end: Int64s) -> Uniform | None:
        known = self._known.pop(size, None)
        if known is not None:
            fits = Uniform(known, data, start, end)
            if fits.misfit is None or np.count_nonzero(fits.misfit) * 2 < len(start):
                self._known[size] = known
                return fits
        # The middle one: a number that grows by a digit does so once in the chunk.
        fresh = layout(self.template, data[start[len(start) // 2] : end[len(start) // 2]])
        if fresh is None:
            return None
        if len(self._known) >= MAX_LAYOUTS:
            self._known.pop(next(iter(self._known)))
        self._known[size] = fresh
        return Uniform(fresh, data, start, end)


#: Records of this length or longer are not tried.
_LONGEST = 8192
