"""What every event stream must do: tell the log's shape, read records in runs, hand partitions over.

A stream reads; it decides nothing. Where reading starts, what a jump means and what is stored is the tracker's business,
and no stream ever starts anywhere by itself: a reset is reported in `Reading.broken`, never followed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from schemas.events import RawBatch

#: Topic and partition.
Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which log this is: the cluster's id, and each topic's id and number of partitions; ids are None where not told."""

    cluster_id: str | None
    topic_ids: Mapping[str, str | None]
    partitions: Mapping[str, int]

    def places(self, topics: Iterable[str] | None = None) -> list[Place]:
        return [(t, p) for t in sorted(self.partitions if topics is None else topics) for p in range(self.partitions[t])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a partition holds: [start, high). Appliers that read committed records see [start, stable)."""

    start: int
    stable: int
    high: int


@dataclass(slots=True, kw_only=True)
class Reading:
    """What one `read` brought.

    `ends`: places read up to this offset, control records included. `broken`: places where the log no longer has what we
    asked for, with the broker's words; they stand still until assigned anew. It may be a false alarm: librdkafka 2.16
    can ask for an invalid offset when a place is assigned twice in a short time. So look at `spans` before believing it.
    `corrupt`: places where a batch cannot be read, with the broker client's words; `batches` hold what stands before it,
    and nothing behind it comes. `granted`: the group gave us these places; nothing flows until they are assigned.
    """

    batches: list[RawBatch] = field(default_factory=list)
    ends: dict[Place, int] = field(default_factory=dict)
    broken: dict[Place, str] = field(default_factory=dict)
    corrupt: dict[Place, str] = field(default_factory=dict)
    epochs: dict[Place, int] = field(default_factory=dict)
    granted: tuple[Place, ...] | None = None

    def __bool__(self) -> bool:
        return bool(self.batches or self.ends or self.broken or self.corrupt or self.granted is not None)


class EventStream(Protocol):
    """A client of an event log. Not safe between threads. Every call may raise UnavailableError."""

    def shape(self, topics: Collection[str]) -> Shape:
        """Ask for identities and partitions. Raises SettingsError for a topic that does not exist; creates none."""
        ...

    def spans(self, places: Collection[Place]) -> dict[Place, Span]:
        """Ask the leaders, now, for start, stable offset and high watermark (as read_uncommitted)."""
        ...

    def peek(self, at: Mapping[Place, int]) -> dict[Place, tuple[int, bytes | None]]:
        """The first record at or after each offset, by a client of its own; places where none comes are left out."""
        ...

    def intact(self, place: Place, offset: int) -> bool:
        """Whether the batch at this offset can be read, asked by a client of its own; an end is no damage."""
        ...

    def assign(self, at: Mapping[Place, int], epochs: Mapping[Place, int] | None = None) -> None:
        """Read exactly these places from these offsets on; whatever was under way is forgotten."""
        ...

    def join(self, topics: Collection[str], on_revoked: Callable[[bool], None]) -> None:
        """Share the topics with others of the group. `on_revoked(lost)` is called inside `read`, while the places are
        still ours, unless `lost`; its exception comes out of `read`. Places arrive as `Reading.granted`."""
        ...

    def read(self, max_records: int, timeout_s: float) -> Reading:
        """Up to `max_records` records as one RawBatch per run of one partition, committed records only."""
        ...

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tell the broker, for lag dashboards. A failure is logged, never raised: the ledger is what counts."""
        ...

    def close(self) -> None: ...


#: Opens a stream. `timestamps`: topics whose records must carry the broker's timestamps.
StreamFactory: TypeAlias = Callable[[Collection[str]], EventStream]
