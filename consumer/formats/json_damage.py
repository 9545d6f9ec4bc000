"""Why a damaged JSON record cannot be read, told without reading it, where that is as sure as if it had been read.

Python's parser takes ten times as long to refuse a record as to look at it here. The answer is that of `paths.parse_json`,
which reads on whatever this file is not sure of. Damaged records are most often noise, or begin as no JSON does, or are a
record of a known form that was cut short or has something behind it: then nothing within it can be found fault with first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from consumer.formats.contract import MAX_DEPTH
from consumer.formats.json_template import Kind, Template
from consumer.formats.paths import LARGE, NO_JSON, NO_UTF8

#: A pattern of more values inside one another would be deep for Python's own compiler of patterns.
MAX_VALUES = 40
_SPACE = b" \t\r\n"
#: The first bytes of what Python takes for JSON, NaN and Infinity among it.
_BEGINS = frozenset(b'{["-0123456789tfnNI' + _SPACE)
_MADE_OF = {Kind.WHOLE: rb"0|[1-9][0-9]*", Kind.FRACTION: rb"[0-9]+", Kind.TEXT: rb'[^"\\\x00-\x1f]*'}


class Outline:
    """A template, as what may stand there of a record of its form."""

    def __init__(self, template: Template) -> None:
        self._fixed = [*(fixed for fixed, _, _ in template.steps), template.tail.rstrip(_SPACE)]
        self._pattern = _pattern(template) if len(template.steps) <= MAX_VALUES else None

    def is_damaged(self, value: bytes) -> bool:
        """Whether this is surely a record of the form that was cut short, or has something behind it."""
        found = None if self._pattern is None else self._pattern.match(value)
        if found is None:
            return False
        values = found.lastindex or 0
        if values and found.end(values) != found.end():
            return False
        rest = value[found.end() :]
        if values == len(self._fixed):  # the record's last bracket too
            return bool(rest.strip(_SPACE))
        # Nobody closed the record's first bracket: what stands there is the beginning of a sound record, and no more.
        # Of the last fixed bytes some are wanting, for else the pattern had taken them all.
        return self._fixed[values].startswith(rest)


def _pattern(template: Template) -> re.Pattern[bytes]:
    """Finds as many values as there are, each with the fixed bytes before it, and at last the bytes behind them."""
    pattern = b"(?:(" + re.escape(template.tail.rstrip(_SPACE)) + b"))?"
    for fixed, kind, _ in reversed(template.steps):
        pattern = b"(?:" + re.escape(fixed) + b"(" + _MADE_OF[kind] + b")" + pattern + b")?"
    return re.compile(pattern)


def why_unreadable(value: bytes, known: Iterable[Outline]) -> str | None:
    """The reason that `parse_json` would give; None: it may be readable, or to be refused for another reason."""
    if len(value) > LARGE or value.count(b"{") + value.count(b"[") > MAX_DEPTH:
        return None
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError:
            return NO_UTF8
    if not value or value[0] not in _BEGINS:
        return NO_JSON
    for one in known:
        if one.is_damaged(value):
            return NO_JSON
    return None
