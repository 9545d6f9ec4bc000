"""Which events share one numbering: what `event.sequence` means for topics. Pure.

A pipeline numbers its events from one sequence, whatever they are about. So a numbering spans topics, not data types: all
topics of a data type that names a sequence, of every other one that shares such a topic, and of those with the same
`event.numbering`. Whether a number is missing can only be said over all records of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from schemas.data_types import DataType

ONE_SEQUENCE = "the events of a topic are numbered by one sequence: data types that share a topic name the same one, or none"
#: How long after `settle` a missing number may still come: of a transaction that commits late.
GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbering:
    """One sequence of numbers. `settle`: the longest of its data types."""

    topics: tuple[str, ...]
    data_types: tuple[str, ...]
    settle: timedelta

    @property
    def name(self) -> str:
        return ",".join(self.topics)


def numberings(data_types: Mapping[str, DataType], settle: timedelta) -> tuple[Numbering, ...]:
    """Every numbering the settings declare, by the name of its first topic. Raises ValueError where a topic would tell two."""
    declared = [t for t in data_types.values() if t.event is not None and t.event.sequence is not None]
    left = {topic for t in declared for topic in t.topics}
    for topic in sorted(left):
        told = sorted({t.event.sequence for t in declared if t.event and t.event.sequence and topic in t.topics})
        if len(told) > 1:
            raise ValueError(f"topic {topic!r}: 'event.sequence' is {' and '.join(told)}; {ONE_SEQUENCE}")
    found = []
    while left:
        topics = _joined(min(left), declared)
        left -= topics
        types = tuple(name for name, t in data_types.items() if topics & {*t.topics})
        longest = max(data_types[name].settle_or(settle) for name in types)
        found.append(Numbering(topics=tuple(sorted(topics)), data_types=types, settle=longest))
    return tuple(found)


def _joined(topic: str, declared: Sequence[DataType]) -> set[str]:
    """The topics numbered together with this one."""
    topics, before = {topic}, set[str]()
    while topics != before:
        before = set(topics)
        among = [t for t in declared if topics & {*t.topics}]
        names = {t.event.numbering for t in among if t.event is not None} - {None}
        among += [t for t in declared if t.event is not None and t.event.numbering in names]
        topics |= {other for t in among for other in t.topics}
    return topics
