"""Carry out a plan on one record: the measure of truth, and the giver of reasons.

`columns` must agree with this file on every record it decides by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from zoneinfo import ZoneInfo

from consumer.formats.paths import MISSING, Path, dotted
from consumer.formats.plan import Clock, Match, Plan, Say
from consumer.formats.times import UNITS, Stamp, checked, instant, kind_of
from schemas.errors import BadKey, BadRecord
from schemas.events import NO_TIME, Op
from schemas.keys import INT64_MAX, INT64_MIN, MAX_KEY_BYTES, Key

Find: TypeAlias = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Event:
    """What one record says about one key of one route."""

    op: Op
    key: Key
    time: int


def judge(plan: Plan, find: Find, broker_us: int, *, strict: bool) -> tuple[Event, ...]:
    """The events of one record for one route; none where it does not concern the route or is ignored by rule.

    `strict`: a field to match on that is not there is an error (a schema tells), not another kind of record (JSON).
    Raises BadRecord.
    """
    if not all(passes(match, find, strict=strict) for match in plan.matches):
        return ()
    say = said(plan, find)
    if say is Say.NOTHING:
        return ()
    if say is Say.TRUNCATE:
        raise BadRecord(f"truncate of {plan.table} cannot be told per key")
    if say is Say.CHANGE:
        return changed(plan, find, broker_us)
    paths = plan.created if say is Say.CREATE else plan.deleted
    return (Event(Op(int(say)), key_at(plan, paths, find), time_of(plan, find, broker_us)),)


def passes(match: Match, find: Find, *, strict: bool) -> bool:
    value = find(match.path)
    if value is MISSING and not match.absent_ok and strict:
        raise no_field(match.path)
    if value is None or value is MISSING:
        return match.absent_ok
    return any(type(value) is type(literal) and value == literal for literal in match.literals)


def said(plan: Plan, find: Find) -> Say:
    if plan.op is None:
        return Say.CREATE
    value = find(plan.op)
    if value is MISSING:
        raise no_field(plan.op)
    if type(value) is not str:
        raise BadRecord(f"{dotted(plan.op)!r} must be text to say what happened, not {kind_of(value)}")
    say = plan.says.get(value)
    if say is None and plan.strict_op:
        raise BadRecord(f"the value of {dotted(plan.op)!r} is none of {', '.join(plan.says)}")
    return say or Say.NOTHING


def changed(plan: Plan, find: Find, broker_us: int) -> tuple[Event, ...]:
    """An update: only one that moves the key says something."""
    if all(find(path) is None for path in plan.deleted):
        return ()  # no old row was sent: the key did not change, or the source would have sent it
    old, new = key_at(plan, plan.deleted, find), key_at(plan, plan.created, find)
    if old == new:
        return ()
    at = time_of(plan, find, broker_us)
    return Event(Op.DELETE, old, at), Event(Op.CREATE, new, at)


def key_at(plan: Plan, paths: tuple[Path, ...], find: Find) -> Key:
    values = []
    for path in paths:
        value = find(path)
        if value is MISSING:
            raise no_field(path)
        if value is None:
            raise BadKey(f"the key {dotted(path)!r} is null")
        values.append(value)
    try:
        return plan.key_type.canonical(values[0] if plan.key_type.kind != "composite" else tuple(values))
    except BadKey:
        raise BadKey(why_bad(plan.key_type.kind, paths, values)) from None


def why_bad(kind: str, paths: tuple[Path, ...], values: list[object]) -> str:
    """The reason without the value, which may be anything."""
    names = ", ".join(map(dotted, paths))
    value = values[0]
    if kind == "int" and type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        return f"the key {names!r} does not fit 64 bits with sign"
    if kind == "text" and type(value) is str and (size := len(value.encode(errors="replace"))) > MAX_KEY_BYTES:
        return f"the key {names!r} is {size} bytes long; an index entry holds at most {MAX_KEY_BYTES}"
    if len(values) > 1 or (type(value) is str and kind != "int"):
        return f"the key {names!r} is not a valid {kind} key"
    return f"the key {names!r} must be {kind}, not {kind_of(value)}"


def time_of(plan: Plan, find: Find, broker_us: int) -> int:
    if plan.broker_time:
        return broker_us
    for clock in plan.clocks:
        at = told(clock, plan, find)
        if at != NO_TIME:
            return at
    return NO_TIME


def told(clock: Clock, plan: Plan, find: Find) -> int:
    return told_by(find(clock.path), clock.path, clock.unit, plan.zone)


def told_by(value: object, path: Path, unit: str | None, zone: ZoneInfo | None) -> int:
    """The time one clock tells; NO_TIME where it is silent."""
    if value is None or (value is MISSING and unit):
        return NO_TIME
    if value is MISSING:
        raise no_field(path)
    if unit is None:
        return instant(value, zone)
    if isinstance(value, Stamp):
        value = value.value
    if type(value) is not int:
        raise BadRecord(f"the time {dotted(path)!r} is {kind_of(value)}, not a whole number")
    factor, divisor = UNITS[unit]
    return NO_TIME if value <= 0 else checked(value * factor // divisor)  # connectors write 0 where they know none


def no_field(path: Path) -> BadRecord:
    return BadRecord(f"the record has no field {dotted(path)!r}")
