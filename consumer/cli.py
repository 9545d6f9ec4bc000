"""What `fencepost track` and `fencepost quarantine` do, as plain functions; the front door mounts them and reads options.

Functions return data; `*_text` turn it into words.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from consumer import quarantine
from consumer.catch_up import catch_up
from consumer.intake import Flush
from consumer.quarantine import SetAside, Settlement
from consumer.say import Say, Silent
from consumer.tracker import Tracker
from databases.ledger import Ledger
from schemas.keys import KeyType
from schemas.log_state import LogState
from schemas.settings import Settings


@dataclass(slots=True, kw_only=True)
class Summary:
    """What a `track` did. `state` only with `until_end`."""

    records: int = 0
    ignored: int = 0
    unreadable: int = 0
    events: Counter[tuple[str, str]] = field(default_factory=Counter)  #: by data type and op
    stopped: bool = False  #: by a signal
    state: LogState | None = None

    def add(self, flush: Flush) -> None:
        self.records += flush.records
        self.ignored += flush.ignored
        self.unreadable += len(flush.unreadable)
        for segment in flush.segments:
            self.events[segment.data_type, "create"] += segment.creates
            self.events[segment.data_type, "delete"] += segment.deletes

    @property
    def drained(self) -> bool:
        return self.state is None or self.state.drained

    def json(self) -> dict[str, Any]:
        types: dict[str, dict[str, int]] = {}
        for (name, op), count in sorted(self.events.items()):
            types.setdefault(name, {})[op] = count
        state = self.state
        return {
            "records": self.records,
            "ignored": self.ignored,
            "quarantined": self.unreadable,
            "events": types,
            "stopped": self.stopped,
            "drained": None if state is None else state.drained,
            "problems": [] if state is None else list(state.problems),
            "offsets": {} if state is None else state.offsets,
        }

    def text(self) -> str:
        lines = [f"{self.records:,} records read"]
        if self.unreadable:
            lines.append(f"{self.unreadable:,} could not be read: see `fencepost quarantine list`")
        for (name, op), count in sorted(self.events.items()):
            if count:
                lines.append(f"  {name}: {count:,} {op}d")
        if self.state is not None:
            lines += self.state.problems or ["the ledger holds the log up to its end"]
        return "\n".join(lines)


def run_track(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    *,
    until_end: bool,
    output: Say | None = None,
    deadline_s: float = 30.0,
) -> Summary:
    """Follow the log until SIGTERM or SIGINT, or, with `until_end`, to the ends seen at the start."""
    summary = Summary()
    with _stopping() as stop:
        if until_end:
            summary.state = catch_up(
                settings,
                ledger,
                key_types,
                deadline_s=deadline_s,
                say=output,
                on_flush=summary.add,
                should_stop=stop.is_set,
            )
        else:
            tracker = Tracker(
                settings=settings,
                ledger=ledger,
                key_types=key_types,
                say=output or Silent(),
                on_flush=summary.add,
            )
            tracker.run(stop)
        summary.stopped = stop.is_set()
    return summary


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that what was read is stored before we go."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- quarantine -------------------------------------------------------------------------------------------------------


def list_(ledger: Ledger, *, every: bool = False, limit: int = 100) -> list[SetAside]:
    return quarantine.list_(ledger, state=None if every else "open", limit=limit)


def show(ledger: Ledger, number: int) -> SetAside:
    return quarantine.show(ledger, number)


def resolve(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    ids: Sequence[int],
    *,
    accept: str | None,
    by: str,
) -> Settlement:
    """With `accept`, take the loss for that reason; without, read the records again."""
    if accept is not None:
        return quarantine.accept(ledger, ids, reason=accept, by=by)
    return quarantine.read_again(settings, ledger, key_types, ids, by=by)


def aside_json(record: SetAside) -> dict[str, Any]:
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


def list_text(records: Sequence[SetAside], total: int | None = None) -> str:
    if not records:
        return "no record is in quarantine"
    lines = [f"{r.id:>6}  {r.topic}[{r.partition}]@{r.offset}  {r.size:,} bytes  {r.state}: {r.reason}" for r in records]
    if total is not None and total > len(records):
        lines.append(f"… and {total - len(records):,} more")
    return "\n".join(lines)


def show_text(record: SetAside) -> str:
    lines = [
        f"record {record.id}: {record.topic}[{record.partition}] at offset {record.offset}, {record.size:,} bytes",
        f"  set aside {record.at.isoformat(timespec='seconds')}: {record.reason}",
        f"  {record.state}",
    ]
    if record.settled_by:
        lines[-1] += f" by {record.settled_by}: {record.settled_reason}"
    if record.value is not None:
        lines += [f"  {at:04x}  {record.value[at : at + 16].hex(' '):<47}  {_plain(record.value[at : at + 16])}"
                  for at in range(0, len(record.value), 16)]  # fmt: skip
    return "\n".join(lines)


def settlement_text(done: Settlement) -> str:
    lines = [f"{len(done.settled)} settled"] if done.settled else []
    lines += [f"record {number} was not settled: {why}" for number, why in done.failed.items()]
    return "\n".join(lines) or "nothing to settle"


def _plain(data: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 else "·" for b in data)
