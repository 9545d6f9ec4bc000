"""Event times in every form a record may carry, as microseconds since the epoch, UTC.

Whole numbers without a declared unit are taken by magnitude: below 1e11 seconds, below 1e14 milliseconds, below 1e17
microseconds, else nanoseconds (so 1973 to 5138 in each unit). Text is ISO 8601 with a zone; without one it needs the
data type's `source.zone`, and so does a schema's local timestamp: read as UTC it would be hours off, unseen. Where a
zone's clock shows a time twice, the earlier is taken.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas.errors import BadRecord
from schemas.events import NO_TIME, Int64s

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: unit -> (factor, divisor) to microseconds
UNITS = {"s": (1_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}
#: Times outside of years 1 to 9999 are no times.
LOWEST, HIGHEST = -62_135_596_800_000_000, 253_402_300_800_000_000


class Stamp(NamedTuple):
    """A number whose schema says which unit it counts in, and whether it is a local clock's."""

    value: int
    unit: str
    local: bool = False


class Unfit:
    """A value that stands where one was wanted, but is no key, time or text: its kind in words."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def instant(value: object, zone: ZoneInfo | None) -> int:
    """One time, in microseconds. Raises BadRecord."""
    if isinstance(value, Stamp):
        at = checked(scaled(value.value, value.unit))
        return _placed(_EPOCH.replace(tzinfo=None) + at * _MICROSECOND, zone) if value.local else at
    if type(value) is int:
        return checked(scaled(value, unit_of(value)))
    if type(value) is float:
        factor, divisor = UNITS[unit_of(value)] if abs(value) < 1e30 else (1, 1)
        return checked(round(value * factor / divisor)) if abs(value) < 1e30 else checked(HIGHEST)
    if type(value) is str:
        try:
            at_text = datetime.fromisoformat(value)
        except ValueError:
            raise BadRecord("the event's time is not ISO 8601") from None
        return _placed(at_text, zone)
    raise BadRecord(f"the event's time is {kind_of(value)}, not a time")


def _placed(at: datetime, zone: ZoneInfo | None) -> int:
    if at.tzinfo is None:
        if zone is None:
            raise BadRecord("the event's time has no zone; set source.zone if its clock's zone is known")
        at = at.replace(tzinfo=zone)
    try:
        return checked((at - _EPOCH) // _MICROSECOND)
    except OverflowError:
        raise BadRecord("the event's time is out of range") from None


def unit_of(value: float) -> str:
    size = abs(value)
    return "s" if size < 10**11 else "ms" if size < 10**14 else "us" if size < 10**17 else "ns"


def scaled(value: int, unit: str) -> int:
    factor, divisor = UNITS[unit]
    return value * factor // divisor


def checked(at: int) -> int:
    if not LOWEST <= at < HIGHEST:
        raise BadRecord("the event's time is out of range")
    return at


def kind_of(value: object) -> str:
    """A stranger's type in words, never its value."""
    if value is None:
        return "null"
    if isinstance(value, Unfit):
        return value.kind
    names = {bool: "true or false", int: "a whole number", float: "a floating-point number", str: "text", bytes: "bytes"}
    return names.get(type(value), "a value of another kind")


def numbers(values: Int64s, unit: str | None) -> tuple[Int64s, npt.NDArray[np.bool_] | None]:
    """A column of numbers as microseconds, and which of them are out of range (None: none)."""
    if not len(values):
        return values, None
    low, high = int(values.min()), int(values.max())
    if unit is None:
        if low < 0 or unit_of(low) != unit_of(high):
            return _by_magnitude(values)
        unit = unit_of(high)
    factor, divisor = UNITS[unit]
    if low * factor // divisor >= LOWEST and high * factor // divisor < HIGHEST:
        return (values * factor if factor > 1 else values // divisor if divisor > 1 else values), None
    fits = (values >= LOWEST * divisor // factor) & (values < HIGHEST * divisor // factor)
    return np.where(fits, values, 0) * factor // divisor, ~fits


def _by_magnitude(values: Int64s) -> tuple[Int64s, npt.NDArray[np.bool_] | None]:
    out = np.full(len(values), NO_TIME, np.int64)
    bad = np.zeros(len(values), np.bool_)
    for row, value in enumerate(values.tolist()):
        try:
            out[row] = instant(value, None)
        except BadRecord:
            bad[row] = True
    return out, bad if bad.any() else None


#: Of ISO texts in UTC or with an offset, in whole seconds, milliseconds or microseconds.
ISO_LENGTHS = (20, 24, 25, 27, 29, 32)
_DIGITS = np.array([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18])
_MONTH_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] + [0] * 87)


