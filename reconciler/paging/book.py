"""Alarms in the ledger. What changes is written under the audit's lease on its data type, from the very state it was read in.

What is to be sent is sent while its row is locked: of two instances one sends, and a paused one that wakes finds another
number and sends nothing. What dies between the receiver's answer and the commit is sent again, with the same fingerprint
and start: an alarm is rather told twice than never.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from databases.ledger import Ledger
from reconciler.catalog import remembered_kinds, type_of
from reconciler.lease import Held
from reconciler.paging.alarm import Alarm, Place, Status
from reconciler.paging.conditions import Heard
from reconciler.paging.message import KEYS_MOST, AtHand
from schemas import audit_ledger as tables
from schemas import ledger as log_tables
from schemas.errors import PositionMoved
from schemas.metrics import EVENTS
from schemas.verdict import GapClass

t = tables.audit_alert
#: Alerts that are about rows.
OF_ROWS = frozenset({"FencepostDropRateFast", "FencepostDropRateSlow", "FencepostGapsOpen"})


def load(ledger: Ledger) -> dict[Place, Alarm]:
    """All that are pending, stand, or ended untold."""
    with ledger.begin("read the alarms") as db:
        return {alarm.place: alarm for alarm in map(_read, db.execute(sa.select(t).order_by(t.c.since)))}


def _read(row: sa.Row[*tuple[object, ...]]) -> Alarm:
    return Alarm(
        place=Place(name=row.name, data_type=row.data_type, more=row.place),
        status=Status(row.state),
        since=row.since,
        value=row.value,
        number=row.number,
        told=row.told,
        started_at=row.started_at,
        ended_at=row.ended_at,
        words=row.words,
    )


def move(ledger: Ledger, held: Held, before: Alarm | None, after: Alarm | None) -> None:
    """Raises RefusedWrite where the lease is another's, PositionMoved where the alarm is another than it was."""
    with ledger.begin("record an alarm") as db:
        held.lock(db)
        _move(db, before, after)


def _move(db: sa.Connection, before: Alarm | None, after: Alarm | None) -> None:
    some = before or after
    assert some is not None
    place = some.place
    key = {"name": place.name, "data_type": place.data_type, "place": place.more}
    here = sa.and_(*(t.c[name] == value for name, value in key.items()), t.c.number == some.number)
    statement: sa.Executable
    if after is None:
        statement = sa.delete(t).where(here).returning(t.c.number)
    else:
        values = {
            "number": (before.number if before else 0) + 1, "state": str(after.status), "told": after.told,
            "since": after.since, "started_at": after.started_at, "ended_at": after.ended_at, "value": after.value,
            "words": after.words, "at": sa.func.clock_timestamp(),
        }  # fmt: skip
        if before is None:
            statement = insert(t).values(**key, **values).on_conflict_do_nothing().returning(t.c.number)
        else:
            statement = sa.update(t).where(here).values(**values).returning(t.c.number)
    if db.execute(statement).one_or_none() is None:
        raise PositionMoved(f"another audit has judged {place.name} of {place.data_type} meanwhile")


@contextmanager
def telling(ledger: Ledger, held: Held, alarm: Alarm, status: Status) -> Iterator[None]:
    """Tell within: the row is locked, and what was told is kept at its end. Raises as `move`, before anything is told."""
    with ledger.begin("record that an alarm was told") as db:
        held.lock(db)
        _locked(db, alarm)
        yield
        _move(db, alarm, replace(alarm, told=True) if status is Status.FIRING else None)


def _locked(db: sa.Connection, alarm: Alarm) -> None:
    place = alarm.place
    here = (t.c.name == place.name, t.c.data_type == place.data_type, t.c.place == place.more, t.c.number == alarm.number)
    if db.execute(sa.select(t.c.number).where(*here).with_for_update()).one_or_none() is None:
        raise PositionMoved(f"another audit has told of {place.name} meanwhile")


# -- what an alarm is about -------------------------------------------------------------------------------------------


def heard(ledger: Ledger, window: timedelta, back: timedelta) -> dict[str, Heard]:
    """Rows judged in `window`, and events read in the longer `back`, by data type. A type with no look so old is left out:
    nobody knows how long it has been silent."""
    x, total = tables.audit_look, tables.total
    now = sa.func.clock_timestamp()
    rows = sa.func.sum(x.c.trials).filter(x.c.at > now - window)
    then = sa.func.max(x.c.creations).filter(x.c.at <= now - back)
    created = (
        sa.select(sa.func.coalesce(sa.func.sum(total.c.value), 0))
        .where(total.c.name == EVENTS.name, total.c.kind == "create", total.c.subject == x.c.data_type)
        .scalar_subquery()
    )
    with ledger.begin("look how long the log has been silent") as db:
        found = db.execute(sa.select(x.c.data_type, rows, then, created).group_by(x.c.data_type)).all()
    return {
        name: Heard(rows=int(judged or 0), events=int(ever) - int(earlier))
        for name, judged, earlier, ever in found
        if earlier is not None
    }


def at_hand(ledger: Ledger, name: str) -> AtHand:
    """Some keys that are missing from the registry, those found last first, and the run that names them all."""
    w, g, run = tables.audit_waiting, log_tables.gap, log_tables.run
    gaps = [str(c) for c in GapClass]
    parts = (
        sa.select(w.c["keys"]).where(w.c.data_type == name, w.c["class"].in_(gaps)).order_by(w.c.look.desc()).limit(KEYS_MOST)
    )
    newest = sa.select(sa.func.max(run.c.id)).where(
        run.c.kind == "audit", sa.exists().where(g.c.run == run.c.id, g.c.data_type == name)
    )
    with ledger.begin("read which rows are missing") as db:
        kinds = remembered_kinds(db).get(name)
        if kinds is None:
            return AtHand()
        key_type, keys = type_of(kinds), list[str]()
        for (part,) in db.execute(parts):
            for key in key_type.parse(bytes(part)):
                if len(keys) == KEYS_MOST:
                    break
                keys.append(key_type.text(key))
        return AtHand(keys=tuple(keys), run=db.execute(newest).scalar_one_or_none())
