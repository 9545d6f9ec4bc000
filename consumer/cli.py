"""What `fencepost track` does, as plain functions; the front door mounts them and reads options."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from consumer.catch_up import catch_up
from consumer.intake import Flush
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
    with stopping() as stop:
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


def tracking(settings: Settings, ledger: Ledger) -> Callable[[Mapping[str, KeyType], threading.Event], object]:
    """A tracker for a service that does more: follow the log until stopped."""
    return lambda key_types, stop: Tracker(settings=settings, ledger=ledger, key_types=key_types).run(stop)


@contextmanager
def stopping() -> Iterator[threading.Event]:
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
