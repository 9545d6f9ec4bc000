"""The contract of a stream, in memory, for tests and demonstrations: `MemoryLog` is the broker, `MemoryStream` a client.

It keeps what the contract is about: offsets with gaps, a log start that moves, open and aborted transactions, recreated
topics, groups that hand partitions over. Contract tests hold it to what Kafka does.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from consumer.streams.contract import Place, Reading, Shape, Span
from schemas.errors import SettingsError, UnavailableError
from schemas.events import RawBatch

_ids = itertools.count(1)


@dataclass(slots=True)
class _Record:
    offset: int
    value: bytes | None
    stamp: int
    state: str = "committed"  # committed | open | aborted | control


@dataclass(slots=True)
class _Partition:
    records: list[_Record] = field(default_factory=list)
    start: int = 0
    high: int = 0
    damaged: list[range] = field(default_factory=list)

    def is_damaged(self, offset: int) -> bool:
        return any(offset in batch for batch in self.damaged)

    @property
    def stable(self) -> int:
        return next((r.offset for r in self.records if r.state == "open"), self.high)

    def add(self, value: bytes | None, stamp: int, state: str) -> int:
        self.records.append(_Record(self.high, value, stamp, state))
        self.high += 1
        return self.high - 1


class MemoryLog:
    """Topics of one cluster, shared by any number of streams."""

    def __init__(self, cluster_id: str | None = "memory", *, tells_ids: bool = True) -> None:
        self.cluster_id, self.tells_ids = cluster_id, tells_ids
        self.topics: dict[str, list[_Partition]] = {}
        self.ids: dict[str, str] = {}
        self.away = False
        self.committed: dict[Place, int] = {}
        self.members: list[MemoryStream] = []

    def create(self, topic: str, partitions: int = 1) -> None:
        self.topics[topic] = [_Partition() for _ in range(partitions)]
        self.ids[topic] = f"id-{next(_ids)}"
        self._rebalance()

    def delete(self, topic: str) -> None:
        del self.topics[topic], self.ids[topic]

    def grow(self, topic: str, partitions: int) -> None:
        self.topics[topic] += [_Partition() for _ in range(partitions - len(self.topics[topic]))]
        self._rebalance()

    def append(self, topic: str, value: bytes | None, partition: int = 0, *, stamp: int = 0, state: str = "committed") -> int:
        """`state="open"` leaves it in an open transaction, for `end` to settle."""
        return self.topics[topic][partition].add(value, stamp, state)

    def end(self, topic: str, partition: int, *, commit: bool) -> None:
        """End the open transaction; its control record takes an offset."""
        part = self.topics[topic][partition]
        for record in part.records:
            if record.state == "open":
                record.state = "committed" if commit else "aborted"
        part.add(None, 0, "control")

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        part = self.topics[topic][partition]
        part.start = before
        part.records = [r for r in part.records if r.offset >= before]

    def truncate(self, topic: str, partition: int, to: int) -> None:
        """As after an unclean election: the end of the log is gone."""
        part = self.topics[topic][partition]
        part.records = [r for r in part.records if r.offset < to]
        part.high = to

    def damage(self, topic: str, partition: int, low: int, high: int) -> None:
        """The records of [low, high) are one batch, and its bytes have changed."""
        self.topics[topic][partition].damaged.append(range(low, high))

    def places(self, topics: Collection[str]) -> list[Place]:
        return [(t, p) for t in sorted(topics) for p in range(len(self.topics.get(t, ())))]

    def stream(self, timestamps: Collection[str] = ()) -> MemoryStream:
        return MemoryStream(self, timestamps)

    def _rebalance(self) -> None:
        for member in self.members:
            member.pending = True


class MemoryStream:
    """A client of a MemoryLog. Never sleeps: nothing to read is told at once."""

    def __init__(self, log: MemoryLog, timestamps: Collection[str] = ()) -> None:
        self.log, self._timestamps = log, frozenset(timestamps)
        self.at: dict[Place, int] = {}
        self.pending = False
        self._told: dict[Place, int] = {}
        self._silent: set[Place] = set()
        self._topics: tuple[str, ...] = ()
        self._owned: tuple[Place, ...] = ()
        self._on_revoked: Callable[[bool], None] | None = None

    def shape(self, topics: Collection[str]) -> Shape:
        self._reach()
        for topic in topics:
            if topic not in self.log.topics:
                raise SettingsError(f"the topic {topic!r} does not exist in memory, or we may not see it")
        return Shape(
            cluster_id=self.log.cluster_id,
            topic_ids={t: self.log.ids[t] if self.log.tells_ids else None for t in topics},
            partitions={t: len(self.log.topics[t]) for t in topics},
        )

    def spans(self, places: Collection[Place]) -> dict[Place, Span]:
        self._reach()
        found = {place: self._partition(place) for place in places}
        return {place: Span(start=p.start, stable=p.stable, high=p.high) for place, p in found.items()}

    def peek(self, at: Mapping[Place, int]) -> dict[Place, tuple[int, bytes | None]]:
        other = MemoryStream(self.log)
        other.assign(at)
        found: dict[Place, tuple[int, bytes | None]] = {}
        for raw in other.read(1 << 30, 0).batches:
            found.setdefault((raw.topic, raw.partition), (int(raw.offsets[0]), raw.values[0]))
        return found

    def intact(self, place: Place, offset: int) -> bool:
        self._reach()
        return not self._partition(place).is_damaged(offset)

    def assign(self, at: Mapping[Place, int], epochs: Mapping[Place, int] | None = None) -> None:
        self.at, self._told, self._silent = dict(at), {}, set()

    def join(self, topics: Collection[str], on_revoked: Callable[[bool], None]) -> None:
        self._topics, self._on_revoked = tuple(topics), on_revoked
        self.log.members.append(self)
        self.log._rebalance()

    def read(self, max_records: int, timeout_s: float) -> Reading:
        self._reach()
        if self.pending:
            return self._handed_over()
        reading = Reading()
        for place in list(self.at):
            if place in self._silent:
                continue
            part = self._partition(place)
            stable = part.stable  # asked once: what is appended meanwhile is the next reading's
            if not part.start <= self.at[place] <= part.high:
                reading.broken[place] = f"offset {self.at[place]} is out of range"
                self._silent.add(place)
                continue
            batch = self._batch(place, part, stable, max_records)
            if batch is not None:
                reading.batches.append(batch)
                max_records -= len(batch)
            if max_records <= 0:
                break
            if part.is_damaged(self.at[place]):
                reading.corrupt[place] = f"the batch at offset {self.at[place]} failed its checksum"
                continue
            if self._told.get(place) != stable and self.at[place] <= stable:
                self._told[place] = self.at[place] = reading.ends[place] = stable
        return reading

    def _batch(self, place: Place, part: _Partition, stable: int, limit: int) -> RawBatch | None:
        first = bisect_left(part.records, self.at[place], key=lambda r: r.offset)
        rest = itertools.islice(part.records, first, None)
        sound = itertools.takewhile(lambda r: not part.is_damaged(r.offset), rest)
        visible = (r for r in sound if r.offset < stable and r.state == "committed")
        chosen = list(itertools.islice(visible, limit))
        if not chosen:
            return None
        self.at[place] = chosen[-1].offset + 1
        stamps = np.array([r.stamp for r in chosen], np.int64) if place[0] in self._timestamps else None
        return RawBatch(
            topic=place[0],
            partition=place[1],
            offsets=np.array([r.offset for r in chosen], np.int64),
            values=[r.value for r in chosen],
            timestamps=stamps,
        )

    def _handed_over(self) -> Reading:
        """The group's partitions are dealt anew: ours go back first."""
        self.pending = False
        if self._owned and self._on_revoked is not None:
            self._owned, self.at = (), {}
            self._on_revoked(False)
        self._owned = tuple(self._share())
        return Reading(granted=self._owned)

    def _share(self) -> Iterator[Place]:
        members = [m for m in self.log.members if m._topics == self._topics]
        for number, place in enumerate(self.log.places(self._topics)):
            if members[number % len(members)] is self:
                yield place

    def commit(self, offsets: Mapping[Place, int]) -> None:
        self.log.committed.update(offsets)

    def close(self) -> None:
        if self in self.log.members:
            if self._owned and self._on_revoked is not None:
                self._on_revoked(False)
            self.log.members.remove(self)
            self.log._rebalance()

    def _partition(self, place: Place) -> _Partition:
        try:
            return self.log.topics[place[0]][place[1]]
        except (KeyError, IndexError):
            raise UnavailableError(f"cannot read {place[0]}[{place[1]}]: it does not exist") from None

    def _reach(self) -> None:
        if self.log.away:
            raise UnavailableError("the event log in memory does not answer")
