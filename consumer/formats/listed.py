"""Wanted values of a chunk as Python lists, one per path: the columns behind JSON records and JSON text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from consumer.formats.columns import ABSENT, NULL, OTHER, Codes, Column, Mask, Rows
from consumer.formats.key_columns import composite, listed
from consumer.formats.paths import MISSING, Path
from consumer.formats.plan import Literal
from consumer.formats.records import told_by
from consumer.formats.times import ISO_LENGTHS, numbers, texts
from schemas.errors import BadRecord
from schemas.events import NO_TIME, Int64s
from schemas.keys import CompositeKey, KeyType

#: The values at a path: scalars, None where it or something above is null, UNSET where absent.
Lookup: TypeAlias = Callable[[Path], Sequence[Any]]
UNSET = msgspec.UNSET


class ListedLeaves:
    """`columns.Leaves` over lists."""

    def __init__(self, count: int, lookup: Lookup) -> None:
        self.count = count
        self._lookup = lookup

    def codes(self, path: Path, literals: tuple[Literal, ...]) -> Codes:
        values = self._lookup(path)
        if all(type(literal) is str for literal in literals):
            table: dict[Any, int] = {literal: code for code, literal in enumerate(literals)}
            table |= {None: NULL, UNSET: ABSENT}
            return np.fromiter(map(table.get, values, repeat(OTHER)), np.int8, self.count)
        return np.fromiter((code(value, literals) for value in values), np.int8, self.count)

    def key(self, paths: tuple[Path, ...], key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        if not isinstance(key_type, CompositeKey):
            return listed(self._some(paths[0], rows), key_type)
        parts = []
        for path, part in zip(paths, key_type.parts, strict=True):
            parts.append((part.kind, *listed(self._some(path, rows), part)))
        return composite(parts)

    def time(self, path: Path, unit: str | None, zone: ZoneInfo | None, rows: Rows | None) -> tuple[Int64s, Mask | None]:
        return times(self._some(path, rows), unit, zone)

    def null(self, path: Path, rows: Rows) -> Mask:
        return np.fromiter((value is None for value in self._some(path, rows)), np.bool_, len(rows))

    def _some(self, path: Path, rows: Rows | None) -> Sequence[Any]:
        values = self._lookup(path)
        return values if rows is None else [values[row] for row in rows.tolist()]


def code(value: Any, literals: tuple[Literal, ...]) -> int:
    """Which literal a value is, as `columns.Leaves.codes` tells it."""
    if value is None:
        return NULL
    if value is UNSET:
        return ABSENT
    for number, literal in enumerate(literals):
        if type(value) is type(literal) and value == literal:
            return number
    return OTHER


def times(values: Sequence[Any], unit: str | None, zone: ZoneInfo | None) -> tuple[Int64s, Mask | None]:
    """A list of times as a column, and which of them are unsure."""
    kinds = set(map(type, values))
    if kinds == {int}:
        try:
            column = np.array(values, np.int64)
        except OverflowError:
            return _one_by_one(values, unit, zone)
        if unit is None or column.min() > 0:
            return numbers(column, unit)
    if kinds == {type(None)} or (unit is not None and kinds == {msgspec.UnsetType}):
        return np.full(len(values), NO_TIME, np.int64), None
    if kinds == {str} and unit is None:
        return _texts(values, zone)
    return _one_by_one(values, unit, zone)


def _texts(values: Sequence[str], zone: ZoneInfo | None) -> tuple[Int64s, Mask | None]:
    joined = "".join(values)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    if not joined.isascii():
        return _one_by_one(values, None, zone)
    data = np.frombuffer(joined.encode(), np.uint8)
    if (lengths == lengths[0]).all() and lengths[0]:
        out, good = texts(data.reshape(len(values), lengths[0]))
    else:
        out, good = np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
        start = np.cumsum(lengths) - lengths
        for length in ISO_LENGTHS:
            mine = np.flatnonzero(lengths == length)
            if len(mine):
                out[mine], good[mine] = texts(data[start[mine][:, None] + np.arange(length)])
    if good.all():
        return out, None
    odd = np.flatnonzero(~good)
    out[odd], bad = _one_by_one([values[row] for row in odd.tolist()], None, zone)
    if bad is None:
        return out, None
    unsure = np.zeros(len(values), np.bool_)
    unsure[odd] = bad
    return out, unsure


def _one_by_one(values: Sequence[Any], unit: str | None, zone: ZoneInfo | None) -> tuple[Int64s, Mask | None]:
    out = np.full(len(values), NO_TIME, np.int64)
    bad = np.zeros(len(values), np.bool_)
    for row, value in enumerate(values):
        try:
            out[row] = told_by(MISSING if value is UNSET else value, (), unit, zone)
        except BadRecord:
            bad[row] = True
    return out, bad if bad.any() else None
