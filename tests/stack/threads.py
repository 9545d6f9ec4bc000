"""Something at work beside a test, in a thread, until the test's block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[threading.Event], object], *, patience_s: float = 60) -> Iterator[None]:
    """Run `work`, which ends once the event is set. What it died of is raised where it is stopped, in place of the test's
    own error: a test that waits for something dead fails of nothing but its patience."""
    stop, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(patience_s)
        if failed:
            raise failed[0]
    assert not thread.is_alive(), "what ran beside the test did not stop"
