"""Integers in islands far apart are learned exactly, many islands to a statement, whatever the guess knows of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.probe import Reader, Side, Table, compare, condition, far, learn, ranges
from reconciler.probe.far import learn_far
from reconciler.probe.int_forms import GuessTooPoor
from schemas.errors import UnavailableError
from schemas.keys import INT64_MAX, INT64_MIN, IntKeys, key_type
from tests.reconciler.probe.conftest import World, among

INT = key_type("int")
UNION = Callable[..., set[Any]]


def ints(keys: Any) -> IntKeys:
    return IntKeys.of(np.array(sorted(keys), np.int64))


@contextmanager
def table(world: World, keys: set[int]) -> Iterator[Table]:
    """A table that exists for the length of one transaction of `world.hand`."""
    hand = world.hand
    hand.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    try:
        hand.execute("CREATE TABLE public.t (id int8 PRIMARY KEY, state int)")
        hand.execute("INSERT INTO public.t SELECT k, abs(k %% 3) FROM unnest(%b::int8[]) k", (sorted(keys),))
        yield Table(schema="public", name="t", key=("id",), kinds=("int",), unique=True)
    finally:
        if not hand.closed:
            hand.execute("ROLLBACK")


#: Islands at places all over int64, at both of its ends too, some of them with holes.
PLACES = st.one_of(
    st.integers(INT64_MIN, INT64_MAX - 2000), st.sampled_from([INT64_MIN, -1, 0, 2**31, 2**53, INT64_MAX - 1399])
)
ISLANDS = st.lists(st.tuples(PLACES, st.integers(1, 700), st.sampled_from([1, 1, 1, 2])), min_size=1, max_size=8).map(
    lambda some: {place + step * at for place, count, step in some for at in range(count)}
)


def worse(guess: set[int], noise: int, wrong: float) -> set[int]:
    """The guess with so many keys forgotten and invented."""
    chance = random.Random(noise)
    return {k for k in guess if chance.random() >= wrong} | {
        k + d for k in guess for d in (1, -1, 10**9) if chance.random() < wrong / 2 and INT64_MIN <= k + d <= INT64_MAX
    }


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(there=ISLANDS, noise=st.integers(0, 2**32), wrong=st.sampled_from([0, 0.001, 0.02, 0.5]))
def test_a_range_of_islands_is_learned_exactly_or_given_up(world: World, there: set[int], noise: int, wrong: float) -> None:
    guess = worse(there, noise, wrong)
    cuts = sorted(random.Random(noise).sample(sorted(there), min(2, len(there))))
    with table(world, there) as made:
        reader = Reader(world.hand, made)
        for low, high in ((INT64_MIN, None), (cuts[0], None), (cuts[0], cuts[-1] + 1 if cuts[-1] < INT64_MAX else None)):
            wanted = ints(there).cut(low, high)
            asked = ints(guess).cut(low, high)
            try:
                found, needles = learn_far(reader, asked, low, high, min(wanted) if len(wanted) else None)
            except GuessTooPoor:
                assert asked != wanted or len(wanted) < 2
            else:
                assert found == wanted
                assert needles == int(min(wanted) in asked if len(wanted) else False)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(there=ISLANDS, noise=st.integers(0, 2**32), wrong=st.sampled_from([0, 0.01, 0.7, 1]), rows=st.sampled_from([40, 900]))
def test_a_table_of_islands_is_learned_whole(
    world: World, union: UNION, there: set[int], noise: int, wrong: float, rows: int
) -> None:
    with table(world, there) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "ROWS", rows)
        side = Side(table=made, connections=[world.hand])
        guess = worse(there, noise, wrong)
        parts = list(learn([side], INT, among(ints(guess))))
        assert union(part.sets[0] for part in parts) == there
        assert union(part.announced for part in parts) == guess


@pytest.mark.parametrize("out", [1, 40, 100, 2999, 3000])
@pytest.mark.parametrize("islands", [1, 30])
def test_a_table_whose_first_rows_do_not_count_is_learned_whole(world: World, union: UNION, out: int, islands: int) -> None:
    """The log announced them, so that the guess holds them: out of scope, or registered in a state that is not accepted."""
    there = {island * 10**9 + at for island in range(islands) for at in range(3000 // islands)}
    first = sorted(there)[:out]
    with table(world, there) as made:
        world.hand.execute("UPDATE public.t SET state = 7 WHERE id = ANY(%b::int8[])", (first,))
        side = Side(table=made, connections=[world.hand], where=condition((), {"state": [0, 1, 2]}))
        parts = list(learn([side], INT, among(ints(there))))
        assert union(part.sets[0] for part in parts) == there - set(first)


def both(world: World, source: set[int], registry: set[int], workers: int = 1) -> tuple[Side, Side]:
    s, r = (world.table(name, [[k, 0] for k in keys]) for name, keys in (("s", source), ("r", registry)))
    return world.side(s, workers), world.side(r, workers)


@contextmanager
def closing_all(sides: tuple[Side, Side]) -> Iterator[tuple[Side, Side]]:
    """So that the next tables may take their names."""
    try:
        yield sides
    finally:
        for side in sides:
            for connection in side.connections:
                connection.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("known", ["all", "some", "nothing"])
def test_two_tables_of_islands_are_compared_whole(
    world: World, union: UNION, monkeypatch: pytest.MonkeyPatch, workers: int, known: str
) -> None:
    monkeypatch.setattr(ranges, "ROWS", 3000)
    chance = random.Random(known)
    there = {island * 10**9 + at for island in range(-40, 40) for at in range(300)} | set(range(2**40, 2**40 + 40_000))
    gone = set(chance.sample(sorted(there), 50))
    source, registry = there - set(sorted(gone)[:10]), there - gone
    guess = {"all": there, "some": {k for k in there if k % 10**9 < 100}, "nothing": set()}[known]
    sides = both(world, source, registry, workers)
    parts = list(compare(*sides, INT, among(ints(guess))))
    assert union(part.source for part in parts) == source
    assert union(part.registry for part in parts) == registry
    assert union(part.announced for part in parts) == guess


def test_many_islands_are_asked_about_in_few_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {island * 10**9 + at for island in range(300) for at in range(100)}
    sides = both(world, there, there)
    asked = []
    rows = Reader.rows

    def counted(self: Reader, *query: Any, **how: Any) -> Any:
        asked.append(query)
        return rows(self, *query, **how)

    monkeypatch.setattr(Reader, "rows", counted)
    parts = list(compare(*sides, INT, among(ints(there))))
    assert sum(len(part.source) for part in parts) == len(there)
    assert sum(part.needles for part in parts) > 0
    # Of 300 islands. How often one worker takes half of what another has left depends on how quick each is.
    assert len(asked) < 150


def test_keys_at_random_are_read_without_looking_ahead_until_they_lie_dense(
    world: World, union: UNION, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "ROWS", 500)
    monkeypatch.setattr(ranges, "FAR_GLANCE", 400)
    chance = random.Random(11)
    anywhere = {chance.randrange(2**40, 2**62) for _ in range(20_000)}
    dense = set(range(-100_000, -50_000)) | set(range(2**62, 2**62 + 40_000))
    gone = set(chance.sample(sorted(anywhere), 30)) | set(chance.sample(sorted(dense), 30))
    looked: list[int] = []
    bits: list[int] = []

    def noted(what: str, into: list[int]) -> None:
        done = getattr(ranges, what)

        def step(worker: Any, part: Any, *more: Any) -> Any:
            into.append(part.at)
            return done(worker, part, *more)

        monkeypatch.setattr(ranges, what, step)

    noted("_glance", looked)
    noted("_bits", bits)
    sides = both(world, anywhere | dense, (anywhere | dense) - gone)
    parts = list(compare(*sides, INT, among(ints(anywhere | dense))))
    assert union(part.source for part in parts) == anywhere | dense
    assert union(part.registry for part in parts) == (anywhere | dense) - gone
    assert any(at < 0 for at in bits)
    assert any(at > 2**40 for at in bits), "what is dense behind them is learned as bits again"
    assert len(looked) < 25, "of 40 ranges, and each looked ahead before"


def test_a_side_with_far_more_rows_than_the_guess_is_read_in_bounded_pieces(
    world: World, union: UNION, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "ROWS", 100)
    few = {island * 10**9 + at for island in range(20) for at in range(40)}
    many = few | {10**9 // 2 + 50 * at for at in range(8000)}
    for source, registry in ((few, many), (many, few)):
        with closing_all(both(world, source, registry)) as sides:
            parts = list(compare(*sides, INT, among(ints(few))))
        assert union(part.source for part in parts) == source
        assert union(part.registry for part in parts) == registry
        assert max(max(len(part.source), len(part.registry)) for part in parts) <= ranges.CROWD * 100


def test_an_island_that_was_seen_and_is_not_found_again_is_not_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {island * 10**9 + at for island in range(30) for at in range(100)}
    monkeypatch.setattr(far, "_learn", lambda _, guess, *__: guess)
    with table(world, there) as made, pytest.raises(UnavailableError, match=r"public\.t.*not found again"):
        list(learn([Side(table=made, connections=[world.hand])], INT, among(ints(there))))
