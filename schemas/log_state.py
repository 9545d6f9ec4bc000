"""LogState: what is known about the event log after catching up with it, as the proofs about the log need it.

Shapes only. `consumer.catch_up` fills it; `reconciler.proofs` turns it into `log_identity`, `log_drained`,
`log_unbroken` and `decoded`. `Located` is one event found again, as evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.events import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition: what the log held of it when the watermarks were taken, and how far the ledger has read."""

    topic: str
    partition: int
    topic_id: str | None
    start: int  #: the log's first offset
    first_read: int  #: where our reading of it began
    high: int  #: the high watermark, asked for as read_uncommitted
    stable: int | None  #: where an open transaction hides records from committed readers: up to where they see
    reached: int  #: the ledger's next offset
    event_us: int | None = None  #: the newest event time read

    @property
    def drained(self) -> bool:
        return self.reached >= self.high

    @property
    def behind(self) -> int:
        return max(0, self.high - self.reached)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Offsets that nobody read: [from_offset, to_offset), and the time of events they may have held."""

    topic: str
    partition: int
    from_offset: int
    to_offset: int | None
    kind: str  #: retention | recreated | truncated | corrupt
    from_us: int | None
    to_us: int | None
    state: str  #: open | accepted
    reason: str | None = None
    by: str | None = None  #: who accepted it
    id: int = 0
    at: datetime | None = None  #: when it was noticed

    @classmethod
    def from_row(cls, row: Any) -> Hole:
        """From a row of the ledger's `hole`."""
        return cls(
            topic=row.topic, partition=row.partition, from_offset=row.from_offset, to_offset=row.to_offset, kind=row.kind,
            from_us=row.from_us, to_us=row.to_us, state=row.state, reason=row.settled_reason, by=row.settled_by,
            id=row.id, at=row.at,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """As an operator names it."""
        return f"hole-{self.id}"

    @property
    def described(self) -> str:
        end = "?" if self.to_offset is None else str(self.to_offset)
        return f"{self.topic}[{self.partition}] offsets {self.from_offset} to {end} ({self.kind})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRecords:
    """Records of one topic that could not be read, and whose loss was accepted by one person for one reason."""

    topic: str
    count: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """After `catch_up`. `problems` are sentences an operator can act on."""

    incarnation: int
    cluster_id: str | None
    partitions: tuple[PartitionState, ...]
    identity_held: bool  #: cluster and topics are the ones recorded, or were met for the first time
    identity_seen: str  #: how that was checked, and what was found
    problems: tuple[str, ...] = ()
    holes: tuple[Hole, ...] = ()
    quarantined: Mapping[str, int] = field(default_factory=dict)  #: open records by topic
    accepted: tuple[AcceptedRecords, ...] = ()
    records: int = 0  #: read by us just now
    followed: bool = False  #: another tracker did the reading, or part of it

    def of(self, topics: Collection[str]) -> list[PartitionState]:
        return [p for p in self.partitions if p.topic in topics]

    @property
    def drained(self) -> bool:
        return all(p.drained for p in self.partitions)

    @property
    def offsets(self) -> dict[str, dict[str, int]]:
        """For the report's fence: the high watermarks."""
        out: dict[str, dict[str, int]] = {}
        for p in self.partitions:
            out.setdefault(p.topic, {})[str(p.partition)] = p.high
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The last event about a key, where it stands in the log. `sure`: False where partitions tie and nobody can say."""

    topic: str
    partition: int
    offset: int
    time_us: int | None
    op: Op
    broker_ms: int | None
    sure: bool = True
