"""Run generators side by side, one in each thread, and pass on what they yield. No I/O of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

#: Longest that one thread keeps the interpreter while another wants it, in seconds.
_SWITCH_S = 0.0005


def together(workers: int, work: Callable[[int, Callable[[], bool]], Iterator[Any]]) -> Iterator[Any]:
    """Run one generator for each worker in a thread of its own, and pass on what they yield. The first error ends all."""
    if workers == 1:
        yield from work(0, lambda: True)
        return
    stop, done = Event(), object()
    out: Queue[Any] = Queue(maxsize=workers)

    def put(item: Any) -> None:
        while True:
            try:
                return out.put(item, timeout=0.1)
            except Full:
                if stop.is_set():
                    return None

    def run(number: int) -> None:
        try:
            for item in work(number, lambda: not stop.is_set()):
                put(item)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            put(error)
        put(done)

    # A thread whose answer has come would wait 5 ms for the interpreter while another reckons, and its server idles.
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))
    threads = [Thread(target=run, args=(number,), name=f"probe-{number}", daemon=True) for number in range(workers)]
    try:
        for thread in threads:
            thread.start()
        left = workers
        while left:
            item = out.get()
            if item is done:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        # Statements are short: each worker ends the one it is in, so that its connection stays usable.
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
