"""The report: verdict, claims, proofs, what each data type showed. The models behind `--json`, the console and history.

`--json` is a promise: additive changes only. `schemas/report.schema.json` is made from these models. Keys are text, so
that 2**53 + 1 survives. Times are UTC with a `Z`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from schemas.errors import Exit

VERSION = "0.1.0"
#: How many keys `--json` lists of a gap or orphan set; `--report` lists all.
LISTED = 100
#: What stands in the place of a sweep's drop rate: it is spread over hours, in which the log goes on.
SWEEP_TELLS_NONE = "a sweep judges rows; gaps, cutover and audit tell the drop rate"


class Verdict(StrEnum):
    CLEAR = "CLEAR"
    GAPS = "GAPS"
    CANNOT_TELL = "CANNOT TELL"

    @property
    def exit_code(self) -> Exit:
        return {Verdict.CLEAR: Exit.CLEAR, Verdict.GAPS: Exit.GAPS, Verdict.CANNOT_TELL: Exit.CANNOT_TELL}[self]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """CANNOT TELL outranks GAPS, which outranks CLEAR. Of nothing, nobody can tell."""
    order = [Verdict.CLEAR, Verdict.GAPS, Verdict.CANNOT_TELL]
    return max(verdicts, key=order.index, default=Verdict.CANNOT_TELL)


class GapClass(StrEnum):
    """Design §2: what falls between the fence posts."""

    DROPPED_CREATE = "dropped_create"
    UNAPPLIED_CREATE = "unapplied_create"
    UNHEARD_CREATE = "unheard_create"
    UNACCEPTED = "unaccepted"
    STALE_REGISTRATION = "stale_registration"

    @property
    def backfilled(self) -> bool:
        """Whether a backfill may close it: only where no registry row stands."""
        return self in (GapClass.DROPPED_CREATE, GapClass.UNAPPLIED_CREATE, GapClass.UNHEARD_CREATE)


class OrphanClass(StrEnum):
    DROPPED_DELETE = "dropped_delete"
    UNAPPLIED_DELETE = "unapplied_delete"


class Cause(StrEnum):
    NEVER_ANNOUNCED = "never_announced"
    UNAPPLIED = "unapplied"
    UNREAD = "unread"
    BELOW_RETENTION = "below_retention"
    QUARANTINED = "quarantined"
    ORDER_UNKNOWN = "order_unknown"
    OUTSIDE_COVERAGE = "outside_coverage"
    UNACCEPTED_STATE = "unaccepted_state"
    STALE = "stale"
    UNKNOWN = "unknown"


def utc(at: datetime) -> str:
    """`2026-11-01T12:00:00.000000Z`; every time has a zone, checked here."""
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be placed: {at.isoformat()}")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(utc, return_type=str)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Proof(Model):
    """One thing that was looked at. `held` is null where it was not asked."""

    name: str
    data_type: str | None = None
    held: bool | None
    seen: str
    try_: str | None = Field(None, alias="try")


class Window(Model):
    """The span of creations a run looked at; half-open."""

    strategy: str
    since: Time | None
    until: Time | None
    evidence: str
    cannot_see: list[str]


class Found(Model):
    """Gaps or orphans of one data type; classes and causes that nothing falls into are left out."""

    count: int = 0
    by_class: dict[str, int] = {}
    by_cause: dict[str, int] = {}
    keys: list[str] = []


class Orphans(Model):
    count: int = 0
    removed: int = 0
    by_class: dict[str, int] = {}
    keys: list[str] = []


class DropRate(Model):
    """How many creations the log never announced, of how many it covers; `low`-`high` is a 95 % interval."""

    dropped: int = 0
    of: int = 0
    low: float = 0.0
    high: float = 1.0
    incomplete: list[str] = []
    left_out: list[str] = []  #: accepted losses: what they may have announced is in neither figure, or counted as dropped


class TypeReport(Model):
    name: str
    verdict: Verdict
    window: Window
    rows: int
    announced: int
    registered: int
    states: dict[str, int] = {}
    gaps: Found = Found()
    in_flight: int = 0
    healed_drops: int = 0
    orphans: Orphans = Orphans()
    drop_rate: DropRate = DropRate()
    backfilled: int = 0
    remaining: int = 0
    compared_s: float | None = None  #: how long one compare of the two tables took
    notes: list[str] = []


class Fence(Model):
    pipeline: str
    at: Time | None
    lsn: str | None
    offsets: dict[str, dict[str, int]] = {}


class Claims(Model):
    creates: str  #: a verdict
    deletes: str  #: a verdict, or "not asked"
    drop_rate: str  #: complete | incomplete


class Report(Model):
    """What a run says, whole."""

    fencepost: str = VERSION
    run: str
    kind: str
    verdict: Verdict
    started_at: Time
    finished_at: Time
    plan: str | None = None
    claims: Claims
    fence: Fence
    proofs: list[Proof]
    data_types: list[TypeReport]
    notes: list[str] = []

    def json_text(self) -> str:
        return self.model_dump_json(by_alias=True)

    def plain(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


def interval(dropped: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a proportion; (0, 1) of nothing."""
    if of <= 0:
        return 0.0, 1.0
    z = 1.959963984540054
    p, n = dropped / of, of
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n)
    return (0.0 if dropped == 0 else max(0.0, middle - half)), (1.0 if dropped == of else min(1.0, middle + half))
