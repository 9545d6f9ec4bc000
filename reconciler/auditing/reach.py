"""How far back one look must read, so that its cost follows what is new and nothing falls between two looks.

    by key      keys rise as rows are created (integers; uuids where the settings say `monotonic`): from the low mark up
    by date     other keys, with an index on `created_at`: rows dated since the oldest transaction open at the mark
    whole       everything else, the first look, and one look in `WHOLE_EVERY`

A mark passes a key only when everyone with a transaction open has ended who may have drawn a lower one: a late committer
is read again. A look waits a moment for those who are open just then, or every mark would come a look later and every look
read twice as far. What no mark can see is a key drawn outside the transaction that uses it (pooled, cached, chosen by hand),
and by date a row dated back. Those wait for the next whole look, which asks for the whole key set: they are counted late,
once, and never passed over. Where such keys are many the table is looked at whole, look after look.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from databases.connect import renamed
from reconciler import fence, replay
from reconciler.auditing.book import State
from reconciler.fence import Transaction
from reconciler.identity import lsn_number, position
from reconciler.ports import Silent
from reconciler.scene import Scene, Subject
from reconciler.snapshot import Snapshot
from reconciler.sweeping.mark import Earlier, bound
from reconciler.window import microseconds
from schemas.keys import Key, KeySet

#: One look in so many is whole, by the time that has passed since the last whole one.
WHOLE_EVERY = 12
#: More waiting keys than this are not looked up one by one: the look is whole.
LOOKED_UP_MOST = 200_000
#: How long a standby may take to show what its primary held at the mark.
REPLAYED_S = 2.0
#: Pauses in which those may end who were open at a look's begin, in seconds; about one in all.
PAUSES_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.4)
#: Of the new keys of a whole look, at most this share may lie below the mark; else keys do not rise.
STRAYS_MOST = 0.1
#: Marks kept to tell since when a prepared transaction may have been open.
EARLIER_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A key that the low mark will pass when all of these have ended."""

    high: Key
    open_: frozenset[str]
    prepared: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What one look reads. Neither a key nor a date: everything."""

    low: Key | None = None
    since_us: int | None = None
    #: The mark of this look, for the next one. Its `lsn` is what a standby must have replayed for it to count.
    pending: Pending | None = None
    dated: Earlier | None = None
    lsn: str = "0/0"

    @property
    def whole(self) -> bool:
        return self.low is None and self.since_us is None


@dataclass(slots=True)
class Marks:
    """What one instance remembers of a data type between two looks. Another instance begins with a whole look, or the low
    mark that the ledger has: less is remembered, more is read."""

    look: int = 0  #: after which these hold
    high: Key | None = None  #: the highest key that was visible
    pending: Pending | None = None
    since: datetime | None = None
    earlier: list[Earlier] = field(default_factory=list)


def reach(scene: Scene, subject: Subject, state: State | None, marks: Marks, asked: int) -> Reach:
    """Before the snapshots of a look: what it must read. `asked` keys wait for something."""
    with renamed("mark where the source stands"):
        row = scene.fence_at.execute("SELECT clock_timestamp()").fetchone()
        assert row
        at = row[0].astimezone(UTC)
        listed = _listed(scene, subject)
    mine = state is not None and marks.look == state.look
    pending = _later(marks.pending, listed)
    if pending is None and mine and marks.high is not None:
        # Who was open when that key was visible has ended since, and then this look sees its rows, or is listed now.
        pending = _pending(marks.high, listed)
        if _rising(subject):
            pending = _ended(scene, subject, pending)
    with renamed("mark where the source stands"):
        # Only now: what those wrote who have ended meanwhile, a standby must have replayed too.
        lsn = position(scene.fence_at)
    replay.reached(scene, lsn, REPLAYED_S, Silent())  # where it was not, `passed` says so
    since, _ = bound(at, listed, marks.earlier)
    found = Reach(pending=pending, dated=Earlier(at=at, low=since), lsn=lsn)
    if state is None or _due(state, at, scene.settings.audit.every) or asked > LOOKED_UP_MOST:
        return found
    if _rising(subject):
        return replace(found, low=state.low)
    if mine and marks.since is not None and _dated(subject):
        return replace(found, since_us=microseconds(marks.since - scene.settings.fence.skew))
    return found


def _listed(scene: Scene, subject: Subject) -> list[Transaction]:
    return [t for t in fence.open_transactions(scene.fence_at, [subject.source.oid]) if t.waited_for]


def _ended(scene: Scene, subject: Subject, pending: Pending) -> Pending:
    """Who is left of them after a moment. Long transactions are not waited for here: a later look finds that they ended."""
    for pause in PAUSES_S:
        if not pending.open_:
            break
        _pause(pause)
        with renamed("see who is still open at the source"):
            pending = _left(pending, _listed(scene, subject))
    return pending


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _due(state: State, at: datetime, every: timedelta) -> bool:
    return state.whole_at is None or at - state.whole_at.astimezone(UTC) >= WHOLE_EVERY * every


def _rising(subject: Subject) -> bool:
    """Whether a look may begin at a key: both tables can be read in its order, and new rows have higher ones."""
    source, registry = subject.source.table, subject.registry.table
    return source.by_range and registry.by_range and (source.kind == "int" or subject.data_type.source.monotonic)


def _dated(subject: Subject) -> bool:
    registry = subject.registry.table
    return subject.source.created_at_index is not None and (registry.unique or registry.ordered)


def _pending(high: Key, listed: Iterable[Transaction]) -> Pending:
    both = list(listed)
    return Pending(
        high=high,
        open_=frozenset(t.handle for t in both if not t.prepared),
        prepared=frozenset(t.handle for t in both if t.prepared),
    )


def _later(pending: Pending | None, listed: Iterable[Transaction]) -> Pending | None:
    return None if pending is None else _left(pending, listed)


def _left(pending: Pending, listed: Iterable[Transaction]) -> Pending:
    """Who of them is left. One that was prepared meanwhile gave its number up without having ended, and nothing tells which
    it became: then every prepared one is waited for."""
    now = _pending(pending.high, listed)
    left = pending.open_ & now.open_
    prepared = pending.prepared & now.prepared if left == pending.open_ else now.prepared
    return replace(pending, open_=left, prepared=prepared)


def passed(found: Reach, source: Snapshot) -> bool:
    """Whether this look's snapshot shows all that anybody had written below the mark."""
    pending = found.pending
    return pending is not None and not (pending.open_ or pending.prepared) and _shown(found, source)


