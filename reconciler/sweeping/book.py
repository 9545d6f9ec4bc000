"""What the ledger remembers of full passes: begun, gone on with, covered, finished, or given up.

A pass is bound to the world it began in: servers, databases, tables, keys, scope, accepted states. In another world it
is given up, and vouches for nothing. Each range is stored in a transaction of its own, under the lease on that data
type's passes: whoever was paused and comes back late stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import world
from reconciler.lease import Held
from reconciler.scene import Scene, Subject
from reconciler.sweeping.look import Part
from reconciler.sweeping.mark import Earlier, Mark
from schemas import ledger as tables
from schemas.errors import LedgerError, RefusedWrite
from schemas.keys import Key, KeySet, KeyType

#: Stands for the creation of a missing row of which nobody can say when it was: no window is safe before it.
UNDATED = datetime(1, 1, 1, tzinfo=UTC)


class Stage(StrEnum):
    """How far a pass has come."""

    RUNNING = "running"  #: ranges are left; or killed, and the next run goes on
    COVERED = "covered"  #: every range was looked at; the candidates wait for their second sighting
    FINISHED = "finished"  #: judged
    ABANDONED = "abandoned"  #: given up for another: the note says why


@dataclass(slots=True, kw_only=True)
class Pass:
    """One pass over one data type, as far as the ledger has it."""

    sweep: str
    name: str
    key_type: KeyType
    stage: Stage
    started_at: datetime
    number: int = 0  #: of the next range
    at: Key | None = None  #: where it begins
    rows: int = 0  #: that were seen before this run
    files: Mapping[str, str] | None = None  #: of the registry's table, when the pass began; None: nobody asked then
    given_up: str | None = None  #: why an earlier pass was not gone on with


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What all ranges of a pass saw, first sightings among it."""

    ranges: int
    rows: int
    registered: int
    announced: int
    needles: int
    verified: int
    missing: KeySet
    surplus: KeySet
    stale: KeySet
    last_at: datetime | None  #: the newest range with a candidate


#: Whether registry rows were held against the source too. What was verified holds either way.
DIRECTIONS = "directions"
#: Of the registry. Another file may be a table that was emptied, or one that was merely written anew.
FILES = "registry files"


def bound(scene: Scene, subject: Subject, *, deletes: bool) -> dict[str, Any]:
    """The world as it is now: what a pass holds for, and nothing else."""
    return {DIRECTIONS: "both" if deletes else "rows only"} | world.bound(scene, subject)


