"""`fencepost` as a process that kills itself at one boundary of a sweep: `before` or `after` the n-th call of a function."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import fencepost
from reconciler.sweeping import cut


def die_at(place: str, when: str, nth: int) -> None:
    """`place` is `module:function` or `module:Class.method`."""
    module, _, path = place.partition(":")
    *classes, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for inner in classes:
        owner = getattr(owner, inner)
    real, calls = getattr(owner, name), [0]

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*args, **kwargs)
        if calls[0] == nth and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, dying)


if __name__ == "__main__":
    place, when, nth, *arguments = sys.argv[1:]
    cut.DENSE_ROWS = cut.WIDEST = 30
    die_at(place, when, int(nth))
    sys.exit(fencepost.run_command(arguments))
