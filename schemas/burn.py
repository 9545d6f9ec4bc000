"""How fast a drop budget may burn: windows, factors and limits, one table for who measures and for who alarms.

Pure. The rates themselves are measured by the audit, a lower bound per window; `reconciler.alerts` makes rules of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from schemas.durations import show

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: The windows below are those of an audit that looks this often.
USUAL_LOOK = 5 * _MINUTE


class Severity(StrEnum):
    """Who is told."""

    PAGE = "page"  #: somebody is woken
    TICKET = "ticket"  #: somebody looks during the day


@dataclass(frozen=True, kw_only=True)
class Burn:
    """One pace at which the budget must not burn. The long window proves that it did, the short one that it still does."""

    severity: Severity
    factor: float  #: times the budget
    long: timedelta
    short: timedelta

    @property
    def name(self) -> str:
        return f"{self.factor:g}"

    def limit(self, budget: float) -> float:
        """The drop rate above which this pace is exceeded."""
        # A generous budget times 14.4 is more than everything, which no rate ever exceeds: then half of the way there.
        return float(f"{min(budget * self.factor, (1 + budget) / 2):.12g}")


#: At 14.4 times the budget, two days spend what was meant for a month; at 1, a month does.
USUAL = (
    Burn(severity=Severity.PAGE, factor=14.4, long=_HOUR, short=5 * _MINUTE),
    Burn(severity=Severity.PAGE, factor=6, long=6 * _HOUR, short=30 * _MINUTE),
    Burn(severity=Severity.TICKET, factor=3, long=_DAY, short=2 * _HOUR),
    Burn(severity=Severity.TICKET, factor=1, long=3 * _DAY, short=6 * _HOUR),
)


def burns(every: timedelta) -> tuple[Burn, ...]:
    """The paces for an audit that looks so often: a window is so many looks, for a look is the least that can be seen."""
    pace = every / USUAL_LOOK
    return tuple(replace(burn, long=_whole(burn.long * pace), short=_whole(burn.short * pace)) for burn in USUAL)


def windows(every: timedelta) -> tuple[timedelta, ...]:
    """Over which windows an audit measures the drop rate, the shortest first."""
    return tuple(sorted(set(_all(every))))


def label(window: timedelta) -> str:
    """The value of the label `window`."""
    return show(window)


def _all(every: timedelta) -> Iterator[timedelta]:
    for burn in burns(every):
        yield from (burn.short, burn.long)


def _whole(window: timedelta) -> timedelta:
    """In whole milliseconds, the finest that is told."""
    return timedelta(milliseconds=max(1, round(window.total_seconds() * 1000)))
