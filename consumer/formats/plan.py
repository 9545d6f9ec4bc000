"""What one route wants of a record, as data: which paths, which values, and what they say.

Plain events, outbox rows and Debezium's envelope become one kind of `Plan` (`debezium` makes the latter two). Two readers
carry a plan out: `records` one record at a time, the measure of truth, and `columns` a chunk at a time, which hands every
record it is not sure of to the former.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias
from zoneinfo import ZoneInfo

from consumer.formats.contract import Route
from consumer.formats.paths import Path, split
from schemas.data_types import EventShape
from schemas.keys import KeyType

Literal: TypeAlias = str | int | bool


class Say(IntEnum):
    """What the value at `Plan.op` says about the key."""

    NOTHING = 0
    CREATE = 1
    DELETE = 2
    CHANGE = 3  #: an update: nothing, unless the key changed
    TRUNCATE = 4  #: every key of the table at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One condition under which a record concerns the route at all."""

    path: Path
    literals: tuple[Literal, ...]
    absent_ok: bool = False  #: a record without the field passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """One place where a record may tell its time. `unit` None: as the value shows."""

    path: Path
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One route, ready to be carried out."""

    name: str
    key_type: KeyType
    zone: ZoneInfo | None
    matches: tuple[Match, ...]
    op: Path | None  #: None: every record is a creation
    says: Mapping[str, Say]
    strict_op: bool  #: an unknown op makes the record unreadable instead of ignored
    created: tuple[Path, ...]  #: the key of a creation, a path per column
    deleted: tuple[Path, ...]
    clocks: tuple[Clock, ...]  #: the first that tells a time
    broker_time: bool
    table: str
    sequence: Path | None = None  #: where every record of the topic may tell its number

    @property
    def paths(self) -> Iterator[Path]:
        """Every path the plan looks at."""
        for match in self.matches:
            yield match.path
        if self.op is not None:
            yield self.op
        yield from self.created
        yield from self.deleted
        for clock in self.clocks:
            yield clock.path
        if self.sequence is not None:
            yield self.sequence

    @property
    def optional(self) -> frozenset[Path]:
        """Paths a writer's schema may lack."""
        needed = {*self.created, *self.deleted} | ({self.op} if self.op else set())
        needed |= {m.path for m in self.matches if not m.absent_ok}
        if len(self.clocks) == 1 and self.clocks[0].unit is None:
            needed.add(self.clocks[0].path)
        return frozenset(self.paths) - needed


def plain(route: Route, shape: EventShape, matches: tuple[Match, ...] = ()) -> Plan:
    """A plan for events as the settings' `event` block writes them."""
    key = tuple(map(split, shape.key))
    says = {**dict.fromkeys(shape.create, Say.CREATE), **dict.fromkeys(shape.delete, Say.DELETE)}
    return Plan(
        name=route.name,
        key_type=route.key_type,
        zone=zone_of(route),
        matches=(*matches, *declared(route)),
        op=None if shape.op is None else split(shape.op),
        says=says,
        strict_op=False,
        created=key,
        deleted=key,
        clocks=() if shape.time is None else (Clock(path=split(shape.time)),),
        broker_time=shape.time is None,
        table=route.data_type.source.table,
    )


def declared(route: Route) -> tuple[Match, ...]:
    """The settings' `match` block."""
    return tuple(Match(path=split(path), literals=(literal,)) for path, literal in route.data_type.match.items())


def zone_of(route: Route) -> ZoneInfo | None:
    zone = route.data_type.source.zone
    return None if zone is None else ZoneInfo(zone)
