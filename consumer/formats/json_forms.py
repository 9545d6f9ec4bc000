"""The templates of one topic: which are known, in which order they are tried, and when another is learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from consumer.formats.columns import Mask, Rows
from consumer.formats.gathering import Chunk
from consumer.formats.json_columns import Fits, Fitting, TemplateLeaves, differ
from consumer.formats.json_damage import Outline
from consumer.formats.json_layout import Layouts, is_utf8
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
#: How often a step that was not worth its while is passed over.
PASSED_OVER = 16

#: A record's parsed form and where its fields begin; None where it is no example. Raises BadRecord.
Look = Callable[[bytes], tuple[Any, Path] | None]
#: Take the leaves of these records of the chunk.
Take = Callable[[TemplateLeaves, Rows], None]
#: Where each record of a chunk begins and ends in its joined bytes.
Places = tuple[Int64s, Int64s]


class Worth:
    """Whether a step over many records is worth its while. Records that fit nothing are most often damaged, and then no step
    does anything for them: one that took less than half of what it was given is passed over for some time, unless many more
    are left over now: a number that grows by a digit makes sound records of a new length."""

    def __init__(self) -> None:
        self._passed_over = self._in_vain = 0

    def now(self, count: int) -> bool:
        self._passed_over = max(self._passed_over - 1, 0)
        return not self._passed_over or count > 2 * self._in_vain

    def took(self, count: int, of: int) -> None:
        if count * 2 < of:
            self._passed_over, self._in_vain = PASSED_OVER + 1, of

    def again(self) -> None:
        self._passed_over = 0


class Forms:
    """Learns as it goes."""

    def __init__(self, plans: Sequence[Plan], look: Look) -> None:
        self._look = look
        self._values = {p for plan in plans for p in (*plan.created, *plan.deleted, *(c.path for c in plan.clocks))}
        self._values |= {plan.sequence for plan in plans if plan.sequence is not None}
        self._codes = {path for plan in plans for path in plan.paths} - self._values
        self._templates: list[Layouts] = []
        self._lessons = MAX_LESSONS
        self.walking = Worth()

    def alike(self, chunk: Chunk, take: Take) -> Rows:
        """Hand over what is of a known form, and as long as many others; gives the rest (their numbers in the chunk)."""
        left = self._known(self._alike, chunk, _places(chunk), np.arange(len(chunk.values)), take)
        if not len(left):
            self._lessons = min(self._lessons + 1, MAX_LESSONS)
        return left

    def others(self, chunk: Chunk, left: Rows, take: Take, *, learn: bool, few: bool) -> Rows:
        """Hand over what is of a known form and of any length, then what is of a form that can be learnt; gives the rest.

        Of `few` misfits learning is free: most often they are damaged, and teach nothing.
        """
        walk = bool(self._templates) and self.walking.now(len(left))
        if not (walk or learn):
            return left
        places, odd = _places(chunk), _odd(chunk, left)
        strange, left = left[odd], left[~odd]
        if walk:
            after = self._known(self._walked, chunk, places, left, take)
            self.walking.took(len(left) - len(after), len(left) + len(strange))
            left = after
        if learn:
            left = self._taught(chunk, places, left, take, few=few)
        return np.sort(np.concatenate([left, strange]))

    def outlines(self) -> list[Outline]:
        """By which damage is told: of the forms that were met most, for a record may be of any."""
        return [known.outline for known in self._templates[:TRIED]]

    def _taught(self, chunk: Chunk, places: Places, left: Rows, take: Take, *, few: bool) -> Rows:
        """Learn what can be learnt; gives the records that are left."""
        while len(left) >= MIN_MISFITS and self._lessons > 0:
            self._lessons -= not few
            fresh = next(filter(None, (self._learn(chunk, left, int(row)) for row in left[:TRIED])), None)
            if fresh is None:
                break
            after = self._walked(fresh, chunk, places, self._alike(fresh, chunk, places, left, take), take)
            if len(after) == len(left):
                break
            left = after
        return left

    def _known(self, fit: Callable[..., Rows], chunk: Chunk, places: Places, left: Rows, take: Take) -> Rows:
        """Try the templates there are. The one that took most is the first to be tried on the next chunk."""
        took: dict[int, int] = {}
        for number, known in enumerate(self._templates):
            if not len(left):
                break
            after = fit(known, chunk, places, left, take)
            took[number], left = len(left) - len(after), after
        if took and (best := max(took, key=took.__getitem__)) and took[best] * 2 > len(chunk.values):
            self._templates.insert(0, self._templates.pop(best))
        return left

    def _alike(self, layouts: Layouts, chunk: Chunk, places: Places, left: Rows, take: Take) -> Rows:
        """Those of one length with many others. Gives those that were not taken."""
        tried, other = left, left[:0]
        if len(self._templates) > 1:  # else what begins otherwise is damaged, and found so
            tried, other = self._likely(layouts, chunk, places, left)
        if not len(tried):
            return left
        start, end = places[0][tried], places[1][tried]
        open_ = np.ones(len(tried), np.bool_)
        for which, fits in layouts.fit(chunk.joined, start, end):
            good = _hand_over(fits, tried[which], take)
            open_[which if good is None else which[good]] = False
        return tried[open_] if not len(other) else np.sort(np.concatenate([other, tried[open_]]))

    def _walked(self, layouts: Layouts, chunk: Chunk, places: Places, left: Rows, take: Take) -> Rows:
        """Those of any length, walked through value by value. Gives those that were not taken."""
        tried, other = self._likely(layouts, chunk, places, left)
        if not len(tried):
            return left
        start, end = places[0][tried], places[1][tried]
        good = _hand_over(Fitting(layouts.template, chunk.joined, start, end), tried, take)
        open_ = np.ones(len(tried), np.bool_)
        open_[slice(None) if good is None else good] = False
        return np.sort(np.concatenate([other, tried[open_]]))

    def _likely(self, layouts: Layouts, chunk: Chunk, places: Places, left: Rows) -> tuple[Rows, Rows]:
        """Those that begin as the template does, and the others."""
        template = layouts.template
        head = template.steps[0][0] if template.steps else template.tail
        other = differ(chunk.joined, places[0][left], head) if len(left) else None
        return (left, left[:0]) if other is None else (left[~other], left[other])

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
        self.walking.again()
        self._templates = [*self._templates[: MAX_TEMPLATES - 1], fresh]
        return fresh

    def _sample(self, chunk: Chunk, left: Rows) -> list[bytes]:
        rows = left[np.linspace(0, len(left) - 1, min(EXAMPLES, len(left))).astype(np.int64)]
        return [chunk.values[row] for row in rows.tolist()]


def _places(chunk: Chunk) -> Places:
    end = np.cumsum(chunk.lengths)
    return end - chunk.lengths, end


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


def _odd(chunk: Chunk, rows: Rows) -> Mask:
    """Which of these hold what templates cannot vouch for: a backslash, a control character, or what is not UTF-8."""
    every = len(rows) == len(chunk.values)
    values = chunk.values if every else [chunk.values[row] for row in rows.tolist()]
    joined = chunk.joined if every else b"".join([*values, b"\0"])
    lengths = chunk.lengths[rows]
    end = np.cumsum(lengths)
    size = int(end[-1])
    signs = np.frombuffer(joined, np.uint8, size + 1)
    # Each from its first byte to the next one's; an empty record has its neighbour's, and fits nothing anyway.
    begins = np.append(end - lengths, size)
    odd = np.minimum.reduceat(signs, begins)[:-1] < 0x20
    if b"\\" in joined:
        odd[np.searchsorted(end, np.flatnonzero(signs[:size] == 0x5C), side="right")] = True
    if not joined.isascii() and not is_utf8(joined):
        for row in np.flatnonzero(np.maximum.reduceat(signs, begins)[:-1] >= 0x80).tolist():
            odd[row] |= not is_utf8(values[row])
    return odd
