"""What `fencepost quarantine` does with what was not read: records set aside and holes, under one roof.

Functions return data; `*_text` turn it into words. A record is named by its number, a hole as `hole-3`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer import holes, quarantine
from consumer.quarantine import SetAside
from consumer.settlement import Name, Settlement, is_hole
from databases.ledger import Ledger
from schemas.keys import KeyType
from schemas.log_state import Hole
from schemas.settings import Settings
from schemas.verdict import utc

LISTED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """What `list` tells; at most `LISTED` of each, with how many there are."""

    records: list[SetAside]
    holes: list[Hole]
    of_records: int
    of_holes: int

    def json(self) -> dict[str, Any]:
        return {"records": [record_json(r) for r in self.records], "holes": [hole_json(h) for h in self.holes]}

    def text(self) -> str:
        if not self.records and not self.holes:
            return "no record is in quarantine, and no hole is open"
        lines = [f"{h.name:>8}  {h.described}  {h.state}" for h in self.holes]
        lines += _more(self.of_holes - len(self.holes), "hole")
        lines += [f"{r.id:>8}  {_place(r)}  {_size(r)}  {r.state}: {r.reason}" for r in self.records]
        lines += _more(self.of_records - len(self.records), "record")
        return "\n".join(lines)


def _place(record: SetAside) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"


def _more(count: int, what: str) -> list[str]:
    return [f"… and {count:,} more {what}{'' if count == 1 else 's'}"] if count > 0 else []


def unsettled(ledger: Ledger, *, every: bool = False) -> Unsettled:
    state = None if every else "open"
    return Unsettled(
        records=quarantine.list_(ledger, state=state, limit=LISTED),
        holes=holes.list_(ledger, state=state, limit=LISTED),
        of_records=quarantine.count(ledger, state=state),
        of_holes=holes.count(ledger, state=state),
    )


def shown(ledger: Ledger, name: Name) -> tuple[dict[str, Any], str]:
    """One of them, as JSON and in words. Raises LedgerError where there is none of this name."""
    if is_hole(name):
        hole = holes.show(ledger, name)
        return hole_json(hole), hole_text(hole)
    record = quarantine.show(ledger, int(name))
    return record_json(record), record_text(record)


def resolve(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    names: Sequence[Name],
    *,
    accept: str | None,
    by: str,
) -> Settlement:
    """With `accept`, take the loss for that reason; without, read the records again. Nothing is settled where one of the
    names is nobody's."""
    lost = [name for name in names if is_hole(name)]
    records = [int(name) for name in names if not is_hole(name)]
    for name in names:
        shown(ledger, name)
    done = Settlement()
    if accept is not None:
        done |= quarantine.accept(ledger, records, reason=accept, by=by)
        return done | holes.accept(ledger, lost, reason=accept, by=by)
    if records:
        done |= quarantine.read_again(settings, ledger, key_types, records, by=by)
    return done | holes.not_again(ledger, lost)


# -- in words, and as JSON --------------------------------------------------------------------------------------------


def record_json(record: SetAside) -> dict[str, Any]:
    return {
        "id": record.id,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "reason": record.reason,
        "size": record.size,
        "state": record.state,
        "at": record.at.isoformat(),
        "value_hex": None if record.value is None else record.value.hex(),
        "settled_at": None if record.settled_at is None else record.settled_at.isoformat(),
        "settled_by": record.settled_by,
        "settled_reason": record.settled_reason,
    }


def hole_json(hole: Hole) -> dict[str, Any]:
    return {
        "id": hole.name,
        "topic": hole.topic,
        "partition": hole.partition,
        "from_offset": hole.from_offset,
        "to_offset": hole.to_offset,
        "kind": hole.kind,
        "from": _time(hole.from_us),
        "to": _time(hole.to_us),
        "state": hole.state,
        "at": None if hole.at is None else hole.at.isoformat(),
        "settled_by": hole.by,
        "settled_reason": hole.reason,
    }


def _size(record: SetAside) -> str:
    return f"{record.size:,} byte{'' if record.size == 1 else 's'}"


def record_text(record: SetAside) -> str:
    lines = [
        f"record {record.id}: {record.topic}[{record.partition}] at offset {record.offset}, {_size(record)}",
        f"  set aside {record.at.isoformat(timespec='seconds')}: {record.reason}",
        f"  {record.state}",
    ]
    if record.settled_by:
        lines[-1] += f" by {record.settled_by}: {record.settled_reason}"
    if record.value is not None:
        lines += [f"  {at:04x}  {record.value[at : at + 16].hex(' '):<47}  {_plain(record.value[at : at + 16])}"
                  for at in range(0, len(record.value), 16)]  # fmt: skip
    return "\n".join(lines)


def hole_text(hole: Hole) -> str:
    noticed = "" if hole.at is None else f"  noticed {hole.at.isoformat(timespec='seconds')}: {KINDS.get(hole.kind, hole.kind)}"
    since = _time(hole.from_us) or "the beginning"
    lines = [
        f"{hole.name}: {hole.described}",
        noticed,
        f"  rows created from {since} to {_time(hole.to_us) or 'now'} may have been announced there: they stay 'unread'",
        f"  {hole.state}",
    ]
    if hole.by:
        lines[-1] += f" by {hole.by}: {hole.reason}"
    return "\n".join(line for line in lines if line)


#: Kind of a hole -> what happened.
KINDS = {
    "retention": "the broker deleted these records before they were read",
    "recreated": "the topic was made anew; what the old one still held is gone",
    "truncated": "the log was cut back: what was read there is no longer what it holds",
    "corrupt": "a batch was damaged and was passed over",
}


def settlement_plain(done: Settlement) -> dict[str, object]:
    return {"settled": list(done.settled), "failed": {str(name): why for name, why in done.failed.items()}}


def settlement_text(done: Settlement) -> str:
    lines = [f"{len(done.settled)} settled"] if done.settled else []
    lines += [f"{name if is_hole(name) else f'record {name}'} was not settled: {why}" for name, why in done.failed.items()]
    return "\n".join(lines) or "nothing to settle"


def _plain(data: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 else "·" for b in data)


def _time(us: int | None) -> str | None:
    if us is None:
        return None
    try:
        return utc(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))
    except OverflowError:
        return None
