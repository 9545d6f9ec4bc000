"""Which events share one numbering: what `event.sequence` means for topics. Pure.

A pipeline numbers its events from one sequence, whatever they are about. So a numbering spans topics, not data types: all
topics of a data type that names a sequence, and of every other one that shares such a topic. Whether a number is missing
can only be said over all records of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from schemas.data_types import DataType

ONE_SEQUENCE = "the events of a topic are numbered by one sequence: data types that share a topic name the same one, or none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbering:
    """One sequence of numbers. `settle`: the longest of its data types, None where none says."""

    topics: tuple[str, ...]
    data_types: tuple[str, ...]
    settle: timedelta

    @property
    def name(self) -> str:
        return ",".join(self.topics)


def numberings(data_types: Mapping[str, DataType], settle: timedelta) -> tuple[Numbering, ...]:
    """Every numbering the settings declare, by the name of its first topic. Raises ValueError where a topic would tell two."""
    declared = {name: t for name, t in data_types.items() if t.event is not None and t.event.sequence is not None}
    left = {topic for t in declared.values() for topic in t.topics}
    found = []
    while left:
        topics, types = _joined(min(left), data_types, declared)
        left -= topics
        told = sorted({path for n in types if (path := _path(data_types[n])) is not None})
        if len(told) > 1:
            raise ValueError(f"topics {', '.join(sorted(topics))}: 'event.sequence' is {' and '.join(told)}; {ONE_SEQUENCE}")
        longest = max(data_types[name].settle_or(settle) for name in types)
        found.append(Numbering(topics=tuple(sorted(topics)), data_types=tuple(types), settle=longest))
    return tuple(found)


def _joined(topic: str, data_types: Mapping[str, DataType], declared: Mapping[str, DataType]) -> tuple[set[str], list[str]]:
    """The topics numbered together with this one, and the data types that read them."""
    topics, before = {topic}, set[str]()
    while topics != before:
        before = set(topics)
        topics |= {other for t in declared.values() if topics & {*t.topics} for other in t.topics}
    return topics, [name for name, t in data_types.items() if topics & {*t.topics}]


def _path(data_type: DataType) -> str | None:
    return None if data_type.event is None else data_type.event.sequence
