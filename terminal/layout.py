"""Lay out plain text: wrapped paragraphs, aligned tables, colours that may be off. 100 columns, nothing else needed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from terminal.harmless import harmless

WIDTH = 100
_CODES = {"red": "31;1", "green": "32;1", "yellow": "33;1", "bold": "1", "dim": "2"}


def paint(text: str, colour: str | None, *, on: bool) -> str:
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and colour else text


def wrapped(text: str, *, first: str = "", rest: str | None = None, width: int = WIDTH) -> list[str]:
    """One paragraph; `first` opens it, `rest` indents what follows."""
    indent = " " * len(first) if rest is None else rest
    lines = textwrap.wrap(harmless(text), width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
    return lines or [first.rstrip()]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """The first column to the left, the others, numbers, to the right."""
    lines = [list(head), *([harmless(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return [
        (indent + line[0].ljust(widths[0]) + "".join(f"  {cell:>{w}}" for cell, w in zip(line[1:], widths[1:], strict=True)))
        for line in lines
    ]


def columns(rows: Sequence[Sequence[str]], *, indent: str = "  ", width: int = WIDTH) -> list[str]:
    """All columns to the left; the last one is wrapped into what is left of the line."""
    if not rows:
        return []
    widths = [max(len(harmless(row[i])) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        first = indent + "".join(f"{harmless(cell):<{w}}  " for cell, w in zip(row[:-1], widths, strict=True))
        lines += wrapped(row[-1], first=first, width=width)
    return lines


def number(value: int) -> str:
    return f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def share(value: float) -> str:
    """A proportion in percent, as exact as it is small: `0.0034 %`, `12 %`."""
    if value in (0.0, 1.0):
        return f"{value:.0%}".replace("%", " %")
    percent = value * 100
    return f"{percent:.2g} %" if percent >= 0.0001 else f"{percent:.1e} %"


def moment(at: datetime | None) -> str:
    """`2026-11-01 12:00:00 UTC`."""
    return "never" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
