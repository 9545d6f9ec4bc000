"""The judgement of one look: classes of what is due, what became of what was judged before, what is counted.

Pure but for the few candidates it looks up. `reconciler.auditing.look` says what is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain

from databases.ledger import Ledger
from reconciler.announced import AnnouncedReader
from reconciler.auditing import book
from reconciler.auditing.book import UNJUDGED, State, Waiting
from reconciler.auditing.rate import bursts, separated
from reconciler.auditing.seen import Seen
from reconciler.coverage import Coverage
from reconciler.dates import date
from reconciler.judge import Candidates, Judged, judge, located_in_log, predecessors, silent
from reconciler.look import unaccepted
from reconciler.ports import Locate
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot
from reconciler.unreadable import named_in_quarantine
from reconciler.window import microseconds
from schemas.key_sets import joined
from schemas.keys import KeySet
from schemas.metrics import DROPPED, DROPS, HEALED_DROP, ROWS_AUDITED
from schemas.verdict import Cause, GapClass

#: Keys that are due, with what they waited in.
Due = list[tuple[Waiting, KeySet]]


def classes(
    subject: Subject,
    source: Snapshot,
    registry: Snapshot,
    due: Due,
    registered: KeySet,
    reader: AnnouncedReader,
    coverage: Coverage,
    *,
    ledger: Ledger,
    locate: Locate | None,
    skew: timedelta,
) -> Judged:
    """Class and cause of all that is due."""
    keys = subject.key_type.empty()
    for _, ready in due:
        keys = keys | ready
    missing = keys - registered
    dates = date(subject, source, keys)
    bounds = reader.bounds()
    speechless = silent(subject, coverage, keys, dates, bounds[0] if bounds else None)
    named = named_in_quarantine(ledger, subject.data_type, subject.key_type, keys) if coverage.unreadable else {}
    if named:
        speechless[Cause.QUARANTINED] = subject.key_type.of(named)
    unheard = keys & registered
    for gone in speechless.values():
        unheard = unheard - gone
    candidates = Candidates(
        missing=missing,
        unheard=unheard,
        stale=subject.key_type.empty(),
        dates=dates,
        silent=speechless,
        named=named,
        until_us=microseconds(source.at),
    )
    return judge(
        subject,
        candidates,
        unaccepted=unaccepted(subject, registry, missing),
        in_flight=subject.key_type.empty(),
        reader=reader,
        coverage=coverage,
        locate=locate,
        skew=skew,
    )


def by_class(judged: Judged) -> dict[tuple[str, str], KeySet]:
    """Gaps and healed drops, by class and cause."""
    found = {(str(c), str(cause)): keys for (c, cause), keys in judged.classes.gaps.items() if len(keys)}
    if len(judged.classes.healed):
        found[HEALED_DROP, str(Cause.NEVER_ANNOUNCED)] = judged.classes.healed
    return found


def born(look_number: int, due: Due, findings: Mapping[tuple[str, str], KeySet]) -> list[Waiting]:
    """What was judged now waits to be registered, or to be announced late. Since when they are missing is kept: the
    earliest sighting of their class, under the number of this look."""
    out = []
    for class_ in sorted({class_ for class_, _ in findings}):
        keys = [found for (c, _), found in findings.items() if c == class_]
        of = [one for one, ready in due for found in keys if len(ready & found)]
        total = keys[0]
        for more in keys[1:]:
            total = total | more
        first = min(of, key=lambda one: one.seen_at)
        out.append(replace(first, look=look_number, class_=class_, keys=total))
    return out


def too_early(due: Due, findings: Mapping[tuple[str, str], KeySet], past: Callable[[Waiting], bool]) -> list[Waiting]:
    """What the log seemed to announce, and what is judged a drop all the same: it was a predecessor of that id that was
    announced. The row's own announcement may be on its way, so where the log has not passed them they go on waiting."""
    dropped = [keys for (class_, _), keys in findings.items() if class_ in DROPPED]
    out = []
    for one, ready in due:
        early = [found for keys in dropped if len(found := ready & keys)]
        if early and not past(one):
            out.append(one.of(joined(early)))
    return out


