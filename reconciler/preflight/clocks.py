"""How far the clocks of source, registry and this machine are apart, give or take a question's own travel time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations

from databases.connect import renamed
from reconciler.preflight.finding import Finding, ok, warn
from reconciler.preflight.ground import Connection, Ground
from schemas.durations import show


@dataclass(frozen=True)
class Clock:
    """A clock against ours: ahead by `ahead`, give or take `unsure`."""

    whose: str
    ahead: timedelta
    unsure: timedelta

    def apart(self, other: Clock) -> timedelta:
        """At least so far apart."""
        return max(timedelta(0), abs(self.ahead - other.ahead) - self.unsure - other.unsure)


def look(ground: Ground) -> Iterator[Finding]:
    read = [_read(what, connection) for what, connection in ground.servers]
    if read:
        yield from judged([Clock("this machine", timedelta(0), timedelta(0)), *read], ground.settings.fence.skew)


def judged(clocks: list[Clock], skew: timedelta) -> Iterator[Finding]:
    """Each pair further apart than `skew`, or one line that says how near they are."""
    pairs = [(one, other, one.apart(other)) for one, other in combinations(clocks, 2)]
    wrong = [(one, other, apart) for one, other, apart in pairs if apart > skew]
    for one, other, apart in wrong:
        seconds = apart.total_seconds()
        yield warn(
            "clocks",
            f"the clocks of {one.whose} and {other.whose} are {seconds:.1f} s apart; fence.skew is {show(skew)}",
            try_=f"keep both by NTP, or set fence.skew to {int(seconds) + 1}s",
        )
    if not wrong:
        furthest = max(apart for _, _, apart in pairs).total_seconds()
        yield ok("clocks", f"the clocks agree within {furthest:.2f} s; fence.skew is {show(skew)}")


def _read(what: str, connection: Connection) -> Clock:
    with renamed(f"read the clock of {what}"):
        connection.execute("SELECT 1")  # the first question may be slow for other reasons
        began, started = datetime.now(UTC), time.monotonic()
        row = connection.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
        half = timedelta(seconds=(time.monotonic() - started) / 2)
    assert row
    return Clock(what, row[0].astimezone(UTC) - (began + half), half)
