"""Children of the demo: end them whatever happens, and keep the caller's settings out of them.

Whoever types `fencepost demo` may have `FENCEPOST_SOURCE__DSN` or `PGHOST` of a real system in the environment. Both win
over a settings file, so neither may reach a command of the demo.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

_NOT_OURS = ("FENCEPOST_", "PG")
ENDED_WITHIN_S = 15.0


def environment() -> dict[str, str]:
    """The caller's environment without anything that would point a command at other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}


def end(child: subprocess.Popen[bytes], how: signal.Signals, *, leads: bool = False) -> None:
    """Ask it to end, then make it; where it leads a session of its own, with its children. Ending what has ended is fine."""
    if child.poll() is None:
        child.send_signal(how)
    try:
        child.wait(ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if leads:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C, while things are being stopped, must not leave them running."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, and the terminal that is closed, end the demo as Ctrl-C does: with everything stopped."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {name: signal.signal(name, stop) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
