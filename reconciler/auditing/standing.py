"""Everything that is told of an audit, read from the ledger in one transaction: totals, windows, what waits, what is open.

For `/metrics` and for the webhook alike, so that both say the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import numbers
from reconciler.auditing.book import UNJUDGED
from reconciler.auditing.rate import lower_bound
from reconciler.numbers import Numbers
from schemas import audit_ledger as tables
from schemas import ledger as log_tables
from schemas import metrics as m
from schemas.burn import label, windows
from schemas.ledger import Settled
from schemas.settings import Settings
from schemas.verdict import GapClass

#: So many looks make what is usual, for the estimate from the log alone.
USUAL_OF = 12
GAPS = frozenset(str(c) for c in GapClass)


@dataclass(slots=True)
class Standing:
    """As of one moment."""

    totals: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    positions: Mapping[tuple[str, int], tuple[int, int | None]] = field(default_factory=dict)
    judged_until: dict[str, float] = field(default_factory=dict)
    blind: dict[str, set[str]] = field(default_factory=dict)
    rate_low: dict[tuple[str, str], float] = field(default_factory=dict)
    gaps_open: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    registry_lag_s: dict[str, float] = field(default_factory=dict)
    sweep_finished: dict[str, float] = field(default_factory=dict)
    sweep_progress: dict[str, float] = field(default_factory=dict)
    estimated_missing: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, Numbers] = field(default_factory=dict)
    holes: int = 0
    quarantine: int = 0

    def total(self, name: str, subject: str, kind: str = "") -> int:
        return self.totals.get((name, subject, str(kind)), 0)

    def histogram(self, metric: m.Metric, subject: str) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound, and the sum in seconds."""
        counts, so_far = [], 0
        for bound in m.buckets(metric):
            so_far += self.total(metric.name, subject, bound)
            counts.append((bound, float(so_far)))
        return counts, self.total(m.sum_of(metric), subject) / 1e6


def read(ledger: Ledger, settings: Settings) -> Standing:
    """Raises UnavailableError where the ledger is away."""
    s = Standing()
    with ledger.begin("read where the audit stands", isolation="REPEATABLE READ") as db:
        t = tables.total
        s.totals = {(row.name, row.subject, row.kind): row.value for row in db.execute(sa.select(t))}
        p = log_tables.position
        newest = sa.select(sa.func.max(log_tables.incarnation.c.id)).scalar_subquery()
        s.positions = {
            (row.topic, row.partition): (row.next_offset, row.event_us)
            for row in db.execute(
                sa.select(p.c.topic, p.c.partition, p.c.next_offset, p.c.event_us).where(p.c.incarnation == newest)
            )
        }
        s.holes = _open(db, log_tables.hole)
        s.quarantine = _open(db, log_tables.quarantine)
        a = tables.audit
        for row in db.execute(sa.select(a.c.data_type, a.c.judged_until, a.c.blind)):
            s.judged_until[row.data_type] = _seconds(row.judged_until)
            s.blind[row.data_type] = set(row.blind.split(",")) if row.blind else set()
        _waiting(db, s)
        _rates(db, s, settings)
        _sweeps(db, s)
        s.estimated_missing = {name: found.missing for name, found in estimated(db, settings).items()}
        s.numbers = {",".join(found.topics): found for found in numbers.read(db, settings)}
    return s


def _open(db: sa.Connection, table: sa.Table) -> int:
    return int(db.execute(sa.select(sa.func.count()).select_from(table).where(table.c.state == Settled.OPEN)).scalar_one())


def _seconds(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()


def _waiting(db: sa.Connection, s: Standing) -> None:
    w = tables.audit_waiting
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - sa.func.min(w.c.seen_at))
    rows = db.execute(
        sa.select(w.c.data_type, w.c["class"], sa.func.sum(w.c["count"]), age).group_by(w.c.data_type, w.c["class"])
    )
    for name, class_, count, age_s in rows:
        if class_ == UNJUDGED:
            s.in_flight[name] = int(count)
        elif class_ in GAPS:
            s.gaps_open[name] = s.gaps_open.get(name, 0) + int(count)
            s.registry_lag_s[name] = max(s.registry_lag_s.get(name, 0.0), float(age_s))