def texts(column: npt.NDArray[np.uint8]) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """ISO texts of one length, as a matrix of bytes: microseconds, and which rows are of a plain form.

    Plain: `YYYY-MM-DDTHH:MM:SS`, T or a space, up to six digits of fraction, then Z or ±HH:MM. The others are left to
    `instant`, which also gives the reason.
    """
    count, length = column.shape
    zoned = 1 if length and (column[:, -1] == 0x5A).all() else 6
    fraction = length - 19 - zoned
    if fraction < 0 or fraction == 1 or fraction > 7:
        return np.zeros(count, np.int64), np.zeros(count, np.bool_)
    if (column[:, :11] == column[0, :11]).all() and (column[:, -zoned:] == column[0, -zoned:]).all():
        day = _midnight(column[0, :11].tobytes() + b"00:00:00" + column[0, -zoned:].tobytes())
        if day is not None:
            return _within(day, column[:, 11:-zoned])
    columns = np.ascontiguousarray(column.T)  # one row per character: each step then reads neighbours
    digit = columns - np.uint8(48)
    good = (columns[4] == 45) & (columns[7] == 45) & (columns[13] == 58) & (columns[16] == 58)
    good &= (columns[10] == 84) | (columns[10] == 32)
    good &= digit[_DIGITS].max(axis=0) <= 9

    def two(at: int) -> Any:
        number = digit[at].astype(np.int32)
        number *= 10
        number += digit[at + 1]
        return number

    year, month, day = two(0) * 100 + two(2), two(5), two(8)
    hour, minute, second = two(11), two(14), two(17)
    good &= (year > 0) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    month = np.where(good, month, 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= (day <= _MONTH_DAYS[month]) & ((month != 2) | (day < 29) | leap)
    seconds = (days(year, month, day) * 86400) + (hour * 3600 + minute * 60 + second)
    micros = np.zeros(count, np.int64)
    if fraction:
        good &= (columns[19] == 46) & (digit[20 : 19 + fraction].max(axis=0) <= 9)
        for place in range(20, 19 + fraction):
            micros = micros * 10 + digit[place]
        micros *= 10 ** (7 - fraction)
    if zoned == 6:
        at = length - 6
        ahead = columns[at] == 43
        good &= (ahead | (columns[at] == 45)) & (columns[at + 3] == 58)
        good &= (digit[[at + 1, at + 2, at + 4, at + 5]].max(axis=0) <= 9) & (two(at + 1) < 24) & (two(at + 4) < 60)
        offset = two(at + 1) * 3600 + two(at + 4) * 60
        seconds -= np.where(ahead, offset, -offset)
    micros += seconds * 1_000_000
    good &= (micros >= LOWEST) & (micros < HIGHEST)  # an offset may lead out of the years
    return micros, good


def _midnight(text: bytes) -> int | None:
    try:
        at = instant(text.decode(), None)
    except (BadRecord, UnicodeDecodeError):
        return None
    return at if LOWEST <= at < HIGHEST - 86_400_000_000 else None


def _within(day: int, column: npt.NDArray[np.uint8]) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """`HH:MM:SS`, or with a fraction, all on one day: what a batch mostly holds."""
    columns = np.ascontiguousarray(column.T)
    fraction = len(columns) - 9
    places = [0, 1, 3, 4, 6, 7, *range(9, len(columns))]
    good = (columns[2] == 58) & (columns[5] == 58)
    if fraction > 0:
        good &= columns[8] == 46
    digit = columns[places]
    digit -= np.uint8(48)
    good &= digit.max(axis=0) <= 9
    number = digit.astype(np.int32)
    hour, minute, second = (number[at] * 10 + number[at + 1] for at in (0, 2, 4))
    good &= (hour < 24) & (minute < 60) & (second < 60)
    micros = np.zeros(len(column), np.int32)
    for at in range(6, len(places)):
        micros = micros * 10 + number[at]
    if fraction > 0:
        micros *= 10 ** (6 - fraction)
    out = ((hour * 60 + minute) * 60 + second).astype(np.int64)
    out *= 1_000_000
    out += micros
    out += day
    return out, good


def days(year: npt.NDArray[np.int32], month: npt.NDArray[np.int32], day: npt.NDArray[np.int32]) -> Int64s:
    """Days since 1970-01-01 in the proleptic Gregorian calendar (years begin in March, so that leap days come last)."""
    year = year - (month <= 2)
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    total: Int64s = (era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468).astype(np.int64)
    return total
