"""From the differences of one look to judged classes: dates, the window, coverage, second sightings, evidence.

Pure but for the few candidates it looks up; the compare itself is `reconciler.look`, the table of classes
`reconciler.classify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from reconciler.announced import AnnouncedReader
from reconciler.classify import Classes, Seen, classify
from reconciler.coverage import Coverage
from reconciler.ports import Locate
from reconciler.scene import Subject
from reconciler.shelf import Offsets
from reconciler.unreadable import Place
from reconciler.window import Plan
from schemas.errors import FencepostError
from schemas.events import NO_TIME, Op
from schemas.keys import Key, KeySet
from schemas.ledger import Said
from schemas.log_state import Located
from schemas.verdict import Cause, GapClass, utc

#: Keys that one segment speaks of: its word, its span of event times, its offsets.
Spoken = tuple[KeySet, Said, int | None, int | None, Offsets]
#: The log is read again for the exact place of at most so many events.
LOCATED_MOST = 2000
#: No row is dated later.
NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Dates:
    """Creation times of some keys, in key order: µs since the epoch, NO_TIME where no clock can place the row."""

    keys: npt.NDArray[Any]
    times: npt.NDArray[np.int64]

    def of(self, key: Key) -> int | None:
        """None where the key was not dated."""
        if not len(self.keys) or (isinstance(key, bytes) and len(key) > self.keys.dtype.itemsize):
            return None
        at = int(np.searchsorted(self.keys, np.array([key], self.keys.dtype))[0])
        if at < len(self.keys) and self.keys[at] == np.array([key], self.keys.dtype)[0]:
            return int(self.times[at])
        return None

    def joined(self, more: Dates) -> Dates:
        """With those of other keys."""
        if not len(self.keys) or not len(more.keys):
            return self if len(self.keys) else more
        keys, first = np.unique(np.concatenate([self.keys, more.keys]), return_index=True)
        return Dates(keys, np.concatenate([self.times, more.times])[first])


NO_DATES = Dates(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(slots=True)
class Candidates:
    """Keys of one data type that need a judgement, within the window."""

    missing: KeySet  #: in S, not in R
    unheard: KeySet  #: in S and R, not in E, where the log could have spoken
    stale: KeySet
    dates: Dates = NO_DATES
    silent: dict[Cause, KeySet] = field(default_factory=dict)
    named: dict[Key, Place] = field(default_factory=dict)  #: keys that a quarantined record's bytes name
    until_us: int = NEVER  #: the source's clock at the look; a row dated later than that is placed by no clock

    def __bool__(self) -> bool:
        return bool(len(self.missing) or len(self.unheard) or len(self.stale))


@dataclass(slots=True)
class Judged:
    """One data type, judged."""

    classes: Classes
    in_flight: KeySet
    dates: Dates
    located: Mapping[Key, Located]
    places: list[Spoken]
    coverage: Coverage
    named: Mapping[Key, Place] = field(default_factory=dict)

    @property
    def gaps(self) -> int:
        return sum(len(keys) for keys in self.classes.gaps.values())


def in_window(subject: Subject, plan: Plan, keys: KeySet, dates: Dates) -> KeySet:
    """Those of the keys that are dated in the window, or undatable."""
    if plan.since_us is None or not len(keys):
        return keys
    column = keys.column()
    times = _times(dates, column)
    return subject.key_type.keys(column[(times == NO_TIME) | (times >= plan.since_us)])


def silent(subject: Subject, coverage: Coverage, keys: KeySet, dates: Dates, first: Key | None) -> dict[Cause, KeySet]:
    """By cause, the keys of which the log cannot speak."""
    if not len(keys):
        return {}
    column = keys.column()
    after = np.ones(len(column), np.bool_)
    if column.dtype.kind == "i" and first is not None:
        after = column > first
    causes = coverage.causes(_times(dates, column), after_first_key=after)
    out = {}
    for cause in sorted({c for c in causes if c is not None}):
        chosen = np.fromiter((c is cause for c in causes), np.bool_, len(causes))
        out[cause] = subject.key_type.keys(column[chosen])
    return out


def _times(dates: Dates, column: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The times of a column's keys; NO_TIME for keys never dated."""
    out = np.full(len(column), NO_TIME, np.int64)
    if len(dates.keys):
        wide = np.promote_types(dates.keys.dtype, column.dtype)
        known, asked = dates.keys.astype(wide), column.astype(wide)
        at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        hit = known[at] == asked
        out[hit] = dates.times[at[hit]]
    return out


