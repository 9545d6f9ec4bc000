"""Learn the integer keys of one slice from a guess, in the form that costs least there. Exact whatever the guess.

The forms are in `int_forms`; here a few samples, and what the last slice was like, choose one. A wrong choice costs time
and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from reconciler.probe.bits import Ints, Words, aligned, flipped, holes, steps
from reconciler.probe.int_forms import PUSHED_BLOCK, GuessTooPoor, all_words, packed, pushed, ranks, words
from reconciler.probe.reader import Reader
from schemas.errors import UnavailableError
from schemas.keys import IntKeys

#: Widest slice learned at once: 2**20 integers are 128 KiB of bits.
WIDTH = 1 << 20
SAMPLES = 32
#: So many where the slice before showed what to expect; the first of a reader is looked at more closely.
_FEWER = 8
#: Narrower than this a slice is simply read.
NARROW = 64 * SAMPLES * 2

#: Relative costs in µs, measured on PostgreSQL 15-18 with everything cached: an index entry walked over, counted, tested
#: against bits, or-ed into a word, packed; a LATERAL range begun. Only their proportions matter.
WALK, TEST, SET, PACK, BEGIN = 0.06, 0.1, 0.08, 0.15, 1.3
#: A rank jump begun: it reads two index pages, of which it needs one entry each.
JUMP = 15.0
#: Differences expected in any slice: being ready for a few costs little, being surprised by them much.
LEAST = 4


@dataclass(slots=True)
class Habit:
    """What one reader's slices were like so far."""

    missing: float = 0.0  #: share of the last slice's integers that the guess held and the table did not
    empty: float = 0.0  #: share of them that the table did not hold
    forms: dict[str, int] = field(default_factory=dict)  #: how often each form was used, for reports and tests


@dataclass(frozen=True, slots=True)
class Sample:
    """A few words of a slice."""

    firsts: Ints
    found: Words
    guessed: Words

    @property
    def size(self) -> int:
        return 64 * len(self.firsts)

    @property
    def density(self) -> float:
        return int(np.bitwise_count(self.found).sum()) / self.size

    @property
    def wrong(self) -> float:
        """Share of integers on which the guess is wrong, in either direction."""
        return self._share(self.found ^ self.guessed)

    @property
    def missing(self) -> float:
        """Share of integers that the guess holds and the table does not."""
        return self._share(self.guessed & ~self.found)

    def _share(self, differing: Words) -> float:
        # One less: a single hit says "some" and no rate. Taken for one, it would mean 500 in a slice that may hold ten.
        return max(0, int(np.bitwise_count(differing).sum()) - 1) / self.size


def learn_ints(reader: Reader, guess: IntKeys, low: int, high: int, habit: Habit) -> tuple[IntKeys, int]:
    """The keys of [low, high), at most WIDTH apart, and how many needles were used.

    A needle is a key that a sample showed to be there; it is left out of the guess and must come back.
    """
    guess = guess.cut(low, high)
    start, end = aligned(low, high, 64)
    if end - start <= NARROW:
        habit.forms["words"] = habit.forms.get("words", 0) + 1
        return flipped(guess, all_words(reader, start, end), start, end).cut(low, high), 0
    sample = take(reader, guess, start, end, _FEWER if habit.forms else SAMPLES)
    needle = _needle(sample, low, high)
    handicapped = guess if needle is None else guess - IntKeys.of(np.array([needle], np.int64))
    form, found = _learn(reader, handicapped, low, high, sample, habit)
    if needle is not None and needle not in found:
        raise UnavailableError(
            f"cannot trust what {reader.table.qualified} answers: key {needle}, seen a moment ago in the same snapshot,"
            f" was not found again by form {form!r}"
        )
    habit.missing = guess.bits.difference_cardinality(found.bits) / (high - low)
    habit.empty = 1 - len(found) / (high - low)
    habit.forms[form] = habit.forms.get(form, 0) + 1
    # The same object again where nothing differed: set algebra on it is then free.
    return (guess if found == guess else found), int(needle is not None)


