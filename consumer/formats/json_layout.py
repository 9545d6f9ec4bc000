"""Read JSON records whose values are as long, each, as one example's: every byte then has its place, and none is searched.

Of a template's records those of one length mostly share a layout. They become a matrix of words, a row a record, and its
columns are compared at once: fixed bytes with the template's, digits for being digits, text for holding no quote. A row
that differs anywhere is not of this layout; `json_columns` then walks through it value by value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from consumer.formats.columns import Mask, Rows
from consumer.formats.cursors import INT, TEXT, Cursors, Words
from consumer.formats.json_columns import LONG, STRING, Fits, folded, rows_with
from consumer.formats.json_template import Kind, Template
from consumer.formats.paths import Path
from schemas.events import Int64s

#: Fewer records of one length than this are walked through instead.
MIN_ALIKE = 128
MAX_LAYOUTS = 16
#: Longer numbers are left to the parser, as the walk leaves them.
MAX_DIGITS = 18
#: Rows looked at in one step are about as many bytes: the matrix stays in the second-level cache.
BLOCK_BYTES = 512 << 10

_U = np.uint64
_HIGH, _ONES, _SIX = _U(0x8080808080808080), _U(0x0101010101010101), _U(0x7676767676767676)
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
    """The places of all values, and masks over the words of a row (the last word is only there to be read into)."""

    def __init__(self, template: Template, example: bytes, places: tuple[Place, ...]) -> None:
        self.template, self.places, self.size = template, places, len(example)
        self.width = -(-self.size // 8) * 8 + 8
        fixed, digits, text = (np.zeros(self.width, np.uint8) for _ in range(3))
        fixed[: self.size] = 0xFF
        # What a row is compared with by XOR: fixed bytes become 0, digits their numbers, and a text's quotes 0.
        wanted = np.frombuffer(example.ljust(self.width, b"\0"), np.uint8).copy()
        for place in places:
            span = slice(place.at, place.at + place.size)
            fixed[span] = 0
            (text if place.kind is Kind.TEXT else digits)[span] = 0xFF
            wanted[span] = ord('"') if place.kind is Kind.TEXT else ord("0")
        self.wanted = wanted.view(_U)
        self.fixed = fixed.view(_U)
        self.digit_words, self.digits = _filled(digits)
        self.text_words, self.text = _filled(text)
        self.no_zero = [p.at for p in places if p.kind is Kind.WHOLE and p.size > 1]

    def misfits(self, rows: Words) -> Iterator[Mask | None]:
        """What is wrong in a matrix that was XORed with `wanted`; None: nothing of that kind."""
        yield rows_with(rows & self.fixed)
        if len(self.digits):
            signs = rows[:, self.digit_words]
            signs &= self.digits
            marks = signs + _SIX  # a carry only comes from a byte that is no digit, and is marked itself
            marks |= signs
            marks &= _HIGH
            yield rows_with(marks)
        if len(self.text):
            signs = rows[:, self.text_words]
            signs |= ~self.text
            marks = signs - _ONES  # a borrow only comes from a quote
            marks &= ~signs
            marks &= _HIGH
            yield rows_with(marks)
        signs = rows.view(np.uint8)
        for at in self.no_zero:
            zero = signs[:, at] == 0
            yield zero if zero.any() else None

    def number(self, rows: Words, place: Place) -> Int64s:
        """The number that each row's digits make."""
        value: Int64s | None = None
        at, left = place.at, place.size
        while left:
            size = min(left, 8)
            word = np.ndarray((len(rows),), "<u8", rows, at, rows.strides[:1]).copy()
            part = folded(word << _U(64 - 8 * size))
            value = part if value is None else value * 10**size + part
            at, left = at + size, left - size
        assert value is not None
        return value


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
        self.layout = one
        self._values = [np.empty(len(start), np.int64) if p.path and p.kind is not Kind.TEXT else None for p in one.places]
        step = max(1, BLOCK_BYTES // one.width)
        windows = np.ndarray((len(data) - one.width + 1,), f"V{one.width}", data, 0, (1,))
        for low in range(0, len(start), step):
            block = windows[np.minimum(start[low : low + step], len(windows) - 1)]
            self._block(slice(low, low + step), block.view(_U).reshape(len(block), one.width // 8))
        for place, value in zip(one.places, self._values, strict=True):
            if place.path is not None and value is not None:
                self.kinds[place.path] = LONG
                self.cursors.keep(place.path, INT, value, None)
            elif place.path is not None:
                self.kinds[place.path] = STRING
                self.cursors.keep(place.path, TEXT, start + place.at, None, np.full(len(start), place.size))

    def _block(self, which: slice, rows: Words) -> None:
        rows ^= self.layout.wanted
        for wrong in self.layout.misfits(rows):
            if wrong is not None:
                full = np.zeros(self.cursors.count, np.bool_)
                full[which] = wrong
                self.refuse(full)
        for place, value in zip(self.layout.places, self._values, strict=True):
            if value is not None:
                value[which] = self.layout.number(rows, place)


def _filled(mask: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> tuple[Rows, Words]:
    """Which words hold marked bytes, and those words."""
    words = mask.view(_U)
    which = np.flatnonzero(words)
    return which, words[which]


class Layouts:
    """The layouts of one template that were met lately, by the record's length."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.unwalked = 0  #: so many chunks more the few records of no layout are not walked through
        self._known: dict[int, Layout] = {}

    def worth_a_walk(self, *, few: bool) -> bool:
        """Whether records of no layout should be walked through value by value; `few`: they are."""
        if not few or not self.unwalked:
            return True
        self.unwalked -= 1
        return False

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
