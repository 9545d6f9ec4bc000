"""libfaketime: a server that is shown another clock than the machine's, which can be changed while it runs.

A server, not our command: the release that Debian has lets a Python process wait for ever. Only the difference counts.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.stack.processes import MissingPartError


@cache
def library() -> str:
    """What `faketime` loads into its child; where it lies differs from machine to machine. Raises MissingPartError."""
    tool = shutil.which("faketime")
    if tool is None:
        raise MissingPartError("libfaketime", "no `faketime` on the PATH (Debian: make parts, as root)")
    told = subprocess.run([tool, "-m", "-f", "+0", "env"], capture_output=True, text=True, check=True).stdout
    return next(line.partition("=")[2] for line in told.splitlines() if line.startswith("LD_PRELOAD="))


class Clock:
    """Hours by which a process with these `variables` is off. Its monotonic clock is left alone, as a real one is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.variables = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",  # read at every question, so that it can be changed meanwhile
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name before 0.9.10
        }

    def set(self, hours: int) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{hours:+d}h\n")
        written.replace(self._file)  # never half a line
