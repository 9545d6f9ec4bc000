"""What the ledger knows of a data type's full passes, and since when a window is safe because of them.

A window by time is safe where no row dated before it is missing: every such row was in the pass, for nobody who began
earlier was still at work, and none that the pass found missing is still open. Rows dated back since are not in that
sentence; `--since auto` looks at them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import alive
from reconciler.ports import some
from reconciler.scene import resolve
from reconciler.sweeping import book
from reconciler.sweeping.book import UNDATED, Stage
from reconciler.sweeping.evidence import evidence
from schemas import ledger as tables
from schemas.errors import FencepostError
from schemas.settings import Settings
from schemas.verdict import utc


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The last full pass, finished or not. `safe_since` is None where no window is, and `because` says why either way."""

    started_at: datetime
    finished_at: datetime | None
    rows: int
    verified: int
    found: int
    fixed: int
    oldest_unverified: datetime | None  #: creation of the oldest row that no pass vouches for, where it can be told
    safe_since: datetime | None
    because: str
    going_on: str | None  #: a pass that has not come to its end

    def plain(self) -> dict[str, Any]:
        """As `status --json` promises, and more."""
        return {
            "started_at": utc(self.started_at),
            "finished_at": None if self.finished_at is None else utc(self.finished_at),
            "rows": self.rows,
            "verified": self.verified,
            "found": self.found,
            "fixed": self.fixed,
            "coverage": round(self.verified / self.rows, 6) if self.rows else None,
            "oldest_unverified": None if self.oldest_unverified is None else utc(self.oldest_unverified),
        }


def known(settings: Settings, ledger: Ledger, name: str) -> Known | None:
    """None where no pass was ever begun. Asks both databases whether their tables are still those of the pass."""
    last = book.newest(ledger, name, Stage.FINISHED)
    begun = book.newest(ledger, name, Stage.RUNNING, Stage.COVERED)
    going_on = None if begun is None else _going_on(ledger, begun, 0 if last is None else last.rows)
    if last is None:
        if begun is None:
            return None
        _, rows, verified = _so_far(ledger, begun)
        return Known(
            started_at=begun.started_at, finished_at=None, rows=rows, verified=verified, found=0, fixed=0,
            oldest_unverified=None, safe_since=None, because="no full pass has come to its end yet",
            going_on=going_on,
        )  # fmt: skip
    safe, because = _safe(settings, ledger, name, last)
    missing = None if last.oldest_missing in (None, UNDATED) else last.oldest_missing.astimezone(UTC)
    return Known(
        started_at=last.started_at.astimezone(UTC),
        finished_at=last.finished_at.astimezone(UTC),
        rows=last.rows,
        verified=last.verified,
        found=last.found,
        fixed=last.fixed,
        oldest_unverified=safe if missing is None else missing,
        safe_since=safe,
        because=because,
        going_on=going_on,
    )


def _safe(settings: Settings, ledger: Ledger, name: str, last: sa.Row[Any]) -> tuple[datetime | None, str]:
    try:
        with resolve(settings, [name], ledger) as scene:
            subject = scene.subjects[0]
            found = evidence(ledger, scene, subject)
            emptied = book.emptied(last.bound, scene, subject)
    except FencepostError as error:
        return None, f"whether the last full pass still holds cannot be told: {error}"
    if isinstance(found, str):
        return None, found
    if emptied:
        told = f"{'; '.join(emptied)} since the last full pass began"
        return None, f"{told}: --since auto looks for every key that the pass verified, or sweep again"
    if found.since is None:
        return None, last.note or "nobody could tell which transactions were open when the last full pass began"
    if last.oldest_missing == UNDATED:
        return None, "the last full pass left rows missing of which nobody can say when they were created"
    passed = f"the full pass from {utc(found.started_at)} to {utc(found.finished_at)}"
    if last.oldest_missing is not None and last.oldest_missing < found.since:
        at: datetime = last.oldest_missing.astimezone(UTC)
        return at, f"{passed} saw every row created before, and the oldest row that it left missing was created then"
    return found.since, (
        f"{passed} saw every row created before: nobody who began earlier was still at work. Rows dated back since are seen"
        " by --since auto"
    )


def _going_on(ledger: Ledger, begun: sa.Row[Any], expected: int) -> str:
    """`expected`: rows of the pass before, 0 where there was none."""
    ranges, rows, _ = _so_far(ledger, begun)
    of_all = f" of about {expected:,}" if expected else ""
    so_far = f"{some(ranges, 'range')} with {rows:,} row{'' if rows == 1 else 's'}{of_all}"
    told = f"a pass begun {utc(begun.started_at)}"
    if begun.state == Stage.COVERED:
        return f"{told} waits to be judged: {so_far}"
    if _at_work(ledger, begun.run):
        return f"{told} is at work: so far {so_far}"
    then = "begins anew, for it was read in one piece" if _one_piece(ledger, begun) else "goes on there"
    return f"{told} was broken off after {so_far}: the next `fencepost sweep` {then}"


def _at_work(ledger: Ledger, run: str) -> bool:
    """Whether there is a sign of life of the run that has the pass."""
    x = tables.lease.c
    query = sa.select(x.holder).where(x.name == alive.lease_of(run), x.expires_at > sa.func.clock_timestamp())
    with ledger.begin("ask who is at a sweep") as connection:
        row = connection.execute(query).one_or_none()
    return row is not None and not alive.is_dead(run, row.holder)


def _one_piece(ledger: Ledger, begun: sa.Row[Any]) -> bool:
    v = tables.verified_range.c
    query = sa.select(sa.func.count(v.buckets)).where(v.sweep == begun.id, v.data_type == begun.data_type)
    with ledger.begin("read how a sweep was read") as connection:
        return bool(connection.execute(query).scalar_one())


def _so_far(ledger: Ledger, begun: sa.Row[Any]) -> tuple[int, int, int]:
    v = tables.verified_range.c
    sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (v["rows"], v.verified)]
    query = sa.select(sa.func.count(), *sums).where(v.sweep == begun.id, v.data_type == begun.data_type)
    with ledger.begin("read how far a sweep has come") as connection:
        ranges, rows, verified = connection.execute(query).one()
    return int(ranges), int(rows), int(verified)