def going(ledger: Ledger, scene: Scene, subject: Subject, run: str, *, deletes: bool) -> Pass | None:
    """The pass that is to be gone on with; None where there is none. One of another world is given up for good."""
    s = tables.sweep.c
    mine = (s.data_type == subject.name, s.state.in_((Stage.RUNNING, Stage.COVERED)))
    with ledger.begin("look for a sweep to go on with") as connection:
        row = connection.execute(sa.select(tables.sweep).where(*mine).order_by(s.id.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        this = (s.id == row.id, s.data_type == subject.name)
        faults = world.changed(row.bound, bound(scene, subject, deletes=deletes))
        why = "; ".join([*faults, *emptied(row.bound, scene, subject)]) or None
        number, at, rows, fault = _next(connection, row.id, subject)
        if row.state == Stage.RUNNING:
            why = why or fault
        if why is not None:
            connection.execute(sa.update(tables.sweep).where(*this).values(state=Stage.ABANDONED, note=why))
            _forget(connection, (row.id,), subject.name)
            stage = Stage.ABANDONED
        else:
            connection.execute(sa.update(tables.sweep).where(*this).values(run=run))
            stage = Stage(row.state)
    return Pass(
        sweep=row.id,
        name=subject.name,
        key_type=subject.key_type,
        stage=stage,
        started_at=row.started_at.astimezone(UTC),
        number=number,
        at=at,
        rows=rows,
        files=row.bound.get(FILES),
        given_up=why,
    )


def _next(connection: sa.Connection, sweep: str, subject: Subject) -> tuple[int, Key | None, int, str | None]:
    """Which range comes next, where it begins, and the rows before it; a fault where those that are there do not join."""
    v = tables.verified_range.c
    query = sa.select(v.number, v.low, v.high, v.buckets, v["rows"].label("seen")).where(
        v.sweep == sweep, v.data_type == subject.name
    )
    rows = connection.execute(query.order_by(v.number)).all()
    if not rows:
        return 0, None, 0, None
    if rows[-1].buckets is not None:
        return 0, None, 0, "it was read in one piece, and stopped before its end"
    at: bytes | None = None
    for number, row in enumerate(rows):
        low, high = (None if b is None else bytes(b) for b in (row.low, row.high))
        if row.number != number or low != at:
            return 0, None, 0, f"its ranges do not join at number {number}"
        at = high
    seen = sum(int(row.seen) for row in rows)
    return len(rows), None if at is None else subject.key_type.from_bound(at), seen, None


def emptied(before: Mapping[str, Any], scene: Scene, subject: Subject) -> list[str]:
    """What of the registry has other files than when that pass began, in words."""
    files = before.get(FILES)
    return [] if files is None else world.replaced(files, world.files(scene, subject.registry.relation, "registry"))


def open_(ledger: Ledger, scene: Scene, subject: Subject, run: str, mark: Mark, *, deletes: bool) -> Pass:
    """Begin a pass."""
    files = world.files(scene, subject.registry.relation, "registry")
    row = {
        "id": run,
        "data_type": subject.name,
        "run": run,
        "state": Stage.RUNNING,
        "bound": bound(scene, subject, deletes=deletes) | {FILES: files},
        "started_at": mark.at,
        "note": mark.why,
    }
    highest = None if mark.highest is None else subject.key_type.bound(mark.highest)
    stood = {
        "run": run,
        "data_type": subject.name,
        "server_time": mark.at,
        "oldest_open": mark.low,
        "highest": highest,
        "lsn": mark.lsn,
    }
    with ledger.begin("begin a sweep") as connection:
        connection.execute(sa.insert(tables.sweep).values(row))
        connection.execute(sa.insert(tables.mark).values(stood))
    return Pass(
        sweep=run, name=subject.name, key_type=subject.key_type, stage=Stage.RUNNING, started_at=mark.at, files=files
    )  # fmt: skip


def earlier_marks(ledger: Ledger, scene: Scene, subject: Subject) -> list[Earlier]:
    """Marks of the same source table: who could not write another one was not in the mark of that."""
    m, s = tables.mark.c, tables.sweep.c
    query = sa.select(m.server_time, m.oldest_open, s.bound).join(
        tables.sweep, sa.and_(s.id == m.run, s.data_type == m.data_type)
    )
    now = bound(scene, subject, deletes=True)
    same = ("source server", "source database", "source table")
    with ledger.begin("read the earlier marks") as connection:
        rows = connection.execute(query.order_by(m.server_time.desc()).limit(1000)).all()
    return [
        Earlier(at=at.astimezone(UTC), low=None if low is None else low.astimezone(UTC))
        for at, low, before in rows
        if all(before.get(what) == now[what] for what in same)
    ]


def store(ledger: Ledger, held: Held, going_on: Pass, part: Part) -> None:
    """Remember one part, and move on. Raises RefusedWrite where another has taken the pass over."""
    of = going_on.key_type
    number, buckets = (going_on.number, None) if part.bucket is None else part.bucket
    last = part.high is None if part.bucket is None else number + 1 == part.bucket[1]
    row = {
        "sweep": going_on.sweep,
        "data_type": going_on.name,
        "number": number,
        "low": None if part.low is None else of.bound(part.low),
        "high": None if part.high is None else of.bound(part.high),
        "buckets": buckets,
        "at": part.at,
        "lsn": part.lsn,
        "rows": part.rows,
        "registered": part.registered,
        "announced": part.announced,
        "needles": part.needles,
        "verified": len(part.verified),
        "keys": part.verified.serialize(),
        "missing": part.missing.serialize(),
        "surplus": part.surplus.serialize(),
        "stale": part.stale.serialize(),
    }
    with ledger.begin("remember a verified range") as connection:
        _ours(connection, held)
        connection.execute(sa.insert(tables.verified_range).values(row))
        if last:
            _move(connection, going_on, state=Stage.COVERED)
    going_on.number, going_on.at = number + 1, part.high
    if last:
        going_on.stage = Stage.COVERED


def total(ledger: Ledger, going_on: Pass) -> Total:
    """All ranges of a pass together, without the keys they verified."""
    v = tables.verified_range.c
    counts = [v[name] for name in ("rows", "registered", "announced", "needles", "verified")]
    query = sa.select(v.number, v.at, *counts, v.missing, v.surplus, v.stale)
    query = query.where(v.sweep == going_on.sweep, v.data_type == going_on.name).order_by(v.number)
    sums, ranges, last_at = [0] * len(counts), 0, None
    sets = [going_on.key_type.empty() for _ in range(3)]
    with ledger.begin("read what the sweep saw") as connection:
        for _, at, *rest in ledger.stream(connection, query, 16):
            ranges += 1
            sums = [before + int(more) for before, more in zip(sums, rest[: len(counts)], strict=True)]
            found = [going_on.key_type.parse(bytes(data)) for data in rest[len(counts) :]]
            if any(map(len, found)):
                last_at = at.astimezone(UTC) if last_at is None else max(last_at, at.astimezone(UTC))
                sets = [all_ | some for all_, some in zip(sets, found, strict=True)]
    rows, registered, announced, needles, verified = sums
    return Total(
        ranges=ranges, rows=rows, registered=registered, announced=announced, needles=needles, verified=verified,
        missing=sets[0], surplus=sets[1], stale=sets[2], last_at=last_at,
    )  # fmt: skip


def finish(ledger: Ledger, held: Held, going_on: Pass, **told: Any) -> None:
    """Judged. Of passes before it only their numbers are kept: what they verified is verified anew."""
    s = tables.sweep.c
    older = (s.data_type == going_on.name, s.id < going_on.sweep)
    with ledger.begin("finish the sweep") as connection:
        _ours(connection, held)
        _move(connection, going_on, state=Stage.FINISHED, **told)
        _forget(connection, connection.execute(sa.select(s.id).where(*older)).scalars().all(), going_on.name)
    going_on.stage = Stage.FINISHED


def _move(connection: sa.Connection, going_on: Pass, **values: Any) -> None:
    s = tables.sweep.c
    this = (s.id == going_on.sweep, s.data_type == going_on.name)
    if connection.execute(sa.update(tables.sweep).where(*this).values(values)).rowcount != 1:
        raise LedgerError(f"the sweep {going_on.sweep} of {going_on.name} is gone from the ledger")


def _ours(connection: sa.Connection, held: Held) -> None:
    """Lock our lease against a takeover until the transaction ends, or refuse."""
    t = tables.lease.c
    query = sa.select(t.epoch).where(*held.ours()).with_for_update(read=True, key_share=True)
    if connection.execute(query).one_or_none() is None:
        raise Overtaken(
            f"another process has taken over the sweep of {held.name.partition(':')[2]}",
            hint="nothing was stored after that; `fencepost runs` shows the other run",
        )


class Overtaken(RefusedWrite):
    """Another process goes on with this pass."""


def _forget(connection: sa.Connection, sweeps: Sequence[str], name: str) -> None:
    v = tables.verified_range.c
    connection.execute(sa.delete(tables.verified_range).where(v.sweep.in_(sweeps), v.data_type == name))


def newest(ledger: Ledger, name: str, *stages: Stage) -> sa.Row[Any] | None:
    """The newest pass of a data type at one of these stages, with its mark."""
    s, m = tables.sweep.c, tables.mark.c
    query = (
        sa.select(tables.sweep, m.oldest_open.label("low"), m.highest)
        .join(tables.mark, sa.and_(m.run == s.id, m.data_type == s.data_type))
        .where(s.data_type == name, s.state.in_(stages))
        .order_by(s.id.desc())
        .limit(1)
    )
    with ledger.begin("look for the last sweep") as connection:
        return connection.execute(query).one_or_none()
