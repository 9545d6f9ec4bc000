"""Bursts are one trial, and the lower bound is the one that the binomial distribution itself gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.auditing.rate import BURST_US, CONFIDENCE, bursts, lower_bound, separated
from schemas.keys import ByteKeys, IntKeys, KeySet

S = 1_000_000


@given(st.integers(2, 12), st.integers(2, 60))
def test_at_the_bound_so_many_failures_come_up_in_five_of_a_hundred_windows(failed: int, more: int) -> None:
    trials = failed + more
    p = lower_bound(failed, trials)
    as_many_or_more = sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(failed, trials + 1))
    assert as_many_or_more == pytest.approx(1 - CONFIDENCE, rel=1e-6)
    assert p < failed / trials


@pytest.mark.parametrize(("failed", "trials"), [(0, 0), (0, 5), (1, 1), (1, 3), (1, 1_000_000), (2, 0)])
def test_one_failed_trial_says_nothing_of_a_rate(failed: int, trials: int) -> None:
    assert lower_bound(failed, trials) == 0.0


def test_large_counts_come_near_to_what_was_seen_and_more_of_them_come_nearer() -> None:
    bounds = [lower_bound(n, 1000 * n) for n in (2, 20, 200, 20_000, 2_000_000)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(0.001, rel=0.01)
    assert lower_bound(7, 7) == pytest.approx(0.05 ** (1 / 7), rel=1e-6), "all failed"
    assert lower_bound(9, 7) == lower_bound(7, 7)


@given(st.integers(2, 100), st.integers(0, 2000))
def test_more_failures_are_a_higher_rate_and_more_trials_a_lower_one(failed: int, fine: int) -> None:
    here = lower_bound(failed, failed + fine)
    assert lower_bound(failed + 1, failed + fine + 1) > here
    assert lower_bound(failed, failed + fine + 100) < here


def follows(*words: str) -> list[bool]:
    return [word == "next" for word in words]


def test_drops_that_follow_one_another_are_one_trial() -> None:
    assert bursts([], []) == 0
    assert bursts(follows("new", "next", "next"), [0, 1, 2]) == 1
    assert bursts(follows("new", "new", "next", "new"), [0, 1, 2, 3]) == 3
    assert bursts(follows("new", "next"), [None, None]) == 1, "rows that nobody can date"


def test_what_goes_on_for_long_fails_again_every_ten_seconds() -> None:
    times: list[int | None] = [n * S for n in range(31)]
    assert bursts(follows("new", *["next"] * 30), times) == 3
    assert bursts(follows("new", "next", "next"), [0, BURST_US, BURST_US + 1]) == 2


KEYS = st.integers(-40, 40), st.binary(min_size=2, max_size=2).filter(lambda b: not b.endswith(b"\0"))


@given(st.data(), st.sampled_from(KEYS))
def test_neighbours_are_apart_where_any_other_key_lies_between_in_whatever_part_it_is_told(
    data: st.DataObject, kind: st.SearchStrategy[Any]
) -> None:
    dropped = sorted(data.draw(st.sets(kind, min_size=1, max_size=12)))
    parts = data.draw(st.lists(st.sets(kind, max_size=12), max_size=4))
    others = [part - {*dropped} for part in parts]
    of = key_set(isinstance(dropped[0], int))
    naive = [any(low < key < high for part in others for key in part) for low, high in pairwise(dropped)]
    assert list(separated(of(dropped).column(), map(of, others))) == naive


def key_set(integers: bool) -> Callable[[Iterable[Any]], KeySet]:
    def of(keys: Iterable[Any]) -> KeySet:
        found = sorted(keys)
        if integers:
            return IntKeys.of(np.array(found, np.int64))
        return ByteKeys.of(np.array(found, "S2")) if found else ByteKeys({})

    return of


def test_no_more_is_read_than_it_takes() -> None:
    def parts() -> Iterator[KeySet]:
        yield IntKeys.of(np.array([2], np.int64))
        raise AssertionError("what all are told apart by was read already")

    assert list(separated(np.array([1, 3]), parts())) == [True]
