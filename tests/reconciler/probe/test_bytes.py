"""uuid, text and composite keys are read exactly, in index order or by pages, and never by a collation's idea of order."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.probe import Bucket, Range, compare, learn, ranges
from schemas.keys import ByteKeys, Key, KeySet, key_type
from tests.reconciler.probe.conftest import World, among

UNION = Callable[..., set[Any]]
#: What sorts differently under every locale, and what a careless writer would trim, fold or mistake.
AWKWARD = ["", " ", "a", "A", "a ", " a", "ä", "z", "Z", "zz", "ß", "ss", "é", "e\u0301", "\\", "\\u", "\x1f", "a\x1fb", "a/b",
           "a\\", "\n", "\t", "%s", "50%", "'", '"', "𝄞", "日本", "\u0001", "\x7f",
           "x" * 31, "x" * 32, "x" * 33, "y" * 2000]  # fmt: skip


def words(chance: random.Random, count: int) -> list[str]:
    letters = "abcXYZ 0129éß日\\\x1f/-_"
    made = {"".join(chance.choices(letters, k=chance.randint(1, 40))) for _ in range(count)}
    return sorted(made | set(AWKWARD), key=lambda w: (len(w), w))


UUIDS = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000100",
         "12345678-0000-0000-0000-000000000000"]  # fmt: skip


@pytest.mark.parametrize("rows", [1 << 16, 700])
def test_uuids_are_compared_whole(world: World, union: UNION, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(ranges, "ROWS", rows)
    chance, kind = random.Random(1), key_type("uuid")
    there = {uuid.UUID(int=chance.getrandbits(128)) for _ in range(9000)} | {uuid.UUID(text) for text in UUIDS}
    source = {one for one in there if chance.random() > 0.003}
    registry = world.table(
        "r", [[k, 0] for k in there], columns="id uuid PRIMARY KEY, state int", kinds=("uuid",), bytewise=True
    )
    origin = world.table(
        "s", [[k, 0] for k in source], columns="id uuid PRIMARY KEY, state int", kinds=("uuid",), bytewise=True
    )
    announced = kind.of([k.bytes for k in there if chance.random() > 0.003])
    for workers in (1, 2):
        for guess in (announced, kind.empty()):
            sides = world.side(origin, workers), world.side(registry, workers)
            parts = list(compare(*sides, kind, among(guess)))
            assert union(p.source for p in parts) == raw(source)
            assert union(p.registry for p in parts) == raw(there)
            assert union(p.announced for p in parts) == set(guess)


def raw(some: set[uuid.UUID]) -> set[bytes]:
    return {bytes(one.bytes).rstrip(b"\0") for one in some}  # as an `S` array gives them back


def test_one_side_far_larger_than_the_other_stays_bounded(world: World, union: UNION, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "ROWS", 100)
    there = {uuid.UUID(int=k << 100 | k) for k in range(1, 5000)}
    few = {uuid.UUID(int=k << 100 | k) for k in range(1, 5000, 1000)}
    facts: dict[str, Any] = {"columns": "id uuid PRIMARY KEY, state int", "kinds": ("uuid",), "bytewise": True}
    large, small = world.table("a", [[k, 0] for k in there], **facts), world.table("b", [[k, 0] for k in few], **facts)
    for source, registry in ((large, small), (small, large)):
        kind = key_type("uuid")
        parts = list(compare(world.side(source), world.side(registry), kind, among(kind.empty())))
        assert max(max(len(p.source), len(p.registry)) for p in parts) <= 400
        assert union(p.source for p in parts) == raw(there if source is large else few)


@pytest.mark.parametrize("collation", ["C", "en-x-icu", "und-x-icu", "nocase"])
@pytest.mark.parametrize("spill", [8 << 20, 5000])
def test_text_is_compared_bytewise_whatever_the_collation(
    world15: World, union: UNION, monkeypatch: pytest.MonkeyPatch, collation: str, spill: int
) -> None:
    monkeypatch.setattr("reconciler.probe.spill.HELD_BYTES", spill)
    monkeypatch.setattr("reconciler.probe.spill.BUCKET_BYTES", 1 << 14)
    monkeypatch.setattr(ranges, "ROWS", 500)
    world15.hand.execute("CREATE COLLATION public.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    chance, kind = random.Random(7), key_type("text")
    there = words(chance, 4000)
    column = f'id text COLLATE {"public" if collation == "nocase" else "pg_catalog"}."{collation}"'
    unique = collation != "nocase"  # under it "a" and "A" are one
    columns = f"{column} {'PRIMARY KEY' if unique else ''}, state int"
    facts: dict[str, Any] = {"columns": columns, "kinds": ("text",), "unique": unique, "bytewise": collation == "C"}
    source = [w for w in there if chance.random() > 0.01]
    registry, origin = (
        world15.table("r", [[w, 0] for w in there], **facts),
        world15.table("s", [[w, 0] for w in source], **facts),
    )
    guess = kind.of([w.encode() for w in there if chance.random() > 0.01])
    for workers in (1, 2):
        sides = world15.side(origin, workers), world15.side(registry, workers)
        parts = list(compare(*sides, kind, among(guess)))
        assert {type(p.span) for p in parts} == {Range if collation == "C" else Bucket}
        assert union(p.source for p in parts) == {w.encode() for w in source}
        assert union(p.registry for p in parts) == {w.encode() for w in there}
        assert union(p.announced for p in parts) == set(guess)


def test_composite_keys_have_the_canonical_form(world_any: World, union: UNION) -> None:
    chance = random.Random(3)
    kind = key_type(["int", "text", "uuid"])
    data = [
        (number, text, uuid.UUID(int=chance.getrandbits(128))) for text in AWKWARD for number in (0, -1, 2**63 - 1, -(2**63))
    ]
    table = world_any.table(
        "c",
        [[*row, 1] for row in data] + [[None, "x", data[0][2], 1], [1, None, data[0][2], 1]],
        columns="a int8, b text, c uuid, state int",
        key=("a", "b", "c"),
        kinds=("int", "text", "uuid"),
    )
    wanted = {kind.canonical(row) for row in data}
    parts = list(learn([world_any.side(table)], kind, among(kind.empty())))
    assert union(p.sets[0] for p in parts) == wanted


def test_partitions_and_integers_without_an_index_are_read_by_pages(world: World, union: UNION) -> None:
    world.hand.execute(
        "DROP TABLE IF EXISTS public.p; CREATE TABLE public.p (id text, day int) PARTITION BY RANGE (day);"
        "CREATE TABLE public.p0 PARTITION OF public.p FOR VALUES FROM (0) TO (5);"
        'CREATE TABLE public."p.1" PARTITION OF public.p FOR VALUES FROM (5) TO (10);'
        "INSERT INTO public.p SELECT 'key ' || k, k % 10 FROM generate_series(1, 30000) k"
    )
    leaves = (("public", "p0"), ("public", "p.1"))
    table = world.table("unused", [])
    text = type(table)(schema="public", name="p", key=("id",), kinds=("text",), unique=False, leaves=leaves)
    kind = key_type("text")
    parts = list(learn([world.side(text, 2)], kind, among(kind.empty())))
    assert union(p.sets[0] for p in parts) == {f"key {k}".encode() for k in range(1, 30_001)}
    plain = world.table("i", [[k, 0] for k in (1, 1, None, -5, 2**63 - 1)], columns="id int8, state int")
    number = key_type("int")
    parts = list(learn([world.side(plain)], number, among(number.empty())))
    assert union(p.sets[0] for p in parts) == {1, -5, 2**63 - 1}


def test_a_restricted_range_of_bytes(world: World, union: UNION) -> None:
    kind = key_type("text")
    for bytewise in (True, False):
        table = world.table(
            f"t{bytewise}", [[f"{k:04}", 0] for k in range(3000)],
            columns='id text COLLATE "C" PRIMARY KEY, state int', kinds=("text",),
            bytewise=bytewise,
        )  # fmt: skip
        low, high = b"0100", kind.after(b"0200")
        parts = list(learn([world.side(table)], kind, among(kind.empty()), low=low, high=high))
        assert union(p.sets[0] for p in parts) == {f"{k:04}".encode() for k in range(100, 201)}


def test_select_puts_every_key_in_exactly_one_bucket(union: Callable[..., set[Key]]) -> None:
    kind, chance = key_type("text"), random.Random(5)
    keys: KeySet = kind.of([w.encode() for w in words(chance, 3000)])
    assert isinstance(keys, ByteKeys)
    assert union(Bucket(number, 16).select(keys) for number in range(16)) == set(keys)
    numbers = key_type("int").of(range(-500, 500))
    assert union(Bucket(number, 8).select(numbers) for number in range(8)) == set(range(-500, 500))