def _shown(found: Reach, source: Snapshot) -> bool:
    return bool(source.lsn) and lsn_number(source.lsn) >= lsn_number(found.lsn)


def strays(found: Reach, state: State, marks: Marks, new: KeySet) -> bool:
    """Whether too many of a whole look's new keys lie where keys were passed long ago."""
    reference = state.low if state.low is not None else marks.high if marks.look == state.look else None
    return found.whole and reference is not None and len(new.cut(None, reference)) > STRAYS_MOST * len(new)


def after(subject: Subject, found: Reach, state: State, marks: Marks, source: Snapshot, new: KeySet) -> Key | None:
    """The low mark that this look leaves. None: the next one is whole."""
    if not _rising(subject) or strays(found, state, marks, new):
        return None
    if not passed(found, source):
        return state.low
    assert found.pending is not None
    above = subject.key_type.after(found.pending.high)
    if state.low is None or above is None:
        return above
    return max(state.low, above)


def remembered(found: Reach, marks: Marks, look: int, high: Key | None, source: Snapshot) -> Marks:
    """After a look that the ledger holds."""
    gone = passed(found, source)
    earlier = [*marks.earlier, found.dated] if found.dated is not None else marks.earlier
    return Marks(
        look=look,
        high=high,
        pending=None if gone else found.pending,
        since=found.dated.low if found.dated is not None and _shown(found, source) else None,
        earlier=earlier[-EARLIER_MOST:],
    )
