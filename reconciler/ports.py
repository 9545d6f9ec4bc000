"""What the recipes ask of the world outside this room: bring the ledger up, find an event again, tell the operator.

The front door hands these in, so that the reconciler never imports the consumer or a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.keys import Key, KeySet, KeyType
from schemas.log_state import Located, LogState


class CatchUp(Protocol):
    """Read every partition of these data types up to a high watermark taken now, into the ledger."""

    def __call__(self, key_types: Mapping[str, KeyType], *, deadline_s: float) -> LogState:
        """Raises UnavailableError where the event log cannot be reached at all; a lagging partition is only told."""
        ...


class Topics(Protocol):
    """Are the topics of these data types there? Asked before anything is recorded."""

    def __call__(self, names: Sequence[str]) -> None:
        """Raises SettingsError where one is not. A log that does not answer is `CatchUp`'s to tell."""
        ...


class Locate(Protocol):
    """Find the last event about each key again, in the offsets that the ledger says hold them."""

    def __call__(self, name: str, key_type: KeyType, keys: KeySet) -> Mapping[Key, Located]: ...


class Say(Protocol):
    """Progress in words. Every text is ours, with strangers' names already harmless."""

    def phase(self, text: str) -> None:
        """A new step has begun."""
        ...

    def advance(self, done: int, total: int | None) -> None:
        """So many units of the step are done."""
        ...

    def waiting(self, text: str) -> None:
        """We are held up, by whom, for how long."""
        ...


class Silent:
    """Says nothing; for tests and callers without a terminal."""

    def phase(self, text: str) -> None: ...
    def advance(self, done: int, total: int | None) -> None: ...
    def waiting(self, text: str) -> None: ...


class Remembering:
    """Passes everything on, and remembers the step that we are at."""

    def __init__(self, say: Say) -> None:
        self.say, self.step = say, ""

    def phase(self, text: str) -> None:
        self.step = text
        self.say.phase(text)

    def advance(self, done: int, total: int | None) -> None:
        self.say.advance(done, total)

    def waiting(self, text: str) -> None:
        self.say.waiting(text)


def names(items: Sequence[str], limit: int = 5) -> str:
    """`a, b, c and 7 more`."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def some(count: int, one: str, more: str | None = None) -> str:
    """`1 range`, `2 ranges`."""
    return f"{count} {one if count == 1 else more or one + 's'}"
