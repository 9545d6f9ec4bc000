"""`fencepost status`: how far the log is read, what nobody read, since when a window is safe, what a cutover would take.

Reads the ledger, and asks the databases only for the planner's row counts and whether a sweep's tables are still there.
On an absent ledger it says so and creates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from databases.connect import connect
from databases.ledger import Ledger
from reconciler import catalog, numbers, pipelines
from reconciler.auditing import standing
from reconciler.auditing.standing import Estimate
from reconciler.numbers import Numbers
from reconciler.sweeping.known import Known, known
from schemas import ledger as tables
from schemas.data_types import DataType
from schemas.errors import FencepostError
from schemas.log_state import Hole
from schemas.settings import Settings
from schemas.verdict import Report, utc

#: Runs that compare whole tables, and how they call that; so many of them tell how long it takes.
COMPARE, WHOLE, NEWEST = ("gaps", "cutover", "sweep"), "full", 20

#: The high watermark of each (topic, partition), asked now. Raises UnavailableError.
Ends = Callable[[], Mapping[tuple[str, int], int]]


@dataclass(slots=True, kw_only=True)
class TypeStatus:
    """One data type. `behind` is in records, None where the broker did not answer; `estimate_s` is of a cutover of it alone."""

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


def run(settings: Settings, ledger: Ledger, *, ends: Ends | None, names: Sequence[str] = ()) -> Status:
    """Of these data types, or of all. Raises UnavailableError where the ledger cannot be reached, LedgerError where it is of
    another version."""
    chosen = settings.chosen(list(names))
    if not ledger.exists():
        note = f"there is no ledger yet in schema {ledger.schema!r}: nothing was ever read, `fencepost track` begins"
        return Status(ledger=False, types=[_unread(name) for name in chosen], notes=[note])
    ledger.require()
    status = Status(ledger=True)
    high = _high(ends, status)
    compares = _compares(ledger)
    rows = _rows(chosen, settings, status) if compares else {}
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
    for name, data_type in chosen.items():
        mine = [p for p in positions if p.topic in data_type.topics]
        behind = _behind(mine, high, data_type.topics)
        status.types.append(
            TypeStatus(
                name=name,
                behind=behind,
                read_to=max((p.at.astimezone(UTC) for p in mine), default=None),
                partitions=len(mine),
                sweep=known(settings, ledger, name),
                fewer=_unheard(fewer.get(name), 0 if ends is None else behind),
                estimate_s=_estimate(settings, name, compares.get(name), rows.get(name, 0.0)),
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


def _unheard(fewer: Estimate | None, behind: int | None) -> Estimate | None:
    """What was announced and not read yet is not missing; where the log does not answer, nobody knows how much that is."""
    if fewer is None or behind is None:
        return None
    return replace(fewer, missing=max(0.0, fewer.missing - behind))


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


def _compares(ledger: Ledger) -> dict[str, tuple[int, float]]:
    """Rows and seconds of one compare of each data type, as measured by the largest whole one among the newest runs: of few
    rows what every compare costs would be taken for the cost of a row."""
    query = (
        sa.select(tables.run.c.report)
        .where(tables.run.c.state == "finished", tables.run.c.report.is_not(None), tables.run.c.kind.in_(COMPARE))
        .order_by(tables.run.c.id.desc())
        .limit(NEWEST)
    )
    with ledger.begin("read the newest runs") as connection:
        reports = connection.execute(query).scalars().all()
    out = dict[str, tuple[int, float]]()
    for t in (t for text in reports for t in Report.model_validate_json(text).data_types):
        if t.rows and t.compared_s is not None and t.window.strategy == WHOLE and t.rows > out.get(t.name, (0, 0.0))[0]:
            out[t.name] = t.rows, t.compared_s
    return out


def _estimate(settings: Settings, name: str, measured: tuple[int, float] | None, rows: float) -> float | None:
    """Seconds that a cutover of this data type alone would take: two compares, and the silence it waits for. In tenths, rounded
    up: no cutover takes no time at all."""
    if measured is None:
        return None
    silence = 0.0 if pipelines.exact(settings) else settings.data_types[name].settle_or(settings.fence.settle).total_seconds()
    of_rows, seconds = measured
    return max(0.1, math.ceil(10 * (silence + 2 * seconds * (rows or of_rows) / of_rows)) / 10)


def _rows(chosen: Mapping[str, DataType], settings: Settings, status: Status) -> dict[str, float]:
    """The planner's guess of each source table's rows; an estimate of time needs no better."""
    try:
        connection = connect(settings.source.dsn, "the source", read_only=True)
    except FencepostError as error:
        status.notes.append(f"how many rows there are now is not known: {error}")
        return {}
    with connection:
        out = {}
        for name, data_type in chosen.items():
            try:
                out[name] = max(0.0, catalog.relation(connection, "the source", data_type.source.table).rows)
            except FencepostError as error:
                status.notes.append(f"how many rows {name} has now is not known: {error}")
        return out
