"""The proof `control`, for every type of key: needles of every slice, and the newest announced creations.

A slice that comes back without its rows is staged by taking them away from what was read; nothing else is pretended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from reconciler import probe
from reconciler.outcome import Outcome
from reconciler.probe import Side, Slice
from schemas.errors import UnavailableError
from schemas.keys import IntKeys, Key, KeyType
from schemas.verdict import Proof, Verdict
from tests.recipes.world import World

SLICE = 20  #: rows of a slice that is cut by rows
INTS = [*range(1, 41), *range(5_000_001, 5_000_041)]  # dense in two slices that are learned as bits
SPARSE = [at * 10**12 for at in range(80)]
UUIDS = [str(UUID(int=at << 120 | at)) for at in range(1, 81)]
TEXTS = [f"key-{at:03}" for at in range(80)]
KINDS: dict[str, tuple[str, Sequence[int | str]]] = {
    "bigint, dense": ("bigint", INTS),
    "bigint, far apart": ("bigint", SPARSE),
    "uuid": ("uuid", UUIDS),
    "text, in order": ('text COLLATE "C"', TEXTS),
    "text, by pages": ("text", TEXTS),
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def keyed(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[World, list[int | str]]:
    """All but the last key are fine; that one is nobody's yet."""
    monkeypatch.setattr("reconciler.probe.ranges.ROWS", SLICE)
    monkeypatch.setattr("reconciler.probe.walk.buckets_for", lambda _: 4)
    world.key, keys = request.param
    world.tables()
    world.fine(keys[:-1])
    return world, list(keys)


def emptied(monkeypatch: pytest.MonkeyPatch, side: int, which: Key | None = None) -> None:
    """From now on the slice that holds `which` (None: the last one with rows) comes without the rows of one side."""
    honest = probe.learn

    def learn(sides: Sequence[Side], key_type: KeyType, announced: Any, **bounds: Any) -> Iterator[Slice]:
        parts = list(honest(sides, key_type, announced, **bounds))
        full = [at for at, part in enumerate(parts) if (which in part.sets[side] if which is not None else part.sets[side])]
        assert len(parts) > 1, "a table of one slice shows nothing here"
        for at, part in enumerate(parts):
            sets = list(part.sets)
            if full and at == full[-1]:
                sets[side] = key_type.empty()
            yield replace(part, sets=tuple(sets), needles=0)

    monkeypatch.setattr(probe, "learn", learn)


def control(outcome: Outcome) -> Proof:
    (found,) = [p for p in outcome.report.proofs if p.name == "control"]
    return found


def test_a_slice_without_its_rows_and_a_table_without_the_newest_are_noticed_whatever_the_key(
    keyed: tuple[World, list[int | str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, keys = keyed
    honest = control(world.gaps())
    assert honest.held
    assert f"{len(keys) - 1} of the {len(keys) - 1} newest announced creations are source rows" in honest.seen
    assert int(honest.seen.split()[0]) >= len(keys) / SLICE, "a needle of every slice"
    with monkeypatch.context() as patched:
        emptied(patched, -1)
        false = world.gaps()
        assert (false.report.verdict, control(false).held) == (Verdict.CANNOT_TELL, False), "the source's rows"
        assert "did not come back" in control(false).seen
        with pytest.raises(UnavailableError, match="cannot trust what"):
            world.sweep()
    with monkeypatch.context() as patched:
        emptied(patched, 0)
        world.rows(keys[-1:])
        doubtful = world.cutover()
        assert (doubtful.report.verdict, control(doubtful).held) == (Verdict.CANNOT_TELL, False), "the registry's rows"
        assert world.in_registry() == {str(key) for key in keys[:-1]}, "nothing is inserted on such evidence"
    found = world.cutover()
    assert found.report.verdict is Verdict.CLEAR
    assert found.report.data_types[0].backfilled == 1
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items RENAME TO kept")
        db.execute("CREATE TABLE items (LIKE kept INCLUDING ALL)")
    world.rows([UUIDS[-1].replace("0", "f") if world.key == "uuid" else 90_001])
    old = control(world.gaps())
    assert old.held is False
    assert f"none of the {len(keys) - 1} newest announced creations is a row of the source" in old.seen


def test_a_composite_key_has_both_needles(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.probe.ranges.ROWS", SLICE)
    monkeypatch.setattr("reconciler.probe.walk.buckets_for", lambda _: 4)
    keys = [(at % 5, f"k{at}") for at in range(80)]
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items (a int, b text, created_at timestamptz, PRIMARY KEY (a, b))")
        db.cursor().executemany("INSERT INTO items VALUES (%s, %s, %s)", [(a, b, world.earlier) for a, b in keys])
    with psycopg.connect(world.target) as db:
        db.execute("CREATE TABLE item_registry (a int, b text, state int, created_at timestamptz, PRIMARY KEY (a, b))")
        db.cursor().executemany("INSERT INTO item_registry VALUES (%s, %s, 2, now())", keys)
    world.source_extra, world.registry_extra = {"key": ["a", "b"]}, {"key": ["a", "b"]}
    event = {"key": ["a", "b"], "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"}
    world.type_extra = {"event": event}
    at = world.earlier.isoformat()
    world.publish([json.dumps({"a": a, "b": b, "op": "created", "at": at}).encode() for a, b in keys])
    honest = control(world.gaps())
    assert honest.held
    assert "80 of the 80 newest announced creations are source rows" in honest.seen
    emptied(monkeypatch, -1)
    assert control(world.gaps()).held is False


def test_an_orphan_is_not_looked_for_in_what_came_without_its_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registry rows that did not come would be no orphans; source rows that did not come would make orphans of others."""
    world.tables()
    world.fine(INTS)
    world.registered([5_000_500])
    assert world.gaps(deletes=True).report.data_types[0].orphans.keys == ["5000500"]
    for side in (0, -1):
        with monkeypatch.context() as patched:
            emptied(patched, side, 5_000_001)
            with pytest.raises(UnavailableError, match="cannot trust what was read"):
                world.gaps(deletes=True)


def test_a_window_whose_rows_did_not_come_by_their_dates_is_noticed(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index on time is another than the key's: rows that the one finds must be among those of the other."""
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items SELECT g, 1, now() - interval '30 days' FROM generate_series(10000, 30000) g")
        db.execute("CREATE INDEX ON items (created_at)")
        db.execute("ANALYZE items")
    with psycopg.connect(items.target) as db:
        db.execute("INSERT INTO item_registry (item_id) SELECT g FROM generate_series(10000, 30000) g")
    items.rows([40_001], items.now)
    honest = items.gaps(since="10m").report.data_types[0]
    assert (honest.window.strategy, honest.gaps.keys) == ("created_at_index", ["40001"])
    monkeypatch.setattr(probe, "keys_since", lambda *_: IntKeys())
    blind = items.gaps(since="10m")
    assert blind.report.verdict is Verdict.CANNOT_TELL
    assert "did not come back: 40001" in control(blind).seen
