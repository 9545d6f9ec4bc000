"""Carry out a plan on a chunk of records at once, column by column.

Decides only the plain cases; a record that is odd in any way is marked unsure, and `records` decides it, so that both
always agree. Where the columns come from is the format's matter (`Leaves`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from consumer.formats.paths import Path
from consumer.formats.plan import Literal, Match, Plan, Say
from schemas.events import NO_TIME, Bytes8, Int64s
from schemas.keys import KeyType

Mask: TypeAlias = npt.NDArray[np.bool_]
Codes: TypeAlias = npt.NDArray[np.int8]
Rows: TypeAlias = npt.NDArray[np.int64]
Column: TypeAlias = npt.NDArray[Any]

#: What `Leaves.codes` says of a value that is no listed literal.
OTHER, NULL, ABSENT, ODD = -1, -2, -3, -4
_CODES = 4
_UNSURE = 5
_CREATE, _DELETE, _CHANGE, _TRUNCATE = map(int, (Say.CREATE, Say.DELETE, Say.CHANGE, Say.TRUNCATE))
#: More literals than codes can tell apart would be an odd setting; such plans go record by record.
MAX_LITERALS = 100


class Leaves(Protocol):
    """The wanted values of a chunk of records."""

    count: int

    def codes(self, path: Path, literals: tuple[Literal, ...]) -> Codes:
        """Per record: which literal stands there, or OTHER, NULL, ABSENT, ODD (cannot be told column-wise)."""
        ...

    def key(self, paths: tuple[Path, ...], key_type: KeyType, rows: Rows | None) -> tuple[Column, Mask | None]:
        """Canonical keys of some records (None: all), and which of them are unsure (None: none)."""
        ...

    def time(self, path: Path, unit: str | None, zone: ZoneInfo | None, rows: Rows | None) -> tuple[Int64s, Mask | None]:
        """Times in microseconds, NO_TIME where null (or absent, for a clock with a unit), and which are unsure."""
        ...

    def null(self, path: Path, rows: Rows) -> Mask:
        """Where the value, or something above it, is null."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """What a chunk says for one route. `rows` None: every record, in order."""

    rows: Rows | None
    keys: Column
    ops: Bytes8
    times: Int64s


@dataclass(slots=True)
class Doubt:
    """Which records of a chunk need the record-by-record reader."""

    count: int
    mask: Mask | None = None

    def add(self, where: Mask | None, rows: Rows | None = None) -> None:
        if where is None or not where.any():
            return
        if self.mask is None:
            self.mask = np.zeros(self.count, np.bool_)
        if rows is None:
            self.mask |= where
        else:
            self.mask[rows[where]] = True


def decide(plan: Plan, leaves: Leaves, broker_us: Int64s | None, doubt: Doubt, *, strict: bool) -> Part | None:
    """What these records say for one route; None where nothing. Marks unsure records in `doubt`; leaves them in."""
    chosen = _chosen(plan, leaves, doubt, strict=strict)
    if chosen is not None and not chosen.any():
        return None
    says = _says(plan, leaves, chosen, doubt)
    if plan.created == plan.deleted:
        rows = _where((says == _CREATE) | (says == _DELETE))
        keys, unsure = leaves.key(plan.created, plan.key_type, rows)
        doubt.add(unsure, rows)
    else:
        rows, keys = _two_keys(plan, leaves, says, doubt)
    ops = (says if rows is None else says[rows]).astype(np.uint8, copy=False)
    return Part(rows, keys, ops, _times(plan, leaves, broker_us, rows, doubt)) if len(ops) else None


def _chosen(plan: Plan, leaves: Leaves, doubt: Doubt, *, strict: bool) -> Mask | None:
    """Which records concern the route; None: all."""
    chosen: Mask | None = None
    for match in plan.matches:
        codes = leaves.codes(match.path, match.literals)
        fits = codes >= 0
        if fits.all():
            continue
        if match.absent_ok:
            fits |= (codes == NULL) | (codes == ABSENT)
        _doubt_match(match, codes, chosen, doubt, strict=strict)
        chosen = fits if chosen is None else chosen & fits
    return chosen


def _doubt_match(match: Match, codes: Codes, chosen: Mask | None, doubt: Doubt, *, strict: bool) -> None:
    odd = codes == ODD
    if strict and not match.absent_ok:
        odd |= codes == ABSENT
    doubt.add(odd if chosen is None else odd & chosen)


def _says(plan: Plan, leaves: Leaves, chosen: Mask | None, doubt: Doubt) -> Codes:
    if plan.op is None:
        says = np.full(leaves.count, int(Say.CREATE), np.int8)
    else:
        codes = leaves.codes(plan.op, tuple(plan.says))
        other = _UNSURE if plan.strict_op else int(Say.NOTHING)
        table = np.array([_UNSURE, _UNSURE, _UNSURE, other, *map(int, plan.says.values())], np.int8)
        says = table.take(codes + np.int8(_CODES))
    if chosen is not None:
        says[~chosen] = Say.NOTHING
    doubt.add(says >= _TRUNCATE)
    return says


def _where(mask: Mask) -> Rows | None:
    return None if mask.all() else np.flatnonzero(mask)


def _two_keys(plan: Plan, leaves: Leaves, says: Codes, doubt: Doubt) -> tuple[Rows | None, Column]:
    """Creations and deletions that keep their keys in different places, merged in order; key changes are left to doubt."""
    changed = np.flatnonzero(says == _CHANGE)
    if len(changed):
        _doubt_changes(plan, leaves, changed, doubt)
    created = _where(says == _CREATE)
    keys, unsure = leaves.key(plan.created, plan.key_type, created)
    doubt.add(unsure, created)
    deleted = np.flatnonzero(says == _DELETE)
    if created is None or not len(deleted):
        return created, keys
    gone, unsure = leaves.key(plan.deleted, plan.key_type, deleted)
    doubt.add(unsure, deleted)
    rows = np.concatenate([created, deleted])
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    return (None if len(rows) == leaves.count else rows), np.concatenate([keys, gone])[order]


def _doubt_changes(plan: Plan, leaves: Leaves, rows: Rows, doubt: Doubt) -> None:
    told = ~np.logical_and.reduce([leaves.null(path, rows) for path in plan.deleted])
    rows = rows[told]
    if not len(rows):
        return
    old, unsure_old = leaves.key(plan.deleted, plan.key_type, rows)
    new, unsure_new = leaves.key(plan.created, plan.key_type, rows)
    doubt.add(np.asarray(old != new), rows)
    doubt.add(unsure_old, rows)
    doubt.add(unsure_new, rows)


def _times(plan: Plan, leaves: Leaves, broker_us: Int64s | None, rows: Rows | None, doubt: Doubt) -> Int64s:
    count = leaves.count if rows is None else len(rows)
    if plan.broker_time:
        if broker_us is None:
            return np.full(count, NO_TIME, np.int64)
        return broker_us if rows is None else broker_us[rows]
    times: Int64s | None = None
    for clock in plan.clocks:
        told, unsure = leaves.time(clock.path, clock.unit, plan.zone, rows)
        if unsure is not None:  # a later clock may stand in only where this one is known to be silent
            doubt.add(unsure if times is None else unsure & (times == NO_TIME), rows)
        times = told if times is None else np.where(times == NO_TIME, told, times)
        if len(times) and times.min() != NO_TIME:
            break
    return np.full(count, NO_TIME, np.int64) if times is None else times


def broker_times(timestamps: Int64s | None) -> Int64s | None:
    """The broker's milliseconds as microseconds; NO_TIME where it has none."""
    if timestamps is None:
        return None
    return np.where(timestamps < 0, NO_TIME, timestamps * 1000)
