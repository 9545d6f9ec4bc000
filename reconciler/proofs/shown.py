"""What a run looked at and saw: the only thing proofs may read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.coverage import Coverage
from reconciler.fence import Fence
from reconciler.identity import Identity
from reconciler.window import Evidence, Plan
from schemas.log_state import LogState


class Claim(StrEnum):
    CREATES = "creates"
    DELETES = "deletes"
    DROP_RATE = "drop_rate"


ALL = frozenset(Claim)
LOG = frozenset({Claim.DELETES, Claim.DROP_RATE})


@dataclass(slots=True, kw_only=True)
class Met:
    """A server, what the ledger had recorded of it, and why they cannot be one (None: they can)."""

    now: Identity
    before: Identity | None
    contradiction: str | None


@dataclass(slots=True, kw_only=True)
class Needles:
    """Keys known to be present that were left out of the pushed sets: how many, and which did not come back."""

    pushed: int = 0
    lost: list[str] = field(default_factory=list)
    outside: int = 0  #: rows of the table found outside a window that has none
    newest: int = 0  #: newest announced creates looked for
    newest_found: int = 0
    latest: int = 0  #: the very newest of those whose rows had time to become visible; 0 where they are too few
    latest_found: int = 0


@dataclass(slots=True, kw_only=True)
class TypeShown:
    """One data type."""

    name: str
    topics: tuple[str, ...]
    empty_allowed: bool
    rows: int = 0
    registered: int = 0
    plan: Plan | None = None
    window_fault: str | None = None  #: why the window that was asked for could not be placed
    rests_on: Evidence | None = None  #: the sweep that `--since auto` rests on
    needles: Needles = field(default_factory=Needles)
    hidden: list[str] = field(default_factory=list)  #: why rows may be hidden from us
    visible: list[str] = field(default_factory=list)  #: what was looked at, in words
    emptied: list[str] = field(default_factory=list)  #: what a sweep may have seen in vain, for it was written anew behind it
    copy_seen: str | None = None  #: how a copy's rows compared with its origin's; None: not compared
    copy_fault: str | None = None
    coverage: Coverage = field(default_factory=Coverage.nothing)
    unannounced: str | None = None  #: why the pipeline does not announce all of its rows
    in_flight: int = 0
    remaining: int | None = None  #: None: not compared again


@dataclass(slots=True, kw_only=True)
class Shown:
    """One run."""

    kind: str  # gaps | cutover | sweep
    types: dict[str, TypeShown]
    deletes: bool = False
    without_log: bool = False
    met: list[Met] = field(default_factory=list)
    fence: Fence | None = None
    looked_at: datetime | None = None  #: the first look, by the source's clock
    snapshots: list[str] = field(default_factory=list)  #: each snapshot taken, in words
    snapshot_faults: list[str] = field(default_factory=list)
    copied: bool = False  #: the source is a copy, and has to be held against its origin
    brokers: str = ""  #: as the settings name them
    log: LogState | None = None
    log_fault: str | None = None  #: the event log could not be reached at all
    reread_at: datetime | None = None
    writes: str = ""  #: whether the database refuses further writes, in words
    pipeline: str = "application"
    pipeline_seen: str = ""
    pipeline_fault: str | None = None
    pipeline_remedy: str | None = None
    moved: list[str] | None = None  #: of a recheck: why the verdict was about another world

    @property
    def log_claims(self) -> frozenset[Claim]:
        """Claims that need the event log. A recheck judges by rows alone: an orphan is one, whatever the log says of it."""
        return LOG if self.moved is None else LOG - {Claim.DELETES}

    @property
    def cutover(self) -> bool:
        return self.kind in ("cutover", "recheck")
