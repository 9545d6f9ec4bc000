"""A run's keys as CSV: data_type, class, cause, key. Safe to open in a spreadsheet.

A cell that begins like a formula is run by spreadsheets, quoted or not, so it gets an apostrophe in front; whole numbers
keep their minus and stay numbers. `--report` and its gaps.jsonl are the exact form for machines.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from reconciler.recall import FoundPart
from terminal.harmless import harmless

HEAD = ("data_type", "class", "cause", "key")
_FORMULA = re.compile(r"[=+\-@\t\r\n|%\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"-?[0-9]+\Z", re.ASCII)


def rows(found: Iterable[FoundPart]) -> Iterator[str]:
    """Lines of CSV, the head first, a chunk of keys at a time."""
    yield _line(HEAD)
    for part in found:
        place = (part.data_type, part.gap_class, part.cause)
        for key in part.keys:
            yield _line((*place, part.key_type.text(key)))


def cell(text: str) -> str:
    """One value that no spreadsheet takes for a formula."""
    if _NUMBER.match(text):
        return text
    return harmless(f"'{text}" if _FORMULA.match(text.lstrip(" ")) else text)


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([cell(text) for text in cells])
    return out.getvalue()