def _rates(db: sa.Connection, s: Standing, settings: Settings) -> None:
    x = tables.audit_look
    spans = windows(settings.audit.every)
    # A window ends with the last look, and half a look's time later it moves on without one. Ended it now, the shortest, which
    # is as long as looks are apart, would be empty whenever the next look takes longer than the last: an alarm that stands
    # would end and begin anew.
    now = sa.func.clock_timestamp() - settings.audit.every / 2
    last = sa.select(x.c.data_type, sa.func.greatest(sa.func.max(x.c.at), now).label("ends")).group_by(x.c.data_type).subquery()
    sums: list[Any] = [x.c.data_type]
    for span in spans:
        inside = x.c.at > last.c.ends - span
        sums += [sa.func.sum(x.c.trials).filter(inside), sa.func.sum(x.c.failed).filter(inside)]
    looks = sa.select(*sums).join(last, last.c.data_type == x.c.data_type).where(x.c.at > last.c.ends - spans[-1])
    for row in db.execute(looks.group_by(x.c.data_type)):
        for number, span in enumerate(spans):
            trials, failed = int(row[1 + 2 * number] or 0), int(row[2 + 2 * number] or 0)
            s.rate_low[row[0], label(span)] = lower_bound(failed, trials)


def _sweeps(db: sa.Connection, s: Standing) -> None:
    x, r = log_tables.sweep, log_tables.verified_range
    newest = sa.select(sa.func.max(x.c.id)).where(x.c.state == "finished").group_by(x.c.data_type)
    finished = db.execute(
        sa.select(x.c.data_type, x.c.finished_at, x.c.rows).where(x.c.state == "finished", x.c.id.in_(newest))
    )
    rows: dict[str, int] = {}
    for name, at, count in finished:
        s.sweep_finished[name], s.sweep_progress[name], rows[name] = _seconds(at), 1.0, int(count or 0)
    done = sa.func.coalesce(sa.func.sum(r.c.rows), 0)
    running = (
        sa.select(x.c.data_type, done)
        .select_from(x.outerjoin(r, sa.and_(r.c.sweep == x.c.id, r.c.data_type == x.c.data_type)))
        .where(x.c.state == "running")
        .group_by(x.c.data_type)
    )
    for name, count in db.execute(running):
        s.sweep_progress[name] = min(0.99, int(count) / rows[name]) if rows.get(name) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """From the log alone, and never a verdict: fewer rows may have been created."""

    missing: float  #: creations fewer than usual
    since: datetime  #: the last look


def estimated(db: sa.Connection, settings: Settings) -> dict[str, Estimate]:
    """How many creations fewer than usual were announced since the last look, where a look is overdue: before that a lull is no
    news. What is usual, the last `USUAL_OF` looks say. Where the last one could not read the log, nobody knows what it said."""
    x, t, out = tables.audit_look, tables.total, dict[str, Estimate]()
    a = tables.audit
    now = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    blind = db.execute(sa.select(a.c.data_type, a.c.blind)).all()
    deaf = {row.data_type for row in blind if m.Blind.LOG in (row.blind or "").split(",")}
    for name in settings.data_types:
        newest = db.execute(
            sa.select(x.c.creations, x.c.at).where(x.c.data_type == name).order_by(x.c.look.desc()).limit(USUAL_OF + 1)
        ).all()
        if name in deaf or len(newest) <= USUAL_OF or now - newest[0].at < 2 * settings.audit.every:
            continue
        paces = [
            (later.creations - earlier.creations) / max(1e-3, (later.at - earlier.at).total_seconds())
            for later, earlier in itertools.pairwise(newest)
        ]
        ever = sa.select(t.c.value).where(t.c.name == m.EVENTS.name, t.c.subject == name, t.c.kind == str(m.Op.CREATE))
        said = int(db.execute(ever).scalar_one_or_none() or 0) - newest[0].creations
        expected = median(paces) * (now - newest[0].at).total_seconds()
        out[name] = Estimate(missing=max(0.0, expected - said), since=newest[0].at)
    return out
