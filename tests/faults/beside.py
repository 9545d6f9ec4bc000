"""What is at work beside the test: a command in a process of its own, and things done in a thread."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.installation import CANARY, Done

#: Nobody may ever see this again: it stands in every password of the settings.
SECRET = CANARY


@dataclass
class Child:
    """A command at work."""

    line: str
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def ended(self, within_s: float = 60.0) -> Done:
        self.process.wait(within_s)
        return harmless_words(Done(self.line, self.process.returncode, self.out.read_text(), self.err.read_text()))


def harmless_words(done: Done) -> Done:
    """What no run may ever do."""
    assert SECRET not in done.out + done.err, done
    assert "Traceback" not in done.err, done
    assert "bug in fencepost" not in done.err, done
    return done


class Aside:
    """Work in a thread beside the command, whose error fails the test."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again in `join`
                self._error.append(error)

        self._thread = threading.Thread(target=guarded, daemon=True)
        self._thread.start()

    def join(self, within_s: float = 60.0) -> None:
        self._thread.join(within_s)
        assert not self._thread.is_alive()
        for error in self._error:
            raise error
