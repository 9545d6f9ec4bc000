"""Integer keys are learned exactly: every form, every guess, every shape of table, held to a plain set."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from reconciler.probe import Range, Reader, Span, Table, compare, condition, learn
from reconciler.probe import ints as ints_module
from reconciler.probe.bits import aligned, holes
from reconciler.probe.int_forms import PUSHED_BLOCK, GuessTooPoor, all_words, packed, pushed, ranks
from reconciler.probe.ints import WIDTH, Habit, learn_ints
from schemas.errors import UnavailableError
from schemas.keys import INT64_MAX, INT64_MIN, IntKeys, key_type
from tests.reconciler.probe.conftest import World, among

INT = key_type("int")
UNION = Callable[..., set[Any]]


def ints(keys: Any) -> IntKeys:
    return IntKeys.of(np.array(sorted(keys), np.int64))


@contextmanager
def rows(world: World, keys: list[int | None], unique: bool, kind: str = "int8") -> Iterator[Reader]:
    """A reader of a table that exists for the length of one transaction."""
    hand = world.hand
    hand.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    try:
        hand.execute(f"CREATE TABLE public.t (id {kind} {'PRIMARY KEY' if unique else ''}, state int)")
        if not unique:
            hand.execute("CREATE INDEX ON public.t (id)")
        hand.execute("INSERT INTO public.t SELECT k, abs(k %% 3) FROM unnest(%b::int8[]) k", (keys,))
        yield Reader(hand, Table(schema="public", name="t", key=("id",), kinds=("int",), unique=unique, ordered=True))
    finally:
        if not hand.closed:
            hand.execute("ROLLBACK")


#: Runs and single keys around interesting places, so that blocks are full, holed, empty and cut.
PLACES = st.sampled_from([0, -70, 4096, 2**31 - 40, -(2**31), 2**53, 10_000])
CLUSTER = st.tuples(PLACES, st.integers(-3000, 3000), st.integers(1, 900), st.sampled_from([1, 1, 1, 2, 7]))
CLUSTERS = st.lists(CLUSTER, max_size=5).map(
    lambda some: {place + shift + step * at for place, shift, count, step in some for at in range(count)}
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(there=CLUSTERS, noise=st.integers(0, 2**32), unique=st.booleans(), width=st.sampled_from([1, 3, 64, 500]))
def test_every_form_gives_exactly_the_rows(world: World, there: set[int], noise: int, unique: bool, width: int) -> None:
    chance = random.Random(noise)
    guesses = [there, set(), {k for k in there if chance.random() < 0.97} | {k + 1 for k in there if chance.random() < 0.02}]
    repeated: list[int | None] = [*there, *(list(there)[:50] if not unique else []), *([None] if not unique else [])]
    with rows(world, repeated, unique) as reader:
        for place in (0, 2**31 - 40, -(2**31)):
            low, high = aligned(place - 5000, place + 5000, PUSHED_BLOCK)
            wanted = ints(k for k in there if low <= k < high)
            words = all_words(reader, low, high)
            assert int(np.bitwise_count(words).sum()) == len(wanted)
            assert packed(reader, *edges(low, high)) == wanted
            for guess in map(ints, guesses):
                cut = guess.cut(low, high)
                assert learn_ints(reader, cut, low, high, Habit())[0] == wanted
                forms = partial(ranks, reader, cut, holes(cut, low, high), width), partial(pushed, reader, cut, low, high)
                for form in forms if unique else ():
                    try:
                        assert form()[0] == wanted
                    except GuessTooPoor:
                        assert cut != wanted


@given(
    low=st.sampled_from([INT64_MIN, -300, INT64_MAX + 1 - 200]),
    there=st.sets(st.integers(0, 199), max_size=200),
    ends=st.tuples(st.booleans(), st.booleans()),
)
def test_holes_are_all_integers_that_are_no_keys(low: int, there: set[int], ends: tuple[bool, bool]) -> None:
    keys = there | ({0} if ends[0] else set()) | ({199} if ends[1] else set())
    firsts, lasts = holes(ints(low + k for k in keys), low, low + 200)
    found = [at for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True) for at in range(first, last + 1)]
    assert found == [low + k for k in range(200) if k not in keys]
    assert all(last + 1 < first for first, last in zip(firsts[1:].tolist(), lasts[:-1].tolist(), strict=True))


def edges(low: int, high: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    return np.array([low], np.int64), np.array([high - 1], np.int64)


SHAPES: dict[str, Callable[[random.Random], set[int]]] = {
    "dense": lambda _: set(range(-40_000, 60_000)),
    "few holes": lambda chance: set(range(-40_000, 60_000)) - {chance.randrange(-40_000, 60_000) for _ in range(15)},
    "a tenth gone": lambda chance: {k for k in range(100_000) if chance.random() > 0.1},
    "every tenth": lambda chance: {10 * k + chance.randrange(2) for k in range(20_000)},
    "sparse": lambda chance: {chance.randrange(INT64_MIN, INT64_MAX) for _ in range(70_000)} | {INT64_MIN, INT64_MAX},
    "dense, then snowflakes": lambda chance: set(range(70_000)) | {2**62 + chance.randrange(2**40) for _ in range(30_000)},
    "islands": lambda chance: {island * 10**12 + at for island in range(-150, 150) for at in range(chance.randrange(1, 400))},
    "both ends": lambda _: {INT64_MIN + k for k in range(9000)} | {INT64_MAX - k for k in range(9000)},
    "one": lambda _: {7},
    "empty": lambda _: set(),
}


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeats"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_compare_yields_both_sets_whole(world: World, union: UNION, shape: str, unique: bool) -> None:
    chance = random.Random(shape)
    there = SHAPES[shape](chance)
    source = {k for k in there if chance.random() > 0.001} | {k - 1 for k in list(there)[:5] if k > INT64_MIN}
    announced = ints(k for k in there if chance.random() > 0.002)
    columns = f"id int8 {'PRIMARY KEY' if unique else ''}, state int"
    more: list[list[int | None]] = [] if unique else [[k, 0] for k in [*list(there)[:99], None]]
    registry = world.table("r", [*([k, 0] for k in there), *more], columns=columns, ordered=True)
    origin = world.table("s", [[k, 0] for k in source], columns=columns, ordered=True)
    if not unique:
        world.hand.execute("CREATE INDEX ON public.r (id); CREATE INDEX ON public.s (id)")
    for workers, guess in ((1, announced), (2, announced), (2, ints(()))):
        with_both = world.side(origin, workers), world.side(registry, workers)
        parts = list(compare(*with_both, INT, among(guess)))
        assert union(part.source for part in parts) == source
        assert union(part.registry for part in parts) == there
        assert union(part.announced for part in parts) == set(guess)


def test_all_versions_and_integer_types_agree(world_any: World, union: UNION) -> None:
    for kind, low, high in (("int2", -(2**15), 2**15), ("int4", -(2**31), 2**31), ("int8", -(2**63), 2**63)):
        keys = {low, low + 1, *range(-9000, 9000), high - 1} - {17}
        table = world_any.table(kind, [[k, 0] for k in keys], columns=f"id {kind} PRIMARY KEY, state int")
        (side,) = (world_any.side(table),)
        parts = list(learn([side], INT, among(IntKeys.range(-9000, 9000))))
        assert union(part.sets[0] for part in parts) == keys


def test_a_restricted_range_is_all_that_is_read(world: World, union: UNION) -> None:
    table = world.table("t", [[k, 0] for k in range(50_000)])
    parts = list(learn([world.side(table)], INT, among(ints(())), low=1_000, high=40_001))
    assert union(part.sets[0] for part in parts) == set(range(1_000, 40_001))
    spans = sorted((part.span.low, part.span.high) for part in parts if isinstance(part.span, Range))
    assert (spans[0][0], spans[-1][1]) == (1_000, 40_001)


@pytest.mark.parametrize("unique", [True, False])
def test_a_condition_joins_every_form(world: World, union: UNION, unique: bool) -> None:
    columns = f"id int8 {'PRIMARY KEY' if unique else ''}, state int"
    data = [[k, k % 3] for k in range(100_000) if k % 1000]
    table = world.table("t", data, columns=columns, ordered=True)
    world.hand.execute("CREATE INDEX ON public.t (id)")
    wanted = {k for k, state in data if state in (0, 2)}
    for guess in (ints(wanted), IntKeys.range(0, 100_000), ints(())):
        side = world.side(table, 1, condition(accepted={"state": (0, 2)}))
        parts = list(learn([side], INT, among(guess)))
        assert union(part.sets[0] for part in parts) == wanted


def test_partitions_are_read_as_one_table(world: World, union: UNION) -> None:
    world.hand.execute(
        "DROP TABLE IF EXISTS public.p; CREATE TABLE public.p (id int8 PRIMARY KEY) PARTITION BY HASH (id);"
        "CREATE TABLE public.p0 PARTITION OF public.p FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO public.p SELECT k FROM generate_series(1, 60000) k WHERE k % 5000 <> 0"
    )
    leaves = (("public", "p0"), ("public", "p1"))
    for unique in (True, False):  # by ranges of keys, and by pages of the leaves
        table = Table(schema="public", name="p", key=("id",), kinds=("int",), unique=unique, leaves=leaves)
        parts = list(learn([world.side(table)], INT, among(IntKeys.range(1, 60_001))))
        assert union(part.sets[0] for part in parts) == {k for k in range(1, 60_001) if k % 5000}


def test_the_form_follows_the_table(world: World) -> None:
    whole, tenth_gone = set(range(WIDTH // 4)), {k for k in range(WIDTH // 4) if hash((k, 1)) % 10}
    stride = {k for k in whole if k % 10 == 3}
    cases = [
        (whole, whole - {5, 6, 7}, "ranks"),
        (whole, set(), "full ranks"),
        (tenth_gone, whole, "words"),
        (stride, stride, "pushed"),
        (stride, set(), "packed"),
    ]
    for there, guess, form in cases:
        with rows(world, list(there), unique=True) as reader:
            world.hand.execute("ANALYZE public.t")
            habit = Habit()
            found, needles = learn_ints(reader, ints(guess), 0, WIDTH // 4, habit)
            assert (found == ints(there), list(habit.forms)) == (True, [form])
            assert needles == int(bool(guess))


def test_a_table_that_forgets_what_it_just_showed_is_not_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    there = set(range(100_000))
    with rows(world, list(there), unique=True) as reader:
        monkeypatch.setattr(ints_module, "ranks", lambda _, guess, *__: (guess, 0))
        with pytest.raises(UnavailableError, match=r"public\.t.*not found again"):
            learn_ints(reader, ints(there), 0, 100_000, Habit())


def test_it_refuses_to_read_outside_a_snapshot(world: World) -> None:
    table = world.table("t", [[1, 0]])
    with pytest.raises(UnavailableError, match="not inside a snapshot"):
        Reader(world.hand, table)
    world.hand.execute("BEGIN")
    with pytest.raises(UnavailableError, match="not inside a snapshot"):
        Reader(world.hand, table)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_a_read_cut_short_is_an_error_and_never_an_end(world: World, how: str, workers: int) -> None:
    table = world.table("t", [[k, 0] for k in range(3000)])
    slow = sql.SQL("pg_sleep(0.001) IS NOT NULL").format()
    side = replace(world.side(table, workers), where=slow if how == "cancel" else None)

    def announced(span: Span) -> IntKeys:  # called between two statements of one connection
        for connection in side.connections:
            if how == "terminate":
                world.hand.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")
            else:
                connection.execute("SET LOCAL statement_timeout = 1")
        return ints(())

    with pytest.raises(UnavailableError, match=r"cannot read public\.t") as raised:
        list(learn([side], INT, announced))
    assert isinstance(raised.value.__cause__, psycopg.Error)


def test_both_tables_are_read_at_once_over_one_connection_each(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for name in ("r", "s"):
        table = world.table(name, [])
        world.hand.execute(f'INSERT INTO public."{name}" SELECT k, 0 FROM generate_series(0, {3 * WIDTH - 1}) k')
        sides.append(world.side(table))
    asked: list[tuple[str, float, float]] = []
    rows_of = Reader.rows

    def timed(reader: Reader, *args: Any, **more: Any) -> Any:
        begun = time.monotonic()
        try:
            return rows_of(reader, *args, **more)
        finally:
            asked.append((reader.table.name, begun, time.monotonic()))

    monkeypatch.setattr(Reader, "rows", timed)
    parts = list(compare(sides[1], sides[0], INT, among(IntKeys.range(0, 3 * WIDTH))))
    assert sum(len(part.source & part.registry) for part in parts) == 3 * WIDTH
    ours, theirs = ([(begun, ended) for table, begun, ended in asked if table == name] for name in ("r", "s"))
    assert any(a < d and c < b for a, b in ours for c, d in theirs)


def test_threads_that_share_a_connection_are_told_the_first_failure(world: World) -> None:
    reader = world.reader(world.table("t", [[1, 0]]))
    with pytest.raises(UnavailableError, match="division by zero"):
        reader.rows(sql.SQL("SELECT 1 / 0"))
    with pytest.raises(UnavailableError, match="division by zero"):  # and not "current transaction is aborted"
        reader.rows(sql.SQL("SELECT 1"))
