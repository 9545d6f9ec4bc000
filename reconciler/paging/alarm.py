"""One alarm, from the first sign of its condition to its end. Pure: the clock is handed in.

pending (true, not for long enough) → firing → resolved, and gone once the receiver knows. An end that the receiver did not
hear of before the alarm began anew never was: it is the same alarm, and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class Status(StrEnum):
    """Of an alarm; the last two are what a receiver is told."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which alarm: an alert, of a data type or of all (`*`), and where more than one may stand, its other labels."""

    name: str
    data_type: str
    more: str = ""  #: `reason=log`, `partition=0,topic=t`

    @property
    def labels(self) -> dict[str, str]:
        pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in self.more.split(",") if pair)]
        return {"alertname": self.name, "data_type": self.data_type, **dict(pairs)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What was found at a place: `value` where it is as it should not be, None where all is well."""

    value: float | None
    lasts: timedelta = timedelta(0)  #: how long it must hold before anybody is told
    growing: bool = False  #: a value that falls ends it


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """As the ledger has it. `number` names its state: whoever changes it must have read that one."""

    place: Place
    status: Status
    since: datetime
    value: float
    number: int = 0
    told: bool = False  #: that it fires
    started_at: datetime | None = None
    ended_at: datetime | None = None
    words: str | None = None

    @property
    def due(self) -> Status | None:
        """What the receiver has to be told next. One that ended unheard is told as it was: first that it fired."""
        if self.status is Status.PENDING:
            return None
        if not self.told:
            return Status.FIRING
        return Status.RESOLVED if self.status is Status.RESOLVED else None


def step(place: Place, alarm: Alarm | None, found: Condition, now: datetime) -> Alarm | None:
    """What becomes of it; None: there is none, or no more. The very same value where nothing changed."""
    value = found.value
    if value is not None and alarm is not None and found.growing and value < alarm.value:
        if alarm.status is Status.PENDING:
            return replace(alarm, since=now, value=value)
        value = None
    if value is None:
        return None if alarm is None else _ended(alarm, now)
    if alarm is None:
        alarm = Alarm(place=place, status=Status.PENDING, since=now, value=value)
    elif alarm.status is Status.RESOLVED:
        return replace(alarm, status=Status.FIRING, ended_at=None, value=value)
    if alarm.status is Status.PENDING and now - alarm.since >= found.lasts:
        return replace(alarm, status=Status.FIRING, started_at=now, value=value)
    return replace(alarm, value=value) if found.growing and value != alarm.value else alarm


def _ended(alarm: Alarm, now: datetime) -> Alarm | None:
    if alarm.status is Status.PENDING:
        return None
    return alarm if alarm.status is Status.RESOLVED else replace(alarm, status=Status.RESOLVED, ended_at=now)
