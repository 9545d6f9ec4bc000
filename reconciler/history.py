"""Remember what every run asked, showed and found, each chained to the one before, so that it can be checked later.

A run is opened, and ends once: finished with its report, failed, interrupted, or killed. At its end it takes the next
number and a digest over what it says and the digest before it: whoever changes, adds or removes a run afterwards breaks
the chain behind it. Reading and checking are `reconciler.recall`; a run whose process died is closed by
`reconciler.killed`; nothing here judges.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, SecretStr
from sqlalchemy.dialects.postgresql import insert

from databases.ledger import Ledger
from reconciler import alive
from schemas import ledger as tables
from schemas.errors import Exit, FencepostError, LedgerError
from schemas.keys import ByteKeys, IntKeys, KeySet
from schemas.settings import Dsn, Settings
from schemas.verdict import Proof, Report

#: Chosen once, at random: one run at a time may take a number.
_CHAIN_LOCK = 0x66656E6365687374
#: What the first run is chained to.
GENESIS = "sha256:" + "0" * 64
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class State(StrEnum):
    """How far a run has come."""

    RUNNING = "running"  #: or killed, and nobody has settled it yet
    FINISHED = "finished"  #: it judged, or did what it was told
    FAILED = "failed"  #: it could not finish; the note says why
    INTERRUPTED = "interrupted"  #: it was told to stop; the note says where
    KILLED = "killed"  #: its process died without a word; another run found that out


#: Data type -> (class, cause) -> the keys that a run found, gaps or orphans.
FoundKeys = Mapping[str, Mapping[tuple[str, str], KeySet]]


def new_id(now: datetime) -> str:
    """A ULID: 48 bits of milliseconds, 80 random bits, as 26 signs that sort by time."""
    value = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> 5 * place & 31] for place in reversed(range(26)))


def settings_hash(settings: Settings, asked: Sequence[str] = ()) -> str:
    """What the answer may depend on, without secrets: another password is no other run, another database is.

    `asked` is what the command line added. How we log, alert and serve is left out.
    """
    told = {
        name: _public(getattr(settings, name))
        for name in type(settings).model_fields
        if name not in ("logs", "alerts", "audit")
    }
    return _sha256(json.dumps([told, sorted(asked)], sort_keys=True, default=str))


def begin(
    ledger: Ledger, kind: str, settings: str, *, world: Mapping[str, Any] | None = None, now: datetime | None = None
) -> str:
    """Open a run of these settings (`settings_hash`), about this world where it judges; its id."""
    now = now or datetime.now(UTC)
    run = new_id(now)
    row: dict[str, Any] = {"id": run, "kind": kind, "settings": settings, "state": State.RUNNING, "started_at": now}
    if world is not None:
        row["world"] = world
    with ledger.begin("record the run") as connection:
        connection.execute(sa.insert(tables.run).values(row))
        alive.begun(connection, run)
    return run


def finish(ledger: Ledger, run: str, report: Report, keys: FoundKeys | None = None, *, code: int | None = None) -> str:
    """Close a run with its report and every key it found; the JSON text that was stored, to be printed as it is.

    `code` is the exit code where it is not the verdict's. Raises LedgerError where the run has ended before.
    """
    text = report.json_text()
    end = {
        "state": State.FINISHED,
        "finished_at": report.finished_at,
        "verdict": str(report.verdict),
        "exit_code": int(report.verdict.exit_code if code is None else code),
        "report": text,
    }
    with ledger.begin("record what the run found") as connection:
        _store_proofs(connection, run, report.proofs)
        _store_keys(connection, run, keys or {})
        _close(connection, run, end)
    return text


def done(ledger: Ledger, run: str, text: str, *, now: datetime | None = None) -> None:
    """Close a run that did what it was told and judged nothing; `text` is the JSON it prints."""
    end = {
        "state": State.FINISHED,
        "finished_at": now or datetime.now(UTC),
        "exit_code": int(Exit.CLEAR),
        "report": text,
    }
    with ledger.begin("record what the run did") as connection:
        _close(connection, run, end)


def record(
    connection: sa.Connection,
    kind: str,
    settings: str,
    text: Callable[[str], str],
    keys: FoundKeys,
    *,
    at: datetime,
    now: datetime | None = None,
) -> str:
    """A run that begins and ends within the caller's transaction, and judged no claim: what a look of the audit found."""
    now = now or datetime.now(UTC)
    run = new_id(now)
    row = {"id": run, "kind": kind, "settings": settings, "state": State.RUNNING, "started_at": at}
    connection.execute(sa.insert(tables.run).values(row))
    _store_keys(connection, run, keys)
    end = {"state": State.FINISHED, "finished_at": now, "exit_code": int(Exit.CLEAR), "report": text(run)}
    _close(connection, run, end)
    return run


