"""Durations and points in time as people write them: `72h`, `10m`, `1h30m`, `2026-11-01T12:00:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+\Z", re.ASCII)


def duration(value: object) -> timedelta:
    """Read a duration. Raises ValueError on anything without a unit, negative, or over a century."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _WHOLE.match(value):
        raise ValueError("a duration is a number with a unit, such as 500ms, 30s, 10m, 72h or 7d")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    if seconds > 36525 * 86400:
        raise ValueError("a duration over a century is surely a mistake")
    return timedelta(seconds=seconds)


def show(value: timedelta) -> str:
    """The shortest spelling `duration` reads back: 72h, 90s, 500ms."""
    millis = round(value.total_seconds() * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if millis and millis % size == 0 and not (unit == "d" and millis < 7 * size):
            return f"{millis // size}{unit}"
    return f"{millis}ms" if millis else "0s"


def instant(text: str) -> datetime:
    """Read an ISO time with a zone, as UTC. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text)
        placed = at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a duration such as 72h nor an ISO time with a zone") from None
    if placed is None:
        raise ValueError(f"the time {text!r} has no zone, so it cannot be placed; write {text}Z for UTC")
    return placed


def _positive(value: timedelta) -> timedelta:
    if value < timedelta(milliseconds=1):
        raise ValueError("this must last at least 1ms; zero would turn it off")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration), PlainSerializer(show)]
#: A duration where zero would mean "never" or "without end".
Span = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_positive), PlainSerializer(show)]