def without(
    due: Due, findings: Mapping[tuple[str, str], KeySet], early: list[Waiting]
) -> tuple[Due, dict[tuple[str, str], KeySet]]:
    """Less what goes on waiting."""
    gone = joined([one.keys for one in early])
    left = {place: keys - gone for place, keys in findings.items()}
    return [(one, ready - gone) for one, ready in due], {place: keys for place, keys in left.items() if len(keys)}


def own(
    subject: Subject,
    source: Snapshot,
    keys: KeySet,
    reader: AnnouncedReader,
    *,
    locate: Locate | None,
    skew: timedelta,
) -> KeySet:
    """Of credited keys those whose announcement is of the row that is there, and not of one that had its id before."""
    if not len(keys):
        return keys
    dates, located = date(subject, source, keys), located_in_log(subject, locate, keys)
    return keys - predecessors(subject, keys, dates, microseconds(source.at), reader.spans(keys), located, skew)


def followed_up(
    state: State, there: KeySet, registered: KeySet, announced: Callable[[KeySet], KeySet], now: datetime
) -> tuple[list[Waiting], tuple[KeySet, timedelta] | None]:
    """What was judged before: registered since, gone since, announced late. (Late keys, the longest delay.)"""
    out: list[Waiting] = []
    late: tuple[KeySet, timedelta] | None = None
    for one in state.waiting:
        if one.class_ == UNJUDGED or not book.watched(one, now):
            continue
        keys = one.keys & there
        if one.class_ in DROPPED and len(came := announced(keys)):
            delay = now - one.seen_at
            late = (came, delay) if late is None else (late[0] | came, max(late[1], delay))
            keys = keys - came
            if one.class_ == GapClass.DROPPED_CREATE and len(open_ := came - registered):
                out.append(replace(one, class_=str(GapClass.UNAPPLIED_CREATE), keys=open_))
        if one.class_ == GapClass.DROPPED_CREATE and len(closed := keys & registered):
            out.append(replace(one, class_=HEALED_DROP, keys=closed))
        if one.class_ != HEALED_DROP:
            keys = keys - registered
        if len(keys):
            out.append(one if len(keys) == len(one.keys) else one.of(keys))
    return merged(out), late


def merged(waiting: list[Waiting]) -> list[Waiting]:
    """One entry a look and class."""
    out: dict[tuple[int, str], Waiting] = {}
    for one in waiting:
        place = (one.look, one.class_)
        out[place] = one if place not in out else replace(out[place], keys=out[place].keys | one.keys)
    return list(out.values())


def count(
    subject: Subject,
    seen: Seen,
    new: KeySet,
    fine: KeySet,
    due: Due,
    judged: Judged,
    findings: Mapping[tuple[str, str], KeySet],
) -> tuple[Counter[tuple[str, str, str]], int, int]:
    """Rows and drops for the totals; trials and failed ones for the rate."""
    totals: Counter[tuple[str, str, str]] = Counter()
    totals[ROWS_AUDITED.name, subject.name, ""] = len(fine) + sum(len(ready) for _, ready in due)
    dropped, announced = subject.key_type.empty(), len(fine)
    for (class_, _), keys in findings.items():
        totals[DROPS.name, subject.name, class_] += len(keys)
        if class_ in DROPPED:
            dropped = dropped | keys
        elif class_ == GapClass.UNAPPLIED_CREATE:
            announced += len(keys)
    failed = _bursts(seen, new, dropped, judged)
    return totals, announced + failed, failed


def _bursts(seen: Seen, new: KeySet, dropped: KeySet, judged: Judged) -> int:
    """How many trials failed: a run of drops with no announced row between is one, where keys have an order."""
    if not len(dropped):
        return 0
    low, high = dropped.min(), dropped.max()
    others = (keys - dropped for keys in chain([new.cut(low, high)], seen.parts(low, high)))
    follows = [False, *~separated(dropped.column(), others)]
    return bursts(follows, [judged.dates.of(key) for key in dropped])
