"""The thresholds of the alerts, from the settings: for the rules that Prometheus compares, and for who compares without it.

Pure. What is counted in looks follows `audit.every`; the rest is counted in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from schemas.settings import Settings

_MINUTE = timedelta(minutes=1)
#: So many rows without a single event are no coincidence.
MANY_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`minute` is shorter in tests in fast motion."""

    every: timedelta
    settle: timedelta  #: the longest of the data types
    skew: timedelta
    sweep_every: timedelta | None  #: None: nobody said that sweeps are run
    minute: timedelta = _MINUTE

    @classmethod
    def of(cls, settings: Settings, *, patience: float = 1.0) -> Limits:
        default = settings.fence.settle
        return cls(
            every=settings.audit.every,
            settle=max(data_type.settle_or(default) for data_type in settings.data_types.values()),
            skew=settings.fence.skew,
            sweep_every=settings.sweep.every if "every" in settings.sweep.model_fields_set else None,
            minute=_MINUTE * patience,
        )

    @property
    def look_old(self) -> timedelta:
        """An audit whose last good look is older is no audit."""
        return 3 * self.every + self.settle + self.minute

    @property
    def lag_watched(self) -> timedelta:
        """Lag that only grows for so long is of a log that is not read."""
        return max(10 * self.minute, 6 * self.every)

    @property
    def read_late(self) -> timedelta:
        return max(15 * self.minute, 6 * self.every, 3 * self.settle)

    @property
    def silent_rows(self) -> timedelta:
        """Over how long rows are counted that should have events."""
        return max(12 * self.every, 10 * self.minute)

    @property
    def silent_events(self) -> timedelta:
        """Rows are judged later than their events come in: the events are looked for that much further back, else the end
        of a burst of creations would look like silence."""
        return self.silent_rows + 3 * self.every + self.settle + 5 * self.minute
