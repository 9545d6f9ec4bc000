"""Read past runs back, and check that nobody changed them since. Creates nothing, also where there is no ledger.

What the check can show: that a run, and every run before and after it, reads as it was written, with what it showed,
found and inserted, and that none is missing in between or at the end. What it cannot: whoever may write the whole ledger
can write a whole new chain, and a ledger put back from an old backup is whole in itself. So the newest digest is printed;
note it elsewhere, and compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import alive
from reconciler.history import GENESIS, Link, State, links
from schemas import ledger as tables
from schemas.errors import LedgerError, SettingsError
from schemas.keys import KeySet, KeyType, key_type
from schemas.verdict import Report, utc

LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One run as the ledger remembers it."""

    run: str
    kind: str
    state: State
    started_at: datetime
    finished_at: datetime | None
    verdict: str | None
    exit_code: int | None
    note: str | None
    number: int | None
    digest: str | None
    silent_since: datetime | None = None  #: running, and without a sign of life since then: killed, most likely
    text: str | None = None  #: the stored JSON, read only where one run is asked for
    world: Mapping[str, Any] | None = None  #: what it judged; likewise

    @property
    def report(self) -> Report | None:
        """None where the run did not judge: it failed, or it was an undo."""
        return None if self.text is None or self.verdict is None else Report.model_validate_json(self.text)

    @property
    def findings(self) -> dict[str, Any] | None:
        """What an audit found: data type, time, and by class and cause how many rows, with some of their keys."""
        if self.kind != "audit" or self.text is None:
            return None
        told: dict[str, Any] = json.loads(self.text)
        return told

    def plain(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "kind": self.kind,
            "state": str(self.state),
            "started_at": utc(self.started_at),
            "finished_at": None if self.finished_at is None else utc(self.finished_at),
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "note": self.note,
            "number": self.number,
            "digest": self.digest,
            "silent_since": None if self.silent_since is None else utc(self.silent_since),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What walking the chain showed."""

    run: str
    intact: bool
    seen: str
    links: int
    newest: str  #: the digest to note elsewhere

    def plain(self) -> dict[str, Any]:
        return {"run": self.run, "intact": self.intact, "seen": self.seen, "links": self.links, "newest": self.newest}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPart:
    """A chunk of the keys that a run found, of one class and cause, with the type that prints them."""

    data_type: str
    gap_class: str
    cause: str
    keys: KeySet
    key_type: KeyType


def runs(ledger: Ledger, limit: int = 20) -> list[Past]:
    """The newest runs first."""
    with ledger.begin("list the runs") as connection:
        # What an audit found fits its line; the reports of the others are long.
        found = sa.case((tables.run.c.kind == "audit", tables.run.c.report)).label("report")
        rows = connection.execute(
            sa.select(*_COLUMNS, found).order_by(tables.run.c.started_at.desc(), tables.run.c.id.desc()).limit(limit)
        )
        return [_past(row) for row in rows]


def resolve(ledger: Ledger, asked: str) -> str:
    """The id of the one run that begins or ends with `asked`, or the newest for `latest`. Raises SettingsError."""
    text = asked.strip().upper().translate(str.maketrans("ILO", "110"))
    with ledger.begin("look up a run") as connection:
        identity = tables.run.c.id
        newest = connection.scalar(sa.select(identity).order_by(identity.desc()).limit(1))
        if newest is None:
            raise SettingsError(f"there is no run {asked!r}: the ledger remembers none yet")
        if asked.strip().lower() == LATEST:
            return str(newest)
        like = identity.startswith(text, autoescape=True) | identity.endswith(text, autoescape=True)
        found = list(connection.scalars(sa.select(identity).where(like).order_by(identity.desc()).limit(4)))
    if text in found:
        return text
    if not text or not found:
        raise SettingsError(f"there is no run {asked!r}", hint="`fencepost runs` lists them; did you mean 'latest'?")
    if len(found) > 1:
        some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise SettingsError(f"several runs begin or end with {asked!r}: {some}", hint="give more of the id, or 'latest'")
    return str(found[0])


def load(ledger: Ledger, run: str) -> Past:
    """One run with its report. Raises LedgerError where it is gone."""
    with ledger.begin("read a run") as connection:
        r = tables.run.c
        row = connection.execute(sa.select(*_COLUMNS, r.report, r.world).where(r.id == run)).one_or_none()
    if row is None:
        raise LedgerError(f"the ledger holds no run {run}")
    return _past(row)


def asked_alike(ledger: Ledger, run: str, kind: str, settings: str) -> bool:
    """Whether that run is of this kind and these settings, whatever became of it."""
    r = tables.run.c
    with ledger.begin("look what a run was asked") as connection:
        found = connection.scalar(sa.select(r.id).where(r.id == run, r.kind == kind, r.settings == settings))
    return found is not None


def found_keys(ledger: Ledger, run: str) -> Iterator[FoundPart]:
    """Every key the run found, a chunk at a time."""
    g = tables.gap.c
    order = (g.data_type, g["class"], g.cause, g.chunk)
    with ledger.begin("read what a run found") as connection:
        # Whoever reads may turn pages by hand, and nobody waits for what is only read.
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        rows = connection.execute(sa.select(tables.data_type.c.name, tables.data_type.c.kinds))
        kinds = {row.name: row.kinds.split(",") for row in rows}
        for place in connection.execute(sa.select(*order).where(g.run == run).order_by(*order)).all():
            here = sa.and_(g.run == run, *(column == value for column, value in zip(order, place, strict=True)))
            data = connection.execute(sa.select(g["keys"]).where(here)).scalar_one()
            key = _key_type(place[0], kinds)
            name, gap_class, cause, _ = place
            yield FoundPart(data_type=name, gap_class=gap_class, cause=cause, keys=key.parse(bytes(data)), key_type=key)


def verify(ledger: Ledger, run: str) -> Checked:
    """Recompute every digest of the chain and see that each run names the one before it."""
    before: Link | None = None
    broken: str | None = None
    count, met = 0, False
    with ledger.begin("check the chain of runs", isolation="REPEATABLE READ") as connection:
        for link in links(connection):
            count += 1
            met = met or link.run == run
            broken = broken or _fault(before, link)
            before = link
        end = connection.execute(sa.select(tables.chain.c.number, tables.chain.c.digest)).one_or_none()
        broken = broken or _cut_short(before, None if end is None else (end.number, end.digest))
    newest = before.stored if before is not None and before.stored is not None else GENESIS
    if not met and broken is None:
        broken = f"run {run} has not ended, so nothing vouches for it yet"
    seen = broken or f"{count} {'run reads' if count == 1 else 'runs read'} as written, none is missing in between"
    return Checked(run=run, intact=broken is None, seen=seen, links=count, newest=newest)


def _fault(before: Link | None, link: Link) -> str | None:
    if link.digest() != link.stored:
        return f"run {link.run} (number {link.number}) was changed after it was recorded"
    if before is None:
        # Retention drops the low end; what is left must still begin somewhere that names a predecessor.
        return None if link.number > 1 or link.previous == GENESIS else f"the first run {link.run} names a predecessor"
    if link.number != before.number + 1:
        return f"between run {before.run} and {link.run} {link.number - before.number - 1} recorded runs are missing"
    if link.previous != before.stored:
        return f"run {link.run} does not follow on {before.run}: one of them was replaced"
    return None


def _cut_short(last: Link | None, end: tuple[int, str] | None) -> str | None:
    """What the chain's recorded end says against the last run that is there."""
    number = 0 if last is None else last.number
    if end is None:
        return f"the end of the chain is not recorded any more, and {number} runs are" if number else None
    if end[0] > number:
        return f"the last {end[0] - number} recorded runs are missing: the chain ended with number {end[0]}"
    if last is not None and end != (last.number, last.stored):
        return f"the chain ended with number {end[0]}; run {last.run} (number {number}) was put there afterwards"
    return None


_COLUMNS = [
    *(column for column in tables.run.c if column.name not in ("settings", "report", "previous", "world")),
    sa.select(tables.lease.c.expires_at - alive.LIFE)
    .where(tables.lease.c.name == alive.LEASE + tables.run.c.id, tables.run.c.state == State.RUNNING)
    .where(tables.lease.c.expires_at <= sa.func.clock_timestamp())
    .correlate(tables.run)
    .scalar_subquery()
    .label("silent_since"),
]


def _past(row: sa.Row[*tuple[Any, ...]]) -> Past:
    values = dict(row._mapping)
    values["run"] = values.pop("id")
    values["state"] = State(values["state"])
    if "report" in values:
        values["text"] = values.pop("report")
    return Past(**values)


def _key_type(name: str, kinds: dict[str, list[str]]) -> KeyType:
    if name not in kinds:
        raise LedgerError(f"the ledger does not know the key type of data type {name!r} any more")
    return key_type(kinds[name][0] if len(kinds[name]) == 1 else kinds[name])
