"""Print a failure as its chain of causes, and say with which code to exit. No traceback, no secret, nothing on stdout.

What is foreseen (`FencepostError`) is told in its own words. Anything else is a bug, and told as one: by its type alone,
for its message may hold anything.
"""

from __future__ import annotations

import traceback

from schemas.errors import Exit, FencepostError, causes
from terminal.output import tell

_CLIP = 2000


class Debug:
    """Whether a bug is told with its traceback: `logs.level: debug`. Known only once the settings are read."""

    on = False


def explain(error: FencepostError) -> list[str]:
    """`fencepost: cannot …`, `  because …`, `  try: …`."""
    from terminal.harmless import harmless

    lines: list[str] = []
    hint: str | None = None
    for cause in causes(error):
        words = _words(cause)
        if not lines:
            lines.append(f"fencepost: {harmless(words)[:_CLIP]}")
        elif words:
            lines.append(f"  because {harmless(words)[:_CLIP]}")
        hint = getattr(cause, "hint", None) or hint  # the deepest hint is nearest to what went wrong
    if hint:
        lines.append(f"  try: {harmless(hint)[:_CLIP]}")
    return lines


def report_failure(error: BaseException) -> Exit:
    """Tell one failure on stderr, and what was noted about it on its way; the exit code."""
    code = _report(error)
    for note in getattr(error, "__notes__", ()):
        from terminal.harmless import harmless

        tell(f"fencepost: {harmless(note)}")
    return code


def _report(error: BaseException) -> Exit:
    if isinstance(error, FencepostError):
        for line in explain(error):
            tell(line)
        _trace(error)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        tell("fencepost: interrupted before it could finish: no verdict; `fencepost runs` tells where it stopped")
        return Exit.FAILED
    if isinstance(error, MemoryError):
        tell("fencepost: out of memory")
        return Exit.FAILED
    tell(f"fencepost: unexpected {type(error).__name__}: this is a bug in fencepost, not in your data")
    if not Debug.on:
        tell("  try: run it again with FENCEPOST_LOGS__LEVEL=debug, and report what it prints")
    _trace(error)
    return Exit.FAILED


def _words(error: BaseException) -> str:
    if isinstance(error, FencepostError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    from terminal.harmless import knows_secrets

    # A foreign message may quote a connection string; it is shown only where we know what to hide in it.
    text = " ".join(str(error).split())
    return text if text and knows_secrets() else type(error).__name__


def _trace(error: BaseException) -> None:
    if Debug.on:
        from terminal.harmless import harmless

        for line in "".join(traceback.format_exception(error)).splitlines():
            tell(harmless(line))