def judge(
    subject: Subject,
    candidates: Candidates,
    *,
    unaccepted: KeySet,
    in_flight: KeySet,
    reader: AnnouncedReader,
    coverage: Coverage,
    locate: Locate | None,
    skew: timedelta,
) -> Judged:
    """Class and cause of every candidate, with what the log shows of it."""
    missing, stale = candidates.missing - in_flight, candidates.stale - in_flight
    everyone = missing | candidates.unheard | stale
    words = reader.of(everyone).words
    places = reader.spans(missing)
    located = located_in_log(subject, locate, (words.credited & missing) | (words.unsure & missing))
    credited, unsure = _resolved(subject, words.credited, words.unsure, candidates, places, located, skew)
    classes = classify(
        Seen(
            source=everyone,
            accepted=everyone - missing,
            unaccepted=unaccepted & missing,
            credited=credited,
            unsure=unsure,
            silent=candidates.silent,
            stale=stale,
        )
    )
    return Judged(
        classes=classes,
        in_flight=in_flight,
        dates=candidates.dates,
        located=located,
        places=places,
        coverage=coverage,
        named=candidates.named,
    )


def located_in_log(subject: Subject, locate: Locate | None, keys: KeySet) -> Mapping[Key, Located]:
    """Where the log speaks of these keys; nothing where it cannot be asked, for evidence never decides a verdict."""
    if locate is None or not 0 < len(keys) <= LOCATED_MOST:
        return {}
    try:
        return locate(subject.name, subject.key_type, keys)
    except FencepostError:
        return {}


def _resolved(
    subject: Subject,
    credited: KeySet,
    unsure: KeySet,
    candidates: Candidates,
    places: list[Spoken],
    located: Mapping[Key, Located],
    skew: timedelta,
) -> tuple[KeySet, KeySet]:
    """Settle doubtful orders by what the log says itself, and take back credit that belongs to a predecessor.

    An id may be used again: an event clearly older than its row announced another row of that id.
    """
    of = subject.key_type.of
    sure = {key: event for key, event in located.items() if event.sure}
    created = of([key for key, event in sure.items() if event.op is Op.CREATE])
    deleted = of([key for key, event in sure.items() if event.op is Op.DELETE])
    credited = (credited | (unsure & created)) - deleted
    unsure = unsure - created - deleted
    return credited - predecessors(subject, credited, candidates.dates, candidates.until_us, places, located, skew), unsure


def predecessors(
    subject: Subject,
    credited: KeySet,
    dates: Dates,
    until_us: int,
    places: list[Spoken],
    located: Mapping[Key, Located],
    skew: timedelta,
) -> KeySet:
    """The credited keys whose last announcement is clearly older than the row: it announced another row of that id.

    `located` are announcements found in the log itself; elsewhere the end of a segment's span bounds their time.
    """
    slack = int(skew / timedelta(microseconds=1))
    column = (credited & subject.key_type.keys(dates.keys)).column()
    rows = _times(dates, column)
    placed = (rows != NO_TIME) & (rows <= until_us + slack)
    column, rows = column[placed], rows[placed]
    if not len(column):
        return subject.key_type.empty()
    latest = np.full(len(column), NO_TIME, np.int64)
    dated = subject.key_type.keys(column)
    for keys, said, _, last_us, _ in places:
        if said in (Said.CREATED, Said.RECREATED) and last_us is not None:
            at = np.searchsorted(column, (keys & dated).column())
            latest[at] = np.maximum(latest[at], last_us)
    sure = {key: event.time_us for key, event in located.items() if event.sure and event.op is Op.CREATE}
    for key, time_us in sure.items():
        if key in dated and time_us is not None:
            latest[np.searchsorted(column, np.array([key], column.dtype))] = time_us
    return subject.key_type.keys(column[(latest != NO_TIME) & (latest < rows - slack)])


def gap_lines(subject: Subject, judged: Judged) -> Iterator[dict[str, Any]]:
    """A line a gap, for `gaps.jsonl`."""
    for (gap_class, cause), keys in judged.classes.gaps.items():
        for key in keys:
            yield {
                "data_type": subject.name,
                "key": subject.key_type.text(key),
                "class": gap_class.value,
                "cause": cause.value,
                "created_at": time_text(judged.dates.of(key)),
                "evidence": _evidence(subject, judged, gap_class, key),
            }


def time_text(time_us: int | None) -> str | None:
    if time_us is None or time_us == NO_TIME:
        return None
    try:
        return utc(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us))
    except OverflowError:
        return f"{time_us} µs since 1970"


def _evidence(subject: Subject, judged: Judged, gap_class: GapClass, key: Key) -> dict[str, Any]:
    found = judged.located.get(key)
    if found is not None:
        at = found.time_us if found.time_us is not None else None if found.broker_ms is None else found.broker_ms * 1000
        return {
            "topic": found.topic,
            "partition": found.partition,
            "offset": found.offset,
            "time": time_text(at),
            "op": found.op.name.lower(),
        }
    if key in judged.named:
        place = judged.named[key]
        return {"topic": place.topic, "partition": place.partition, "offset": place.offset, "quarantined": True}
    if gap_class in (GapClass.DROPPED_CREATE, GapClass.UNHEARD_CREATE):
        return {"topics": list(subject.topics), "covered_since": time_text(judged.coverage.start_us)}
    for keys, said, first_us, last_us, offsets in judged.places:
        if key in keys:
            return {"said": said.value, "offsets": offsets, "from": time_text(first_us), "to": time_text(last_us)}
    return {}
