"""How high the drop rate is at least: bursts, trials, and the one-sided lower bound. Pure.

One drop of three rows is not a drop rate of a third. So what is told is a bound that the true rate exceeds with 95 %
confidence (Clopper and Pearson), if trials are independent. Drops that follow one another are not: they are one trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, lgamma, log
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.keys import KeySet

CONFIDENCE = 0.95
#: Fewer failed trials than this say nothing of a rate: one broker restarting is one trial, and it happens.
LEAST_FAILED = 2
#: A burst is no longer than this: what goes on for longer fails again.
BURST_US = 10_000_000


def separated(column: npt.NDArray[Any], others: Iterable[KeySet]) -> npt.NDArray[np.bool_]:
    """Of neighbours in a sorted column, whether a key of the others lies between. No more of those is read than it takes."""
    apart = np.zeros(max(0, len(column) - 1), np.bool_)
    told = iter(others)
    while not apart.all() and (keys := next(told, None)) is not None:
        found = keys.column()
        wide = np.promote_types(column.dtype, found.dtype)
        at = np.searchsorted(column.astype(wide), found.astype(wide))
        apart[at[(at > 0) & (at < len(column))] - 1] = True
    return apart


def bursts(neighbours: Sequence[bool], times_us: Sequence[int | None]) -> int:
    """How many trials failed. Of each drop, in the order of keys: does it follow the drop before it with no announced row
    in between, and when was it created (None: nobody knows)? A burst ends with the run, or `BURST_US` after it began."""
    found = 0
    began: int | None = None
    for follows, at in zip(neighbours, times_us, strict=True):
        if follows and found and (at is None or began is None or abs(at - began) <= BURST_US):
            began = at if began is None else began
            continue
        found, began = found + 1, at
    return found


def lower_bound(failed: int, trials: int) -> float:
    """The rate that is exceeded with 95 % confidence; 0 where fewer than two trials failed."""
    if failed < LEAST_FAILED or trials <= 0:
        return 0.0
    failed = min(failed, trials)
    # P(at least `failed` of `trials` fail | p) is the regularised incomplete beta function; it rises with p.
    low, high = 0.0, failed / trials
    for _ in range(60):
        middle = (low + high) / 2
        if _beta(failed, trials - failed + 1, middle) > 1 - CONFIDENCE:
            high = middle
        else:
            low = middle
    return low


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(b, a, 1 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 1000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + step / c
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1) < 1e-12:
            break
    return value