def fail(ledger: Ledger, run: str, error: BaseException | str, *, now: datetime | None = None) -> str | None:
    """Close a run that could not finish, with the reason; what there is to say about rows that it had written by then."""
    code = error.exit_code if isinstance(error, FencepostError) else Exit.FAILED
    note = str(error) if isinstance(error, FencepostError | str) else f"unexpected {type(error).__name__}"
    return _end(ledger, run, State.FAILED, note, code, now)


def interrupted(ledger: Ledger, run: str, where: str, *, now: datetime | None = None) -> str | None:
    """Close a run that was told to stop; `where` says what it had done and what it had not. As `fail`."""
    return _end(ledger, run, State.INTERRUPTED, where, Exit.FAILED, now)


def killed(connection: sa.Connection, run: str, note: str) -> None:
    """Close a run whose process is gone, within the caller's transaction. When it ended, and with what code, nobody knows."""
    _close(connection, run, {"state": State.KILLED, "note": note})


def _end(ledger: Ledger, run: str, state: State, note: str, code: Exit, now: datetime | None) -> str | None:
    end = {"state": state, "finished_at": now or datetime.now(UTC), "exit_code": int(code), "note": note}
    with ledger.begin("record how the run ended") as connection:
        more = (
            f"registry rows were written before that: `fencepost undo {run}` takes them back"
            if _wrote(connection, run)
            else None
        )
        _close(connection, run, end | {"note": f"{note}; {more}"} if more else end)
    return more


def _wrote(connection: sa.Connection, run: str) -> bool:
    """Whether the run may have changed the registry: whoever sees no verdict has to know."""
    journals = (sa.select(journal.c.run).where(journal.c.run == run) for journal in (tables.backfill, tables.removal))
    return connection.execute(sa.union_all(*journals).limit(1)).first() is not None


# -- storing ----------------------------------------------------------------------------------------------------------


def _store_proofs(connection: sa.Connection, run: str, proofs: Iterable[Proof]) -> None:
    rows = [
        {
            "run": run,
            "number": n,
            "name": p.name,
            "data_type": p.data_type,
            "held": p.held,
            "seen": p.seen,
            "try": p.try_,
        }
        for n, p in enumerate(proofs)
    ]
    if rows:
        connection.execute(sa.insert(tables.proof), rows)


def _store_keys(connection: sa.Connection, run: str, keys: FoundKeys) -> None:
    """A row for every chunk of keys."""
    for name, classes in keys.items():
        for (gap_class, cause), found in classes.items():
            for chunk, part in enumerate(chunked(found)):
                place = {"run": run, "data_type": name, "class": gap_class, "cause": cause, "chunk": chunk}
                connection.execute(sa.insert(tables.gap).values(**place, count=len(part), keys=part.serialize()))


def chunked(keys: KeySet) -> Iterator[KeySet]:
    """As many parts as rows of the ledger take."""
    size = tables.CHUNK if isinstance(keys, IntKeys) else tables.BYTE_CHUNK
    if len(keys) <= size:
        if len(keys):
            yield keys
        return
    column = keys.column()
    for start in range(0, len(column), size):
        part = column[start : start + size]
        yield IntKeys.of(part) if isinstance(keys, IntKeys) else ByteKeys.of(part)


def _close(connection: sa.Connection, run: str, end: Mapping[str, Any]) -> None:
    """Take the next number and chain the run to the one before it."""
    # Numbers have no holes: whoever ends a run waits here until the one before has committed or vanished. Without the
    # lock two runs that end at once would both be chained to the same predecessor.
    connection.execute(sa.text("SET LOCAL lock_timeout = '30s'"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CHAIN_LOCK)))
    updated = connection.execute(
        sa.update(tables.run).where(tables.run.c.id == run, tables.run.c.state == State.RUNNING).values(end)
    )
    if updated.rowcount != 1:
        raise _closed_before(connection, run)
    alive.ended(connection, run)
    last = connection.execute(
        sa.select(tables.run.c.number, tables.run.c.digest)
        .where(tables.run.c.number.is_not(None))
        .order_by(tables.run.c.number.desc())
        .limit(1)
    ).one_or_none()
    end_ = connection.execute(sa.select(tables.chain.c.number, tables.chain.c.digest)).one_or_none()
    # Where the last runs were removed, the next one is chained to what was there, so that the hole stays to be seen.
    newest = end_ if end_ is not None and (last is None or end_.number > last.number) else last
    number, previous = (1, GENESIS) if newest is None else (newest.number + 1, newest.digest)
    connection.execute(sa.update(tables.run).where(tables.run.c.id == run).values(number=number, previous=previous))
    digest = next(links(connection, run)).digest()
    connection.execute(sa.update(tables.run).where(tables.run.c.id == run).values(digest=digest))
    now_last = insert(tables.chain).values(number=number, digest=digest)
    connection.execute(
        now_last.on_conflict_do_update(
            index_elements=[tables.chain.c.id], set_={"number": now_last.excluded.number, "digest": now_last.excluded.digest}
        )
    )


