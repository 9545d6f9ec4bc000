"""The audit's memory in the ledger: what was seen, what waits, what was judged. One look is one transaction.

Every look writes under the lease on its data type and moves `audit.look` by compare-and-set, in the transaction that moves
the totals: a look is in the ledger whole, or not at all, or it is another's. So a killed audit looks again and counts
nothing twice, and a paused one that wakes after another took over writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from databases.ledger import Ledger
from reconciler import history
from reconciler.history import chunked
from reconciler.lease import Held
from schemas import audit_ledger as tables
from schemas import ledger as log_tables
from schemas.errors import PositionMoved
from schemas.key_sets import joined
from schemas.keys import Key, KeySet, KeyType
from schemas.metrics import HEALED_DROP

#: Of a row that waits for its first judgement.
UNJUDGED = ""
#: A drop that was registered is watched for so long, in case its announcement is only late.
WATCHED = timedelta(days=1)
#: Looks whose keys are kept apart; beyond, the smaller ones are merged.
APART = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Keys that one look saw first, and that wait for the same thing."""

    look: int
    class_: str  #: UNJUDGED, a gap's class, HEALED_DROP, or one of `orphaned.CLASSES`
    since: datetime  #: when the look before was: they came after it
    seen_at: datetime
    incarnation: int
    heard: int  #: the last segment when they were first seen
    keys: KeySet

    def of(self, keys: KeySet) -> Waiting:
        return replace(self, keys=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the audit of a data type stands."""

    look: int
    bound: str
    looked_at: datetime
    judged_until: datetime | None
    low: Key | None
    whole_at: datetime | None
    heard: int
    swept: str | None = None  #: the run of the last sweep whose orphans are counted
    waiting: tuple[Waiting, ...] = ()

    def waits_for(self, *classes: str) -> list[Waiting]:
        return [w for w in self.waiting if w.class_ in classes]

    @property
    def unjudged(self) -> list[Waiting]:
        return self.waits_for(UNJUDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one look adds, and how it leaves things."""

    state: State
    seen: KeySet  #: keys that no look saw before
    trials: int = 0
    failed: int = 0
    creations: int = 0
    totals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    findings: Mapping[tuple[str, str], KeySet] = field(default_factory=dict)
    told: Callable[[str], str] | None = None  #: the findings as the JSON that `report` prints, for a run's id
    blind: str | None = None


def load(ledger: Ledger, name: str, key_type: KeyType) -> State | None:
    """None before the first look."""
    a, w = tables.audit, tables.audit_waiting
    with ledger.begin("read where the audit stands") as db:
        row = db.execute(sa.select(a).where(a.c.data_type == name)).one_or_none()
        if row is None:
            return None
        parts = db.execute(sa.select(w).where(w.c.data_type == name).order_by(w.c.look, w.c["class"], w.c.chunk)).all()
    found: dict[tuple[int, str], list[Any]] = {}
    for part in parts:
        found.setdefault((part.look, part._mapping["class"]), []).append(part)
    return State(
        look=row.look,
        bound=row.bound,
        looked_at=row.looked_at,
        judged_until=row.judged_until,
        low=None if row.low is None else key_type.from_bound(bytes(row.low)),
        whole_at=row.whole_at,
        heard=row.heard,
        swept=row.swept,
        waiting=tuple(_waiting(key_type, of) for of in found.values()),
    )


def _waiting(key_type: KeyType, parts: Sequence[Any]) -> Waiting:
    first = parts[0]
    return Waiting(
        look=first.look,
        class_=first._mapping["class"],
        since=first.since,
        seen_at=first.seen_at,
        incarnation=first.incarnation,
        heard=first.heard,
        keys=joined([key_type.parse(bytes(part._mapping["keys"])) for part in parts]),
    )


def store(
    ledger: Ledger, held: Held, name: str, key_type: KeyType, before: State | None, looked: Looked, settings: str
) -> None:
    """One look, one transaction. Raises PositionMoved or RefusedWrite with the ledger as it was."""
    with ledger.begin("record a look of the audit") as db:
        held.lock(db)
        _move(db, name, key_type, before, looked)
        if before is None:
            _forget(db, name)
        _see(db, name, key_type, looked)
        _wait(db, name, before, looked.state)
        if looked.findings and looked.told:
            history.record(db, "audit", settings, looked.told, {name: looked.findings}, at=looked.state.looked_at)
        db.execute(
            sa.insert(tables.audit_look).values(
                data_type=name, look=looked.state.look, trials=looked.trials, failed=looked.failed, creations=looked.creations
            )
        )
        _add(db, looked.totals)


def go_blind(ledger: Ledger, held: Held, name: str, reasons: Iterable[str]) -> None:
    """Remember that the last look could not see, so that whoever exports says so. Before the first look there is no place."""
    with ledger.begin("record that the audit is blind") as db:
        held.lock(db)
        a = tables.audit
        db.execute(sa.update(a).where(a.c.data_type == name).values(blind=",".join(sorted(reasons)) or None))


def _move(db: sa.Connection, name: str, key_type: KeyType, before: State | None, looked: Looked) -> None:
    a, state = tables.audit, looked.state
    values = {
        "look": state.look,
        "bound": state.bound,
        "looked_at": state.looked_at,
        "judged_until": state.judged_until,
        "low": None if state.low is None else key_type.bound(state.low),
        "whole_at": state.whole_at,
        "heard": state.heard,
        "swept": state.swept,
        "blind": looked.blind,
        "at": sa.func.clock_timestamp(),
    }
    if before is None:
        moved = db.execute(insert(a).values(data_type=name, **values).on_conflict_do_nothing().returning(a.c.look))
    else:
        here = sa.and_(a.c.data_type == name, a.c.look == before.look)
        moved = db.execute(sa.update(a).where(here).values(**values).returning(a.c.look))
    if moved.one_or_none() is None:
        raise PositionMoved(f"another audit of {name} has looked meanwhile")


def _forget(db: sa.Connection, name: str) -> None:
    """What an audit of this data type left that was told to begin anew: another table's keys, under numbers that come again.
    The totals stay, for counters never fall."""
    for table in (tables.audit_seen, tables.audit_waiting, tables.audit_look):
        db.execute(sa.delete(table).where(table.c.data_type == name))


def _see(db: sa.Connection, name: str, key_type: KeyType, looked: Looked) -> None:
    if rows := _rows(name, key_type, looked.state.look, looked.seen):
        db.execute(sa.insert(tables.audit_seen), rows)


def _rows(name: str, key_type: KeyType, look: int, keys: KeySet) -> list[dict[str, Any]]:
    return [
        {
            "data_type": name, "look": look, "chunk": number, "low": key_type.bound(part.min()),
            "high": key_type.bound(part.max()), "count": len(part), "keys": part.serialize(),
        }
        for number, part in enumerate(chunked(keys))
    ]  # fmt: skip


def _wait(db: sa.Connection, name: str, before: State | None, now: State) -> None:
    """Write what changed: a log that stalls for a day leaves many keys waiting, and most of them go on waiting."""
    w = tables.audit_waiting
    was = {(x.look, x.class_): x for x in before.waiting} if before else {}
    will = {(x.look, x.class_): x for x in now.waiting if len(x.keys)}
    for place, one in was.items():
        if place not in will or will[place].keys is not one.keys:
            db.execute(sa.delete(w).where(w.c.data_type == name, w.c.look == place[0], w.c["class"] == place[1]))
    for place, one in will.items():
        if place in was and was[place].keys is one.keys:
            continue
        rows = [
            {
                "data_type": name, "look": one.look, "class": one.class_, "chunk": number, "since": one.since,
                "seen_at": one.seen_at, "incarnation": one.incarnation, "heard": one.heard, "count": len(part),
                "keys": part.serialize(),
            }
            for number, part in enumerate(chunked(one.keys))
        ]  # fmt: skip
        db.execute(sa.insert(w), rows)


def _add(db: sa.Connection, totals: Counter[tuple[str, str, str]]) -> None:
    """Last, and in one order: two transactions that add never wait for each other in a circle."""
    rows = [{"name": n, "subject": s, "kind": str(k), "value": value} for (n, s, k), value in sorted(totals.items()) if value]
    if rows:
        t = tables.total
        adding = insert(t)
        index = [t.c.name, t.c.subject, t.c.kind]
        db.execute(adding.on_conflict_do_update(index_elements=index, set_={"value": t.c.value + adding.excluded.value}), rows)


def last_segment(ledger: Ledger, name: str) -> tuple[int, int]:
    """The newest incarnation of the log, and the number of the last segment of a data type in it; zeros for nothing."""
    s, i = log_tables.segment, log_tables.incarnation
    newest = sa.select(sa.func.max(i.c.id)).scalar_subquery()
    asked = sa.select(newest, sa.func.max(s.c.last_number)).where(s.c.incarnation == newest, s.c.data_type == name)
    with ledger.begin("look how far the log was read") as db:
        incarnation, number = db.execute(asked).one()
    return int(incarnation or 0), int(number or 0)


def heard_later(ledger: Ledger, name: str, waiting: Waiting, than_us: int) -> bool:
    """Whether the log has since told of something later than that: then what it had to say before, it has said.

    That all is read up to its end is not enough. A connector that stalls leaves nothing to read; and when it comes back,
    it first tells what it had not told, so that anything new is not enough either.
    """
    s, i = log_tables.segment, log_tables.incarnation
    newest = sa.select(sa.func.max(i.c.id)).scalar_subquery()
    later = sa.or_(s.c.last_us.is_(None), s.c.last_us >= than_us)
    since = sa.or_(s.c.incarnation != waiting.incarnation, s.c.last_number > waiting.heard)
    asked = sa.select(s.c.last_number).where(s.c.incarnation == newest, s.c.data_type == name, since, later).limit(1)
    with ledger.begin("look what the log has told since") as db:
        return db.execute(asked).first() is not None


def creations_since(ledger: Ledger, name: str) -> int:
    """All creations of a data type that the log ever announced to us, from the totals."""
    t = tables.total
    asked = sa.select(t.c.value).where(t.c.name == "fencepost_events_total", t.c.subject == name, t.c.kind == "create")
    with ledger.begin("read a total") as db:
        return int(db.execute(asked).scalar_one_or_none() or 0)


def watched(waiting: Waiting, now: datetime) -> bool:
    """Whether anything may still come of it."""
    return waiting.class_ != HEALED_DROP or now - waiting.seen_at < WATCHED


def retire(ledger: Ledger, name: str, keep: timedelta) -> None:
    """Looks older than any window of the drop rate."""
    t = tables.audit_look
    with ledger.begin("forget old looks") as db:
        db.execute(sa.delete(t).where(t.c.data_type == name, t.c.at < sa.func.clock_timestamp() - keep))
