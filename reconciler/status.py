"""`fencepost status`: how far the log is read, what nobody read, since when a window is safe, what a cutover would take.

Reads the ledger, and asks the databases only for the planner's row counts and whether a sweep's tables are still there.
On an absent ledger it says so and creates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from databases.connect import connect
from databases.ledger import Ledger
from reconciler import catalog, numbers
from reconciler.auditing import standing
from reconciler.auditing.standing import Estimate
from reconciler.numbers import Numbers
from reconciler.sweeping.known import Known, known
from schemas import ledger as tables
from schemas.errors import FencepostError
from schemas.log_state import Hole
from schemas.settings import Settings
from schemas.verdict import Report, utc

#: The high watermark of each (topic, partition), asked now. Raises UnavailableError.
Ends = Callable[[], Mapping[tuple[str, int], int]]


@dataclass(slots=True, kw_only=True)
class TypeStatus:
    """One data type. `behind` is in records, None where the broker did not answer; `estimate_s` is in seconds."""

    name: str
    behind: int | None
    read_to: datetime | None
    partitions: int
    sweep: Known | None = None
    estimate_s: float | None = None
    fewer: Estimate | None = None  #: creations fewer than usual, while the audit cannot look; never a verdict

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "log": {
                "behind": self.behind,
                "as_of": None if self.read_to is None else utc(self.read_to),
                "estimated_missing": None if self.fewer is None else round(self.fewer.missing),
            },
            "sweep": None if self.sweep is None else self.sweep.plain(),
            "safe_since": None if self.sweep is None or self.sweep.safe_since is None else utc(self.sweep.safe_since),
            "estimate_s": self.estimate_s,
        }


@dataclass(slots=True, kw_only=True)
class Status:
    """What an operator asks before a cutover."""

    ledger: bool
    types: list[TypeStatus] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    quarantine_open: int = 0
    quarantine_accepted: int = 0
    numbers: list[Numbers] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As `--json` promises."""
        return {
            "data_types": [t.plain() for t in self.types],
            "holes": [_hole(hole) for hole in self.holes],
            "quarantine": {"open": self.quarantine_open, "accepted": self.quarantine_accepted},
            "numbers": [found.plain() for found in self.numbers],
            "notes": self.notes,
        }


def _hole(hole: Hole) -> dict[str, Any]:
    return {
        "id": hole.name,
        "topic": hole.topic,
        "partition": hole.partition,
        "from_offset": hole.from_offset,
        "to_offset": hole.to_offset,
        "kind": hole.kind,
        "state": hole.state,
        "reason": hole.reason,
        "by": hole.by,
    }


def run(settings: Settings, ledger: Ledger, *, ends: Ends | None) -> Status:
    """Raises UnavailableError where the ledger cannot be reached, LedgerError where it is of another version."""
    if not ledger.exists():
        note = f"there is no ledger yet in schema {ledger.schema!r}: nothing was ever read, `fencepost track` begins"
        return Status(ledger=False, types=[_unread(name) for name in settings.data_types], notes=[note])
    ledger.require()
    status = Status(ledger=True)
    high = _high(ends, status)
    rate = _rate(ledger)
    rows = _rows(settings, status) if rate else {}
    with ledger.begin("read the positions") as connection:
        positions = connection.execute(sa.select(tables.position).where(_current(tables.position))).all()
        status.holes = [Hole.from_row(row) for row in connection.execute(_holes())]
        counts: dict[str, int] = dict(
            connection.execute(
                sa.select(tables.quarantine.c.state, sa.func.count())
                .where(_current(tables.quarantine))
                .group_by(tables.quarantine.c.state)
            ).all()
        )
        fewer = standing.estimated(connection, settings)
        status.numbers = numbers.read(connection, settings)
    status.quarantine_open = int(counts.get("open", 0))
    status.quarantine_accepted = int(counts.get("accepted", 0))
    for name, data_type in settings.data_types.items():
        mine = [p for p in positions if p.topic in data_type.topics]
        swept = known(settings, ledger, name)
        size = rows.get(name, 0.0) or (float(swept.rows) if swept else 0.0)  # a table that was never analysed says 0
        status.types.append(
            TypeStatus(
                name=name,
                behind=_behind(mine, high, data_type.topics),
                read_to=max((p.at.astimezone(UTC) for p in mine), default=None),
                partitions=len(mine),
                sweep=swept,
                fewer=fewer.get(name),
                estimate_s=round(size / rate, 1) if rate and (size or name in rows) else None,
            )
        )
    return status


def _unread(name: str) -> TypeStatus:
    return TypeStatus(name=name, behind=None, read_to=None, partitions=0)


def _current(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.incarnation == sa.select(sa.func.max(tables.incarnation.c.id)).scalar_subquery()


def _holes() -> sa.Select[Any]:
    h = tables.hole
    return sa.select(h).where(_current(h)).order_by(h.c.id)


def _high(ends: Ends | None, status: Status) -> Mapping[tuple[str, int], int] | None:
    if ends is None:
        return None
    try:
        return ends()
    except FencepostError as error:
        status.notes.append(f"the event log did not answer, so how far behind we are is not known: {error}")
        return None


def _behind(positions: list[sa.Row[Any]], high: Mapping[tuple[str, int], int] | None, topics: tuple[str, ...]) -> int | None:
    if high is None:
        return None
    read = {(p.topic, p.partition): p.next_offset for p in positions}
    return sum(max(0, end - int(read.get(place, 0))) for place, end in high.items() if place[0] in topics)


def _rate(ledger: Ledger) -> float | None:
    """Source rows a second that a cutover would do, as the newest finished run that compared any did. A sweep is in no hurry
    and tells nothing; a cutover compares twice, and `gaps` once."""
    query = (
        sa.select(tables.run.c.report)
        .where(tables.run.c.state == "finished", tables.run.c.report.is_not(None), tables.run.c.kind.in_(("gaps", "cutover")))
        .order_by(tables.run.c.id.desc())
        .limit(5)
    )
    with ledger.begin("read the newest runs") as connection:
        reports = connection.execute(query).scalars().all()
    for text in reports:
        report = Report.model_validate_json(text)
        seconds = (report.finished_at - report.started_at).total_seconds()
        rows = sum(t.rows for t in report.data_types)
        if rows and seconds > 0:
            return rows / seconds / (2 if report.kind == "gaps" else 1)
    return None


def _rows(settings: Settings, status: Status) -> dict[str, float]:
    """The planner's guess of each source table's rows; an estimate of time needs no better."""
    try:
        connection = connect(settings.source.dsn, "the source", read_only=True)
    except FencepostError as error:
        status.notes.append(f"no estimate: {error}")
        return {}
    with connection:
        out = {}
        for name, data_type in settings.data_types.items():
            try:
                out[name] = max(0.0, catalog.relation(connection, "the source", data_type.source.table).rows)
            except FencepostError as error:
                status.notes.append(f"no estimate for {name}: {error}")
        return out
