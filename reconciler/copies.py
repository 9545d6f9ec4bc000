"""A source that is a copy (`source.kind: copy`) is held against its origin in every look, key by key.

The rows that a verdict is about are the origin's: what is missing, dated, deleted or inserted is asked there. The copy's key
set is learned in the same pass, its snapshot taken after the origin's, so a row of the origin that it lacks was either late,
or was never brought. Late ones are waited for; one that does not come is a fault, and so is a copy that has not confirmed the
fence. How far a subscription has come excuses nothing: rows that it skipped are behind no position.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

from databases.connect import renamed
from reconciler.compare import Differences
from reconciler.ports import Say, names
from reconciler.probe import Reader, Table, present
from reconciler.proofs.shown import TypeShown
from reconciler.scene import Scene, Subject
from schemas.keys import KeySet
from schemas.verdict import utc

#: More rows than this are not waited for one by one: such a copy is behind, or was never whole.
AWAITED_MOST = 100_000

#: What feeds these tables, by which slot, and which of them are not yet, or no longer, in step.
_FED = """
SELECT s.subname::text, s.subenabled, s.subslotname::text,
       pg_catalog.count(*) FILTER (WHERE r.srsubstate <> 'r')
  FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
 WHERE r.srrelid = ANY (%s::bigint[]::oid[]) GROUP BY 1, 2, 3 ORDER BY 1"""
#: What the copy has confirmed as written there: told by the origin, in its own positions.
_CONFIRMED = """
SELECT s.active, s.confirmed_flush_lsn >= %(lsn)s::pg_lsn, s.confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots s
 WHERE s.slot_name::text = %(slot)s AND s.database::text = pg_catalog.current_database()::text"""


def follow(scene: Scene, lsn: str, wait_s: float, say: Say) -> str | None:
    """Wait until the subscriptions that feed the copy have confirmed `lsn`; why not, where they do not in time."""
    if scene.copy is None:
        return None
    deadline = time.monotonic() + wait_s
    while True:
        late = behind(scene, scene.subjects, lsn)
        if not late:
            return None
        if time.monotonic() > deadline:
            return f"the copy is behind the fence at {lsn}: {names(late)}"
        say.waiting(f"for the copy to confirm {lsn}: {names(late, 1)}")
        time.sleep(0.1)


def behind(scene: Scene, subjects: list[Subject], lsn: str) -> list[str]:
    """Subscriptions of the copy that have not confirmed this place in the origin's history. Empty also where nothing feeds
    it, as a restored copy, or where a slot of another server does: then the keys alone are held against each other."""
    late = []
    for name, enabled, slot, unready in _fed(scene, subjects):
        if unready:
            late.append(f"the subscription {name} has not finished copying {unready} of the tables")
            continue
        told = _confirmed(scene, slot, lsn)
        if told is None:
            if not enabled:
                late.append(f"the subscription {name} is disabled")
            continue
        active, passed, confirmed = told
        if not passed:
            state = "is disabled" if not enabled else "is being read" if active else "is not being read"
            late.append(f"the subscription {name} {state} and has confirmed {confirmed}")
    return late


def _fed(scene: Scene, subjects: list[Subject]) -> list[tuple[str, bool, str | None, int]]:
    assert scene.copy is not None
    copies = [subject.copy.facts for subject in subjects if subject.copy is not None]
    oids = [oid for facts in copies for oid in (facts.oid, *(leaf.oid for leaf in facts.relation.below))]
    with renamed("ask the copy which subscriptions feed it"):
        return scene.copy.execute(_FED, [oids]).fetchall()


def _confirmed(scene: Scene, slot: str | None, lsn: str) -> tuple[bool, bool, str] | None:
    with renamed("ask the origin how far the copy has come"):
        return scene.source.execute(_CONFIRMED, {"slot": slot, "lsn": lsn}).fetchone()


def judge(scene: Scene, subject: Subject, told: TypeShown, found: Differences, lsn: str, say: Say) -> None:
    """What the proof `snapshot` will say of this data type's copy, after one compare. `lsn`: the origin's at its snapshot."""
    if scene.copy is None:
        return
    lacking, late = found.lacking, 0
    if len(lacking):
        lacking = _still_lacking(scene, subject, lacking, say)
        late = len(found.lacking) - len(lacking)
    origin = f"{found.rows:,} rows of its origin, key by key"
    if len(lacking):
        keys = names([repr(key) for key in subject.key_type.texts(lacking, 5)])
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        why = names(behind(scene, [subject], lsn)) or "no subscription of it is behind: it never brought them, or lost them"
        told.copy_fault = f"the copy lacks {len(lacking)} of the {origin}: {keys}{more}; {why}"
        told.copy_seen = None
        return
    seen = f"the copy holds all {origin}"
    if late:
        seen += f"; {late} of them came, or were gone, after the snapshot"
    if found.surplus:
        seen += f"; {found.surplus} rows of the copy alone are in no judgement"
    told.copy_fault, told.copy_seen = None, f"{seen}, as of {utc(scene.now())}"


def _still_lacking(scene: Scene, subject: Subject, keys: KeySet, say: Say) -> KeySet:
    """Those that the origin has and the copy has not, once it was waited for."""
    if len(keys) > AWAITED_MOST:
        return keys
    deadline = time.monotonic() + scene.patience_s
    while True:
        keys = _left(scene, subject, keys)
        if not len(keys) or time.monotonic() > deadline:
            return keys
        say.waiting(f"for the copy to bring {len(keys)} rows of {subject.name}")
        time.sleep(0.2)


def _left(scene: Scene, subject: Subject, keys: KeySet) -> KeySet:
    """The copy is asked first: a row that goes from the origin, and so from the copy, in between is then no fault."""
    assert scene.copy is not None
    assert subject.copy is not None
    keys = keys - _present(scene.copy, subject.copy.facts.table, subject.copy.scope, keys)
    return _present(scene.source, subject.source.table, subject.scope, keys) if len(keys) else keys


def _present(connection: psycopg.Connection[Any], table: Table, where: sql.Composed | None, keys: KeySet) -> KeySet:
    """Which of the keys stand there now, under a snapshot of its own."""
    with renamed(f"look at {table.qualified} again"), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return present(Reader(connection, table, where), keys)
