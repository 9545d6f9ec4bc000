"""Check the values of options, with words that say what would do. Imported by commands, not at start-up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from schemas.durations import duration
from schemas.errors import SettingsError


def wait(text: str) -> timedelta:
    """Raises SettingsError."""
    try:
        return duration(text)
    except ValueError as error:
        raise SettingsError(f"--wait cannot be {text!r}: {error}", hint="for instance --wait 30s") from None


def span_of(name: str, text: str) -> timedelta:
    """The time that an option takes, which may not be nothing. Raises SettingsError."""
    hint = f"for instance {name} 24h"
    try:
        found = duration(text)
    except ValueError as error:
        raise SettingsError(f"{name} cannot be {text!r}: {error}", hint=hint) from None
    if not found:
        raise SettingsError(f"{name} cannot be {text!r}: that would be without end", hint=hint)
    return found


def repeated(
    config: Path | None,
    since: str | None,
    types: Sequence[str] | None,
    *,
    deletes: bool = False,
    without_log: bool = False,
) -> str:
    """The options that a next command has to repeat, quoted for a shell."""
    from shlex import quote

    parts = [f"--since {quote(since)}"] if since else []
    parts += [f"--type {quote(name)}" for name in types or ()]
    parts += ["--deletes"] if deletes else []
    parts += ["--without-log"] if without_log else []
    parts += [f"--config {quote(str(config))}"] if config else []
    return " ".join(parts)
