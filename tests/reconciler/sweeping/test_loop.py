"""Pass after pass: begun when one is due, and never at once again because a type cannot be swept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event

from reconciler import sweep
from reconciler.ports import Silent

HOUR = timedelta(hours=1)


class Stop(Event):
    """Told to stop at its n-th wait."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.left = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        if self.left <= 0:
            self.set()
        return self.is_set()


def passes(due: datetime | None, *, ended: bool = True) -> int:
    begun = list[bool]()

    def once(stop: Event) -> bool:
        begun.append(True)
        if len(begun) == 3:
            stop.set()
        return ended

    sweep.loop(once, lambda: due, HOUR, Stop(2), Silent())
    return len(begun)


def test_a_pass_that_is_not_due_is_not_begun() -> None:
    assert passes(datetime.now(UTC) + HOUR) == 0


def test_a_type_that_is_never_done_does_not_have_the_next_pass_begin_at_once() -> None:
    assert passes(None) == 1


def test_a_pass_that_could_not_end_is_tried_again() -> None:
    assert passes(None, ended=False) == 3


class Waits(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def waiting(self, text: str) -> None:
        self.told.append(text)


def test_when_the_next_pass_is_due_is_said_once_and_anew_where_that_changes() -> None:
    """It looks once a minute whether another has swept meanwhile: a line each would be a log of nothing else."""
    first = datetime.now(UTC) + HOUR
    due = [first] * 5 + [first + HOUR] * 5
    heard = Waits()
    sweep.loop(lambda _: True, lambda: due.pop(0), HOUR, Stop(8), heard)
    assert len(heard.told) == 2
