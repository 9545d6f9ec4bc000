"""Set up log lines on stderr: a constant sentence plus fields, as text or as JSON.

Everything that came from outside is made harmless in both forms: a newline or an escape sequence in a name cannot forge
a line or repaint a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any

from schemas.settings import LogSettings
from terminal.harmless import harmless

_PROGRESS = "fencepost.progress"
_BROKER_CLIENT = "fencepost.librdkafka"
#: A broker that is away is tried again twenty times a second, and each time the client says so.
SAID_AGAIN_S = 30.0
_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


def set_up(logs: LogSettings, *, service: bool, quiet: bool = False) -> None:
    """A service (`track`) logs at the level of the settings. A command that ends soon says its progress in words
    anyway, so at `info` it logs from `warning` on; `--quiet` raises both by one step."""
    level = logging.getLevelNamesMapping()[logs.level.upper()]
    if not service and level == logging.INFO:
        level = logging.WARNING
    if quiet and level > logging.DEBUG:
        level = min(level + 10, logging.ERROR)
    handler = _Stderr()
    handler.setFormatter(JsonLines() if logs.format == "json" else TextLines())
    handler.addFilter(Repeats())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(level, logging.INFO))  # strangers' debug lines may hold what we would never print
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its chatter about plugins and contexts tells an operator nothing
    for room in ("consumer", "reconciler", "databases", "schemas", "fencepost", "demo"):
        logging.getLogger(room).setLevel(level)
    logging.getLogger(_PROGRESS).setLevel(logging.INFO)
    # Whoever runs a command to its end is told why a broker did not answer, once, by the command itself.
    quieter = not service and level > logging.DEBUG
    logging.getLogger(_BROKER_CLIENT).setLevel(logging.CRITICAL if quieter else logging.NOTSET)
    logging.captureWarnings(True)


def log_line(text: str) -> None:
    """A line of progress among JSON log lines."""
    logging.getLogger(_PROGRESS).info(text, extra={"event": "progress"})


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`."""
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class Repeats(logging.Filter):
    """Lets the broker client say the same once in `SAID_AGAIN_S`; the next time tells how often it was said meanwhile. The
    lines of a broker that is away would bury all others, among them the one that tells what to do."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != _BROKER_CLIENT and getattr(record, "event", None) != "kafka_error":
            return True
        # The number of a client and the time an attempt took are not what it says.
        words = re.sub(r"\d+", "", f"{record.getMessage()} {getattr(record, 'why', '')}")
        at, more = self._said.get(words, (0.0, 0))
        now = time.monotonic()
        if words in self._said and now - at < SAID_AGAIN_S:
            self._said[words] = (at, more + 1)
            return False
        self._said = {w: (then, n) for w, (then, n) in self._said.items() if now - then < SAID_AGAIN_S or n}
        self._said[words] = (now, 0)
        if more:
            record.repeated = more
        return True


class TextLines(logging.Formatter):
    """`2026-11-01T12:00:00Z INFO    batch stored  data_type=job_artifact ids=12`."""

    def format(self, record: logging.LogRecord) -> str:
        said = "".join(f" {name}={_field(value)}" for name, value in fields(record).items() if name != "event")
        line = f"{_at(record)} {record.levelname:<7} {harmless(record.getMessage())}{' ' if said else ''}{said}"
        return "\n".join([line, *(f"    {text}" for text in _trace(record))])


class JsonLines(logging.Formatter):
    """One object a line: at, level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": harmless(record.getMessage()),
        }
        for name, value in fields(record).items():
            line.setdefault(name, value if isinstance(value, bool | int | float | None) else harmless(value))
        trace = _trace(record)
        if trace:
            line["exception"] = "\n".join(trace)
        return json.dumps(line, ensure_ascii=False)


class _Stderr(logging.Handler):
    """Looks stderr up at each line, so that a live bar can step aside."""

    def emit(self, record: logging.LogRecord) -> None:
        """A log line that cannot be made or written must not stop the work."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError, TypeError):
            return


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _field(value: object) -> str:
    text = harmless(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=') else text


def _trace(record: logging.LogRecord) -> list[str]:
    """The traceback at debug level; else the exception's type alone."""
    if not record.exc_info or record.exc_info[1] is None:
        return []
    if not logging.getLogger("fencepost").isEnabledFor(logging.DEBUG):
        return [type(record.exc_info[1]).__name__]
    return [harmless(line) for line in "".join(traceback.format_exception(*record.exc_info)).splitlines()]
