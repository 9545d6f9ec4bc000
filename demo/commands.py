"""Run real `fencepost` commands, each in a process of its own, as a user would type them in the demo's folder."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

from demo.processes import end, environment, undisturbed


def run(words: str, folder: Path, *, quiet: bool) -> int:
    """Run one command line there; its output goes where ours goes. Its exit code."""
    # -P: the folder it runs in must not be searched for modules.
    line = [sys.executable, "-P", "-m", "fencepost", *shlex.split(words), *(["--quiet"] if quiet else [])]
    nowhere = subprocess.DEVNULL if quiet else None
    child = subprocess.Popen(line, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=nowhere)
    try:
        return child.wait()
    except BaseException:
        # On a terminal it got the same Ctrl-C, and is recording where it stopped.
        with undisturbed():
            end(child, signal.SIGINT)
        raise