def take(reader: Reader, guess: IntKeys, start: int, end: int, count: int) -> Sample:
    step = (end - start) // count & -64
    firsts = start + step * np.arange(count, dtype=np.int64)
    # Not on a grid: rows that repeat with the grid's period would look like all rows.
    firsts += (firsts * 2_654_435_761 >> 13) % (step // 64) * 64
    places = (firsts[:, None] + np.arange(64)).ravel()
    guessed = np.isin(places, (guess & IntKeys.of(places)).column(), assume_unique=True)
    return Sample(firsts, words(reader, firsts), np.packbits(guessed, bitorder="little").view("<u8").astype(np.uint64))


def _needle(sample: Sample, low: int, high: int) -> int | None:
    both = sample.found & sample.guessed
    for at in np.flatnonzero(both).tolist():
        word, first = int(both[at]), int(sample.firsts[at])
        for bit in (word & -word, 1 << word.bit_length() - 1):  # the word may reach out of the slice at either end
            if low <= (key := first + bit.bit_length() - 1) < high:
                return key
    return None


def _learn(reader: Reader, guess: IntKeys, low: int, high: int, sample: Sample, habit: Habit) -> tuple[str, IntKeys]:
    gaps = holes(guess, low, high)
    form, width = choose(sample, guess, low, high, habit, len(gaps[0]), unique=reader.table.unique)
    try:
        if form == "ranks":
            return form, ranks(reader, guess, gaps, width)[0]
        if form == "full ranks":
            return form, ranks(reader, IntKeys.range(low, high), None, width)[0]
        if form == "pushed":
            start, end = aligned(low, high, PUSHED_BLOCK)
            return form, pushed(reader, guess, start, end)[0].cut(low, high)
    except GuessTooPoor:
        form = "words" if sample.density > 1 / 8 else "packed"
    if form == "packed":
        at = steps(low, high, 1 << 16)
        return form, packed(reader, at, np.append(at[1:] - 1, high - 1))
    start, end = aligned(low, high, 64)
    return "words", flipped(guess, all_words(reader, start, end), start, end).cut(low, high)


def choose(sample: Sample, guess: IntKeys, low: int, high: int, habit: Habit, gaps: int, *, unique: bool) -> tuple[str, int]:
    """The cheapest form, and the block for rank jumps. The guess has so many `gaps`: runs of integers it does not hold."""
    size = high - low
    rows = max(sample.density * size, 1.0)
    costs = {"words": size / 64 * BEGIN + rows * SET, "packed": rows * PACK}
    widths = {}
    if unique:
        # Rows outside the guess cost no block: they are looked up first.
        wrong = max(sample.missing, habit.missing / 2) * size + LEAST
        widths["ranks"], spent = best_block(rows, wrong)
        costs["ranks"] = gaps * BEGIN + max(0, sample.wrong - sample.missing) * size * PACK + spent
        # Holes that the guess knows of are believed, unless the sample shows that it knows nothing.
        empty = size - len(guess) if sample.wrong < 1 / 16 else 0
        widths["full ranks"], spent = best_block(rows, max(empty, habit.empty / 2 * size) + LEAST)
        costs["full ranks"] = spent if sample.density == 1 else math.inf
        spent = min(sample.missing * size * PUSHED_BLOCK * PACK, rows * PACK) + size / PUSHED_BLOCK * BEGIN
        costs["pushed"] = rows * TEST + sample.wrong * size * PACK + spent
    form = min(costs, key=lambda name: costs[name])
    return form, widths.get(form, 0)


def best_block(rows: float, wrong: float) -> tuple[int, float]:
    """The best block of rank jumps when so many keys differ at random places, and the cost of the pass.

    Small blocks cost a start each; of large ones, a difference has more keys read again.
    """
    width = int(min(max(math.sqrt(rows * JUMP / (wrong * PACK)), 64), 1 << 16))
    bad = min(wrong, rows / width)
    return width, rows * WALK + rows / width * JUMP + bad * (width * PACK + BEGIN)
