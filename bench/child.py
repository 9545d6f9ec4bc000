"""Run a command and tell its wall time, processor time and peak memory.

A small helper stands between: Linux hands the peak of a parent's memory on to the child it forks, and this process is
large. The helper is an interpreter with nothing in it, smaller than anything that is measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: As on a user's machine: modules are compiled once and kept. Where this is forbidden every command compiles them anew.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
_HELPER = """
import json, os, sys, time
out, *command = sys.argv[1:]
began = time.perf_counter()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, used = os.wait4(pid, 0)
took = time.perf_counter() - began
code = os.waitstatus_to_exitcode(status)
with open(out, "w") as file:
    json.dump([code, took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What one run of a command took."""

    code: int
    seconds: float
    cpu_s: float
    peak_mib: float
    out: str


class CommandFailedError(Exception):
    """A measured command ended with a code that was not expected."""


def run(
    command: Sequence[str | Path], folder: Path, *, codes: Sequence[int] = (0,), environment: Mapping[str, str] | None = None
) -> Used:
    """Run to the end. Raises CommandFailedError with the command's last words."""
    told = folder / "child.json"
    words = [str(word) for word in command]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _HELPER, str(told), *words],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | COMPILED | dict(environment or {}),
    )  # fmt: skip
    if done.returncode:
        raise CommandFailedError(f"{' '.join(words)}: {done.stderr.strip()[-2000:]}")
    code, seconds, cpu_s, peak_mib = json.loads(told.read_text())
    if code not in codes:
        raise CommandFailedError(f"{' '.join(words)} ended with {code}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return Used(code, seconds, cpu_s, peak_mib, done.stdout)


def fencepost(*arguments: str | Path) -> list[str | Path]:
    """The command as a user runs it."""
    return [Path(sys.executable).parent / "fencepost", *arguments]
