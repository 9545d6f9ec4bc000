"""The table of design §2, held key by key to a naive reading of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.classify import Seen, classify, classify_orphans
from schemas.keys import IntKeys, KeySet, key_type
from schemas.verdict import Cause, GapClass, OrphanClass

INT = key_type("int")
SILENT = (Cause.UNREAD, Cause.BELOW_RETENTION, Cause.OUTSIDE_COVERAGE, Cause.QUARANTINED, Cause.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Row:
    """One key, and everything that is known of it."""

    source: bool
    accepted: bool
    unaccepted: bool
    log: str  # credited | unsure | neither
    silent: Cause | None
    stale: bool


rows = st.builds(
    Row,
    source=st.booleans(),
    accepted=st.booleans(),
    unaccepted=st.booleans(),
    log=st.sampled_from(["credited", "unsure", "neither"]),
    silent=st.none() | st.sampled_from(SILENT),
    stale=st.booleans(),
)
worlds = st.dictionaries(st.integers(-(1 << 63), (1 << 63) - 1), rows, max_size=25)


def in_table(row: Row) -> tuple[GapClass, Cause] | str | None:
    """A line of the table: the class and its cause, `healed`, or None where all is fine or there is no source row."""
    if not row.source:
        return None
    if row.accepted:
        if row.stale:
            return GapClass.STALE_REGISTRATION, Cause.STALE
        return "healed" if row.log == "neither" and row.silent is None else None
    if row.unaccepted:
        return GapClass.UNACCEPTED, Cause.UNACCEPTED_STATE
    if row.log == "credited":
        return GapClass.UNAPPLIED_CREATE, Cause.UNAPPLIED
    if row.log == "unsure":
        return GapClass.UNHEARD_CREATE, Cause.ORDER_UNKNOWN
    if row.silent is not None:
        return GapClass.UNHEARD_CREATE, row.silent
    return GapClass.DROPPED_CREATE, Cause.NEVER_ANNOUNCED


def seen(world: dict[int, Row]) -> Seen:
    def keys(chosen: list[int]) -> KeySet:
        return INT.of(chosen)

    return Seen(
        source=keys([k for k, r in world.items() if r.source]),
        accepted=keys([k for k, r in world.items() if r.accepted]),
        unaccepted=keys([k for k, r in world.items() if r.unaccepted]),
        credited=keys([k for k, r in world.items() if r.log == "credited"]),
        unsure=keys([k for k, r in world.items() if r.log == "unsure"]),
        silent={cause: keys([k for k, r in world.items() if r.silent is cause]) for cause in SILENT},
        stale=keys([k for k, r in world.items() if r.stale]),
    )


@given(worlds)
def test_every_key_falls_where_the_table_puts_it(world: dict[int, Row]) -> None:
    classes = classify(seen(world))
    told = {int(key): place for place, keys in classes.gaps.items() for key in keys}
    wanted = {key: line for key, row in world.items() if isinstance(line := in_table(row), tuple)}
    assert told == wanted
    assert set(classes.healed) == {key for key, row in world.items() if in_table(row) == "healed"}


@given(worlds)
def test_no_key_is_counted_twice_and_nothing_empty_is_told(world: dict[int, Row]) -> None:
    classes = classify(seen(world))
    sizes = [len(keys) for keys in classes.gaps.values()]
    assert all(sizes)
    assert sum(sizes) == len({key for keys in classes.gaps.values() for key in keys})


@given(worlds)
def test_what_the_log_says_explains_a_gap_and_never_closes_or_opens_one(world: dict[int, Row]) -> None:
    def gaps(of: dict[int, Row]) -> set[int]:
        return {int(key) for keys in classify(seen(of)).gaps.values() for key in keys}

    silenced = {k: Row(r.source, r.accepted, r.unaccepted, "neither", None, r.stale) for k, r in world.items()}
    assert gaps(world) == gaps(silenced)


@given(worlds, st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_slice_is_classified_as_the_whole_is(world: dict[int, Row], at: int) -> None:
    whole = classify(seen(world))
    parts = [classify(seen({k: r for k, r in world.items() if (k < at) is low})) for low in (True, False)]
    for place, keys in whole.gaps.items():
        assert set(keys) == {k for part in parts for k in part.gaps.get(place, IntKeys())}
    assert set(whole.healed) == {k for part in parts for k in part.healed}


def test_the_keys_of_some_classes_come_in_one_set_and_none_where_there_are_none() -> None:
    row = Row(source=True, accepted=False, unaccepted=False, log="neither", silent=None, stale=False)
    classes = classify(seen({1: row, 2: Row(True, False, False, "credited", None, False)}))
    both = classes.of(GapClass.DROPPED_CREATE, GapClass.UNAPPLIED_CREATE)
    assert both is not None
    assert set(both) == {1, 2}
    assert classes.of(GapClass.UNACCEPTED) is None


@pytest.mark.parametrize("kind", ["int", "text", "uuid"])
def test_nothing_seen_is_nothing_found(kind: str) -> None:
    none = key_type(kind).empty()
    classes = classify(Seen(source=none, accepted=none, unaccepted=none, credited=none, unsure=none, silent={}, stale=none))
    assert classes.gaps == {}
    assert len(classes.healed) == 0


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_an_orphan_is_unapplied_where_its_deletion_was_announced_and_dropped_where_not(
    orphans: set[int], deleted: set[int]
) -> None:
    told = classify_orphans(INT.of(orphans), INT.of(deleted))
    assert set(told.get(OrphanClass.UNAPPLIED_DELETE, [])) == orphans & deleted
    assert set(told.get(OrphanClass.DROPPED_DELETE, [])) == orphans - deleted
    assert all(len(keys) for keys in told.values())
