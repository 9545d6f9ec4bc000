"""The demo's world is planned before anything starts: pure, repeatable, and with every loss in its place."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from demo.losses import CREATIONS, PLANTED, SPAN, Fate, creations, keys_of
from demo.traffic import KINDS

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", PLANTED)
def test_exactly_what_is_planted_is_there(name: str) -> None:
    counts = Counter(creation.fate for creation in creations(name, NOW))
    assert {fate: count for fate, count in counts.items() if fate is not Fate.FINE} == dict(PLANTED[name])
    assert counts.total() == CREATIONS


@pytest.mark.parametrize("name", PLANTED)
def test_the_same_world_comes_again(name: str) -> None:
    assert creations(name, NOW) == creations(name, NOW)


@pytest.mark.parametrize("name", PLANTED)
def test_all_is_inside_the_window_and_the_first_is_announced(name: str) -> None:
    world = creations(name, NOW)
    assert world[0].fate.announced
    assert world[0].at == NOW - SPAN
    assert all(a.at < b.at for a, b in pairwise(world))
    assert world[-1].at < NOW - timedelta(minutes=4)
    assert timedelta(hours=72) > SPAN


def test_a_fate_says_what_is_there() -> None:
    assert [fate for fate in Fate if fate.missing] == [Fate.DROPPED, Fate.UNAPPLIED]
    assert [fate for fate in Fate if not fate.exists] == [Fate.DELETED, Fate.ROLLED_BACK]


def test_debezium_never_announces_what_was_rolled_back() -> None:
    assert Fate.ROLLED_BACK not in PLANTED["upload"]


def test_every_data_type_has_its_losses_and_keys_are_told_as_text() -> None:
    assert [kind.name for kind in KINDS] == [*PLANTED]
    world = {name: creations(name, NOW, 1000) for name in PLANTED}
    dropped = keys_of(world, Fate.DROPPED)
    assert {name: len(keys) for name, keys in dropped.items()} == {n: planted[Fate.DROPPED] for n, planted in PLANTED.items()}
    assert all(isinstance(key, str) for keys in dropped.values() for key in keys)
