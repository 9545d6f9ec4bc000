"""Put data on stdout and words on stderr. A reader that went away is no error; a full disk is.

stdout is data: written once, when a command knows its answer, and flushed here, so that a write that failed is an error
with an exit code and not a line that Python prints while it ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from schemas.errors import FencepostError


def put(text: str) -> None:
    """Write one answer to stdout. Raises FencepostError where it cannot be written."""
    put_all((text if text.endswith("\n") else text + "\n",))


def put_all(parts: Iterable[str]) -> None:
    """Write an answer a part at a time; the rest is not asked for once nobody reads it."""
    try:
        for part in parts:
            sys.stdout.write(part)
        sys.stdout.flush()
    except BrokenPipeError:
        _close(sys.stdout)
    except OSError as error:
        _close(sys.stdout)
        raise FencepostError(f"cannot write the result to stdout: {error.strerror}") from None


def put_json(value: Any) -> None:
    put(json.dumps(value, ensure_ascii=False, default=str))


def tell(line: str) -> None:
    """Write one line of words to stderr. That nobody reads them must not stop the work."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        _close(sys.stderr)


def prepare_streams() -> None:
    """UTF-8 whatever the locale, and no error over a character that a terminal lacks. What our caller closed leads nowhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one: left free, it would go to the next file or connection we open.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - lives as long as we do
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def coloured(stream: TextIO) -> bool:
    """Colours only on a terminal, and not where NO_COLOR says so."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def _close(stream: TextIO) -> None:
    """Let everything written from now on vanish, also what Python flushes at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
