"""The templates of one topic: which are known, in which order they are tried, and when another is learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from consumer.formats.columns import Mask, Rows
from consumer.formats.gathering import Chunk
from consumer.formats.json_columns import Fits, Fitting, TemplateLeaves, differ
from consumer.formats.json_layout import Layouts
from consumer.formats.json_template import MAX_FORM, Unfit, form, learn
from consumer.formats.paths import Path
from consumer.formats.plan import Plan
from schemas.errors import BadRecord
from schemas.events import Int64s

MAX_TEMPLATES = 12
#: Attempts to learn; each chunk that fits wholly earns one back. A topic of ever new forms is soon parsed instead.
MAX_LESSONS = 60
EXAMPLES = 8
#: So many misfits are tried as an example: the first may be no JSON at all.
TRIED = 3
#: A form that fewer of the sample have, the misfit itself among them, is one record's own: a damaged one's, say.
MIN_ALIKE = 2
#: Fewer misfits of a chunk than this are cheaper parsed than learnt from.
MIN_MISFITS = 16
#: So few of a chunk, one in this, are most often damaged: where walking through them found none that fits, the next
#: chunks' are not walked through.
FEW, UNWALKED = 64, 16

#: A record's parsed form and where its fields begin; None where it is no example. Raises BadRecord.
Look = Callable[[bytes], tuple[Any, Path] | None]
#: Take the leaves of these records of the chunk.
Take = Callable[[TemplateLeaves, Rows], None]


class Forms:
    """Learns as it goes."""

    def __init__(self, plans: Sequence[Plan], look: Look) -> None:
        self._look = look
        self._values = {p for plan in plans for p in (*plan.created, *plan.deleted, *(c.path for c in plan.clocks))}
        self._values |= {plan.sequence for plan in plans if plan.sequence is not None}
        self._codes = {path for plan in plans for path in plan.paths} - self._values
        self._templates: list[Layouts] = []
        self._lessons = MAX_LESSONS

    def fit(self, chunk: Chunk, take: Take) -> Rows:
        """Hand over what fits a template; gives the records (their numbers in the chunk) that fit none."""
        end = np.cumsum(chunk.lengths)
        start = end - chunk.lengths
        odd = _odd(chunk, end)
        left = np.flatnonzero(~odd) if odd.any() else np.arange(len(end))
        left = self._known(chunk, start, end, left, take)
        if not len(left):
            self._lessons = min(self._lessons + 1, MAX_LESSONS)
        while len(left) >= MIN_MISFITS and self._lessons > 0:
            self._lessons -= 1
            fresh = next(filter(None, (self._learn(chunk, left, int(row)) for row in left[:TRIED])), None)
            if fresh is None:
                break
            after = self._try(fresh, chunk, start, end, left, take)
            if len(after) == len(left):
                break
            left = after
        return np.sort(np.concatenate([left, np.flatnonzero(odd)]))

    def _known(self, chunk: Chunk, start: Int64s, end: Int64s, left: Rows, take: Take) -> Rows:
        """Try the templates there are. The one that took most is the first to be tried on the next chunk."""
        took: dict[int, int] = {}
        for number, known in enumerate(self._templates):
            if not len(left):
                break
            after = self._try(known, chunk, start, end, left, take)
            took[number], left = len(left) - len(after), after
        if took and (best := max(took, key=took.__getitem__)):
            self._templates.insert(0, self._templates.pop(best))
        return left

    def _try(self, layouts: Layouts, chunk: Chunk, start: Int64s, end: Int64s, left: Rows, take: Take) -> Rows:
        template = layouts.template
        head = template.steps[0][0] if template.steps else template.tail
        likely = np.ones(len(left), np.bool_)
        other = differ(chunk.joined, start[left], head)
        if other is not None:
            likely &= ~other
        tried = left[likely]
        if not len(tried):
            return left
        open_ = np.ones(len(tried), np.bool_)
        for which, fits in layouts.fit(chunk.joined, start[tried], end[tried]):
            good = _hand_over(fits, tried[which], take)
            open_[which if good is None else which[good]] = False
        rest = np.flatnonzero(open_)
        if len(rest) and layouts.worth_a_walk(few=len(rest) * FEW <= len(end)):
            walked = tried[rest]
            good = _hand_over(Fitting(template, chunk.joined, start[walked], end[walked]), walked, take)
            open_[rest if good is None else rest[good]] = False
            layouts.unwalked = 0 if open_.sum() * 2 <= len(rest) else UNWALKED
        return np.sort(np.concatenate([left[~likely], tried[open_]]))

    def _learn(self, chunk: Chunk, left: Rows, row: int) -> Layouts | None:
        """A template for one misfit, from it and others of its form; a known one of that form is widened."""
        first = chunk.values[row]
        try:
            seen = self._look(first)
            if seen is None or len(first) > MAX_FORM:
                return None
            shape = form(first)
            known = next((t for t in self._templates if form(t.template.examples[0]) == shape), None)
            alike = [value for value in self._sample(chunk, left) if _has_form(value, shape)]
            if known is None and len(alike) < MIN_ALIKE:
                return None
            examples = [first, *(known.template.examples if known else ()), *alike]
            template = learn(examples[: 2 * EXAMPLES], *seen, self._codes, self._values)
        except (Unfit, BadRecord, UnicodeError):
            return None
        if known is not None:
            self._templates.remove(known)
        fresh = Layouts(template)
        self._templates = [*self._templates[: MAX_TEMPLATES - 1], fresh]
        return fresh

    def _sample(self, chunk: Chunk, left: Rows) -> list[bytes]:
        rows = left[np.linspace(0, len(left) - 1, min(EXAMPLES, len(left))).astype(np.int64)]
        return [chunk.values[row] for row in rows.tolist()]


def _hand_over(fits: Fits, rows: Rows, take: Take) -> Rows | None:
    """Which of the rows fitted and were handed over; None: all."""
    if fits.misfit is None:
        take(fits.leaves(None), rows)
        return None
    good = np.flatnonzero(~fits.misfit)
    if len(good):
        take(fits.leaves(good), rows[good])
    return good


def _has_form(value: bytes, shape: tuple[bytes, ...]) -> bool:
    if len(value) > MAX_FORM:
        return False
    try:
        return form(value) == shape
    except (Unfit, UnicodeError):
        return False


def _odd(chunk: Chunk, end: Int64s) -> Mask:
    """Records that hold what templates cannot vouch for: a backslash, a control character, or what is not UTF-8."""
    size = int(end[-1])
    signs = np.frombuffer(chunk.joined, np.uint8, size + 1)
    # Each from its first byte to the next one's; an empty record has its neighbour's, and fits nothing anyway.
    begins = np.append(end - chunk.lengths, size)
    odd = np.minimum.reduceat(signs, begins)[:-1] < 0x20
    if b"\\" in chunk.joined:
        odd[np.searchsorted(end, np.flatnonzero(signs[:size] == 0x5C), side="right")] = True
    if not chunk.joined.isascii() and not _is_utf8(chunk.joined):
        for row in np.flatnonzero(np.maximum.reduceat(signs, begins)[:-1] >= 0x80).tolist():
            odd[row] |= not _is_utf8(chunk.values[row])
    return odd


def _is_utf8(data: bytes) -> bool:
    """Of joined records it tells enough: one that fits a template begins and ends in ASCII."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
