"""Share one range of keys among workers: each advances through its own part, an idle one takes half of the widest left.

So no statistics are needed to cut a table fairly, and no skew makes one worker do all. Thread-safe, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from reconciler.probe.ints import WIDTH
from schemas.keys import Key

#: Text is halved by its first letters, as one large number.
_LETTERS = 64


@dataclass(slots=True)
class Part:
    """What is left to one worker: keys in [at, end); end None is unbounded."""

    at: Key
    end: Key | None


class Board:
    """The parts still unread. A part's owner claims its low end; only its high end may be taken by another."""

    def __init__(self, kind: str, low: Key, high: Key | None, top: Key) -> None:
        self._kind, self._lock = kind, Lock()
        self._top = top  #: no row lies past it, so halving may end there
        self._parts: dict[int, Part] = {}
        self._first: Part | None = Part(low, high)

    def take(self, worker: int) -> Part | None:
        """The worker's part as it stands, or half of another's, or nothing."""
        with self._lock:
            part = self._parts.get(worker)
            if part is None and self._first is not None:
                part, self._first = self._first, None
            if part is None:
                part = self._steal()
            if part is None:
                return None
            self._parts[worker] = part
            return Part(part.at, part.end)

    def claim(self, worker: int, high: Key | None) -> Key | None:
        """Claim from the part's low end up to `high`, or less where another took the rest. Tells the bound."""
        with self._lock:
            part = self._parts[worker]
            if part.end is not None and (high is None or high >= part.end):  # type: ignore[operator]
                high = part.end
            if high is None or high == part.end:
                del self._parts[worker]
            else:
                part.at = high
            return high

    def _steal(self) -> Part | None:
        """Half of the widest part; the owner keeps the lower half, which it is reading."""
        best: tuple[int, Part, Key] | None = None
        for part in self._parts.values():
            end = self._top if part.end is None else min(part.end, self._top)
            middle = halfway(self._kind, part.at, end)
            if middle is not None:
                width = _number(self._kind, end) - _number(self._kind, part.at)
                if best is None or width > best[0]:
                    best = width, part, middle
        if best is None:
            return None
        _, part, middle = best
        taken = Part(middle, part.end)
        part.end = middle
        return taken


def halfway(kind: str, low: Key, high: Key) -> Key | None:
    """A key between, where a cut is worth it."""
    cut: Key
    if kind == "int":
        width = int(high) - int(low)
        cut = (int(low) + int(high)) // 2
        if width > 2 * WIDTH:
            cut &= -WIDTH  # slices begin at multiples of it
        return cut if width > WIDTH // 16 and int(low) < cut < int(high) else None
    assert isinstance(low, bytes)
    assert isinstance(high, bytes)
    middle = (_number(kind, low) + _number(kind, high)) // 2
    if kind == "uuid":
        cut = middle.to_bytes(16, "big")
    else:
        # Seven bits a byte, so that every cut is valid UTF-8; keys that differ in other letters only are not cut.
        cut = bytes(middle >> 7 * at & 127 or 1 for at in reversed(range(_LETTERS)))
    return cut if low < cut < high else None


def _number(kind: str, key: Key) -> int:
    """Where a key lies, to compare widths."""
    if isinstance(key, int):
        return key
    if kind == "uuid":
        return int.from_bytes(key[:16].ljust(16, b"\0"), "big")
    number = 0
    for letter in key[:_LETTERS].ljust(_LETTERS, b"\0"):
        number = number << 7 | min(letter, 127)
    return number
