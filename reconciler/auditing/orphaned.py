"""Orphans for the audit's totals: registry rows whose source row is gone, each counted once, when it was seen twice.

A whole look finds them, and so does every sweep, whatever scope and state. What a look saw waits, as a row does: it is
judged once it is an orphan still, `settle` later, and, where the log announces no deletion, once the log has told of
something later. The registry row of the first sighting is older than the source's snapshot of the second, so that what is
created and registered in between is never an orphan. What a sweep tells it has seen twice itself, and may have removed.

What was counted goes on waiting until it is gone, so that nobody counts it again; so does what was there before the audit,
which is in no count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import orphans
from reconciler.announced import AnnouncedReader
from reconciler.auditing.book import State, Waiting
from reconciler.ports import Locate
from reconciler.probe import Reader, present
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot
from schemas import ledger as tables
from schemas.key_sets import joined
from schemas.keys import KeySet, KeyType
from schemas.metrics import DROPS
from schemas.verdict import OrphanClass

#: The class of what waits to be judged, and of what was there at the first look.
SURPLUS, BEFORE = "surplus", "surplus_before"
JUDGED = tuple(str(c) for c in OrphanClass)
CLASSES = (SURPLUS, BEFORE, *JUDGED)
#: By class.
Swept = Mapping[str, KeySet]
#: More are not followed at once: what is left is seen again by a later look.
MOST = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphaned:
    """What one look makes of them."""

    waiting: tuple[Waiting, ...] = ()
    found: dict[tuple[str, str], KeySet] = field(default_factory=dict)

    def count(self, totals: Counter[tuple[str, str, str]], name: str) -> None:
        for (class_, _), keys in self.found.items():
            totals[DROPS.name, name, class_] += len(keys)


def swept(ledger: Ledger, name: str, key_type: KeyType, after: str | None) -> tuple[str | None, Swept]:
    """The run of the newest finished pass, and the orphans of all that finished since the run `after`."""
    x, g = tables.sweep, tables.gap
    finished = sa.select(x.c.run).where(x.c.data_type == name, x.c.state == "finished", x.c.run > (after or ""))
    with ledger.begin("read what sweeps found") as db:
        runs = db.execute(finished).scalars().all()
        if not runs:
            return after, {}
        here = (g.c.run.in_(runs), g.c.data_type == name, g.c["class"].in_(JUDGED))
        rows = db.execute(sa.select(g.c["class"], g.c["keys"]).where(*here)).all()
    parts: dict[str, list[KeySet]] = {}
    for class_, keys in rows:
        parts.setdefault(class_, []).append(key_type.parse(bytes(keys)))
    return max(runs), {class_: joined(of) for class_, of in parts.items()}


def rows_alone(state: State) -> State:
    """What waits and is no orphan."""
    return replace(state, waiting=tuple(w for w in state.waiting if w.class_ not in CLASSES))


def before(subject: Subject, found: KeySet | None, told: Swept, fresh: Waiting) -> tuple[Waiting, ...]:
    """What is there at the first look, as far as anybody has seen it."""
    keys = joined([*told.values(), found if found is not None else subject.key_type.empty()])
    return (replace(fresh, class_=BEFORE, keys=keys),) if len(keys) else ()


def judge(
    subject: Subject,
    source: Snapshot,
    registry: Snapshot,
    state: State,
    fresh: Waiting,
    told: Swept,
    *,
    whole: bool,
    settle: timedelta,
    past: Callable[[Waiting], bool],
    reader: Callable[[KeySet], AnnouncedReader],
    locate: Locate | None,
) -> Orphaned:
    """`fresh` are those that a whole look has seen just now, under this look's number; `told` what sweeps have judged."""
    empty = subject.key_type.empty()
    waits = [w for w in state.waiting if w.class_ == SURPLUS]
    counted = [w for w in state.waiting if w.class_ in (BEFORE, *JUDGED)]
    if whole:  # else what is counted is not asked for: it may be much, and changes nothing
        still = _orphans(subject, source, registry, _all(empty, counted))
        counted = [one if len(kept) == len(one.keys) else one.of(kept) for one in counted if len(kept := one.keys & still)]
    known = _all(empty, counted)
    found: dict[OrphanClass, KeySet] = {}
    for class_, keys in told.items():
        if len(new := keys - known):
            found[OrphanClass(class_)] = new
            known = known | new
    left, due = _due(subject, source, registry, waits, known, settle, past, reader)
    if len(due):
        for orphan_class, keys in orphans.judge(subject, due, empty, reader(due), locate).by_class.items():
            found[orphan_class] = keys | found.get(orphan_class, empty)
    known = known | due | _all(empty, left)
    new = _few(subject.key_type, _gone(subject, source, fresh.keys - known), MOST - len(known))
    if len(new):
        left.append(replace(fresh, class_=SURPLUS, keys=new))
    born = [replace(fresh, class_=str(class_), keys=keys) for class_, keys in found.items()]
    return Orphaned(waiting=(*left, *counted, *born), found={(str(c), "orphan"): keys for c, keys in found.items()})


def _due(
    subject: Subject,
    source: Snapshot,
    registry: Snapshot,
    waits: list[Waiting],
    known: KeySet,
    settle: timedelta,
    past: Callable[[Waiting], bool],
    reader: Callable[[KeySet], AnnouncedReader],
) -> tuple[list[Waiting], KeySet]:
    """What goes on waiting, and what is an orphan now."""
    empty = subject.key_type.empty()
    if not waits:
        return [], empty
    ready = [w for w in waits if w.seen_at < source.at and w.seen_at + settle <= source.at]
    still = _orphans(subject, source, registry, _all(empty, ready)) - known
    deleted = reader(still).of(still).words.deleted
    left, due = list[Waiting](), empty
    for one in waits:
        if one not in ready:
            left.append(one)
            continue
        keys = one.keys & still
        judged = keys if len(keys) and past(one) else keys & deleted
        due = due | judged
        if len(rest := keys - judged):
            left.append(one if len(rest) == len(one.keys) else one.of(rest))
    return left, due


def _all(empty: KeySet, waiting: list[Waiting]) -> KeySet:
    return joined([w.keys for w in waiting]) if waiting else empty


def _orphans(subject: Subject, source: Snapshot, registry: Snapshot, keys: KeySet) -> KeySet:
    """Those that the registry has, in whatever state, and the source has not, whatever the scope."""
    if len(keys):
        keys = present(Reader(registry.first, subject.registry.table), keys)
    return _gone(subject, source, keys)


def _gone(subject: Subject, source: Snapshot, keys: KeySet) -> KeySet:
    return keys - present(Reader(source.first, subject.source.table), keys) if len(keys) else keys


def _few(key_type: KeyType, keys: KeySet, most: int) -> KeySet:
    return keys if len(keys) <= most else key_type.keys(keys.column()[: max(0, most)])
