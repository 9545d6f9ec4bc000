"""How the consumer tells its operator how far it is: three calls that the front door's voices understand."""

from __future__ import annotations

from typing import Protocol


class Say(Protocol):
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
    """Says nothing."""

    def phase(self, text: str) -> None: ...
    def advance(self, done: int, total: int | None) -> None: ...
    def waiting(self, text: str) -> None: ...