def _closed_before(connection: sa.Connection, run: str) -> LedgerError:
    """A verdict that cannot be stored may not be told."""
    state = connection.scalar(sa.select(tables.run.c.state).where(tables.run.c.id == run))
    if state == State.KILLED:
        return LedgerError(
            f"the run {run} was given up for dead: it gave no sign of life for a minute and longer",
            hint="what it found is not kept; run it again",
        )
    return LedgerError(f"the run {run} cannot be closed: it has ended before, or was never opened")


# -- the chain --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """One ended run as the chain sees it: hashes of the large parts, the small parts themselves."""

    run: str
    number: int
    previous: str
    stored: str | None  #: the digest that the ledger holds
    said: tuple[object, ...]

    def digest(self) -> str:
        """Recomputed from what the ledger holds now."""
        return _sha256(json.dumps([self.run, self.number, self.previous, *self.said], ensure_ascii=False))


def links(connection: sa.Connection, run: str | None = None) -> Iterator[Link]:
    """The chain in its order, or one run of it. The server hashes reports and keys, so that little travels."""
    r = tables.run.alias("r")
    # Written out: put together from its parts, function by function, this one statement costs a run more than all others.
    columns = (
        *(f"r.{name}" for name in ("id", "number", "previous", "digest", "kind", "settings", "state")),
        *("r.verdict", "r.exit_code", "r.note"),
        *(f"CAST(EXTRACT(epoch FROM {column}) * 1000000 AS bigint)" for column in ("r.started_at", "r.finished_at")),
        _hashed("r.report"),
    )
    query: sa.Select[*tuple[Any, ...]] = sa.select(
        *map(sa.literal_column, columns),
        _lines_hash(tables.proof, "t.number, t.name, t.data_type, t.held, t.seen, t.try", "t.number"),
        _lines_hash(
            tables.gap,
            "t.data_type, t.class, t.cause, t.chunk, t.count, encode(sha256(t.keys), 'hex')",
            't.data_type COLLATE "C", t.class COLLATE "C", t.cause COLLATE "C", t.chunk',
        ),
        # What the run meant to insert and did; not what became of it later: undo and a next run move that on.
        _lines_hash(
            tables.backfill,
            "t.data_type, t.batch, t.target, t.kinds, t.xid,"
            " encode(sha256(t.planned), 'hex'), encode(sha256(t.inserted), 'hex')",
            't.data_type COLLATE "C", t.batch',
        ),
        sa.literal_column(_hashed("CAST(r.world AS text)")),
        # What the run removed from the registry, and how it stood before; not what was put back later.
        _lines_hash(
            tables.removal,
            "t.data_type, t.batch, t.target, t.kinds, t.xid, t.action,"
            f" encode(sha256(t.keys), 'hex'), {_hashed('CAST(t.before AS text)')}",
            't.data_type COLLATE "C", t.batch',
        ),
    ).select_from(r)
    query = query.where(r.c.number.is_not(None), *([] if run is None else [r.c.id == run])).order_by(r.c.number)
    for row in connection.execute(query):
        *said, backfills, world, removals = row[4:]
        if removals is not None:  # runs that removed nothing read as before there were removals
            said.append(removals)
        # Runs of the first version kept no world, and their digest knows nothing of what they inserted.
        yield Link(row[0], row[1], row[2], row[3], tuple(said) if world is None else (*said, backfills, world))


def _hashed(text: str) -> str:
    return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"


def _lines_hash(table: sa.Table, line: str, order: str) -> sa.ScalarSelect[Any]:
    """One hash over a run's rows of a table, in a fixed order; NULL where there are none."""
    lines = _hashed(f"string_agg(CAST(jsonb_build_array({line}) AS text), E'\\n' ORDER BY {order})")
    hashed: sa.ColumnElement[Any] = sa.literal_column(lines)
    return sa.select(hashed).select_from(table.alias("t")).where(sa.text("t.run = r.id")).scalar_subquery()


def _sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _public(value: Any) -> Any:
    """A settings value as something to hash: secrets are only said to be there."""
    if isinstance(value, Dsn):
        return value.described
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, BaseModel):
        return {name: _public(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): _public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(item) for item in value]
    return value
