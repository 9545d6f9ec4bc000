"""What an audit should count, in plain sets: rows, registry and log as they are at each look, and who waits since when.

It is told only which keys a look saw for the first time, and holds that against what was there to be seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

CREATED, DELETED = "created", "deleted"
DROPPED, HEALED, UNAPPLIED, UNHEARD = "dropped_create", "healed_drop", "unapplied_create", "unheard_create"


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The world at one look."""

    at: datetime
    source: frozenset[int]
    registry: frozenset[int]
    away: bool  #: the log could not be asked


@dataclass
class Naive:
    """Fed with everything that happens."""

    seen: set[int]
    since: datetime  #: from when on the log speaks
    words: list[tuple[int, str, datetime]] = field(default_factory=list)  #: all that was ever said, with its time
    heard: int = 0  #: so many of them are read
    dates: dict[int, datetime] = field(default_factory=dict)
    waiting: dict[int, datetime] = field(default_factory=dict)  #: unjudged: when it was seen first
    open: dict[int, str] = field(default_factory=dict)  #: judged, and still watched
    counted: Counter[str] = field(default_factory=Counter)
    found: Counter[tuple[str, int]] = field(default_factory=Counter)

    def say(self, key: int, op: str, at: datetime) -> None:
        self.words.append((key, op, at))

    def credited(self, key: int) -> bool:
        """Whether the last word on a key is a creation, be it that of another row that had it."""
        last = [op for k, op, _ in self.words[: self.heard] if k == key]
        return bool(last) and last[-1] == CREATED

    def announced(self, key: int) -> bool:
        """Whether it is this row's. A word that is older than the row was of another."""
        return self.credited(key) and any(k == key and at >= self.dates[key] for k, _, at in self.words[: self.heard])

    def passed(self, at: datetime) -> bool:
        """Whether the log has told of something that happened later."""
        return any(time >= at for _, _, time in self.words[: self.heard])

    def look(self, sight: Sight, new: set[int]) -> Counter[str]:
        """What this look counts; of the keys `new` it has seen for the first time."""
        if not sight.away:
            self.heard = len(self.words)
        now: Counter[str] = Counter()
        self._follow_up(sight, now)
        fresh = dict.fromkeys(new, sight.at)
        for key, at in (self.waiting | fresh).items():
            class_ = self._judged(sight, key, at, first=key in fresh)
            if class_ is None:
                self.waiting[key] = at
                continue
            self.waiting.pop(key, None)
            if class_ == "gone":
                continue
            now["rows"] += 1
            if class_ != "fine":
                now[class_] += 1
                self.open[key] = class_
                self.found[class_, key] += 1
        self.seen |= new
        self.counted += now
        return now

    def _judged(self, sight: Sight, key: int, at: datetime, *, first: bool) -> str | None:
        if key not in sight.source:
            return "gone"
        registered = key in sight.registry
        if self.credited(key) and registered:
            return "fine"
        if first:
            return None
        if self.announced(key):
            return UNAPPLIED
        if sight.away or not self.passed(at):
            return None
        if self.dates[key] < self.since:  # nobody can say whether it was announced
            return "fine" if registered else UNHEARD
        return HEALED if registered else DROPPED

    def _follow_up(self, sight: Sight, now: Counter[str]) -> None:
        for key, class_ in list(self.open.items()):
            registered = key in sight.registry
            if key not in sight.source:
                del self.open[key]
            elif class_ in (DROPPED, HEALED) and self.announced(key):
                now["late"] += 1
                self.found["late", key] += 1
                del self.open[key]
                if class_ == DROPPED and not registered:
                    self.open[key] = UNAPPLIED
            elif class_ == DROPPED and registered:
                self.open[key] = HEALED
            elif class_ in (UNAPPLIED, UNHEARD) and registered:
                del self.open[key]
