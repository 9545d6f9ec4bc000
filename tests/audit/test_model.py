"""Everything that can happen between two looks, in random orders, on real servers: what is counted is what should be.

`AUDIT_SEEDS=200`, say, tries more than every build does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reconciler.audit import Audit
from reconciler.auditing import reach
from tests.audit.conftest import Watch, audit_of
from tests.audit.memory import MemoryWorld, asked, found, seen, waiting, watched
from tests.audit.naive import CREATED, DELETED, DROPPED, HEALED, UNAPPLIED, UNHEARD, Naive, Sight

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("AUDIT_SEEDS", "3"))
FIRST_SEED = int(os.environ.get("AUDIT_FIRST_SEED", "1"))
LOOKS = 10  #: of one history
BETWEEN = 6  #: at most so many things happen between two looks
INSERT = "INSERT INTO items (id, project_id, created_at) VALUES (%s, 1, %s)"


@dataclass
class History:
    """One history: a world, its audits, and the naive account of it."""

    watch: Watch
    rng: random.Random
    naive: Naive
    stack: ExitStack
    other: Audit | None = None
    highest: int = 1000
    by_hand: int = 500  #: keys below all others
    number: int = 0
    told: list[str] = field(default_factory=list)  #: what happened, for whoever must find out why
    open_: list[tuple[psycopg.Connection[Any], list[int], bool]] = field(default_factory=list)
    prepared: dict[str, list[int]] = field(default_factory=dict)
    due: set[int] = field(default_factory=set)  #: committed, and the next look must see them
    some_day: set[int] = field(default_factory=set)  #: the next whole look must
    quiet: bool = False  #: until the next look nothing is announced in time

    @property
    def world(self) -> MemoryWorld:
        assert isinstance(self.watch.world, MemoryWorld)
        return self.watch.world

    # -- what happens -------------------------------------------------------------------------------------------------

    def rows(self) -> None:
        """Committed at once; each is told and registered, or not."""
        keys = self._keys()
        self._put(keys, datetime.now(UTC))
        self._committed(keys)

    def dated_back(self) -> None:
        keys = self._keys()[:1]
        self._put(keys, datetime.now(UTC) - timedelta(days=30))
        self._committed(keys)

    def chosen_by_hand(self) -> None:
        """Below all others: only a whole look comes there."""
        self.by_hand -= 1
        self._put([self.by_hand], datetime.now(UTC))
        self.some_day.add(self.by_hand)
        self._fate(self.by_hand)

    def begin(self) -> None:
        """A transaction that stays open, or is prepared."""
        keys, db = self._keys(), self.stack.enter_context(psycopg.connect(self.world.source))
        now = datetime.now(UTC)
        for key in keys:
            db.execute(INSERT, [key, now])
            self.naive.dates[key] = now
        if self.rng.random() < 0.3:
            self.number += 1
            db.execute(f"PREPARE TRANSACTION 'p{self.number}'".encode())
            self.prepared[f"p{self.number}"] = keys
        else:
            self.open_.append((db, keys, self.rng.random() < 0.8))

    def end(self) -> None:
        if self.open_:
            db, keys, commit = self.open_.pop(self.rng.randrange(len(self.open_)))
            if commit:
                db.commit()
                self._committed(keys)
            else:
                db.rollback()
        elif self.prepared:
            name = self.rng.choice(list(self.prepared))
            self._at_source(f"COMMIT PREPARED '{name}'")
            self._committed(self.prepared.pop(name))

    def told_late(self) -> None:
        """An announcement that was not made in time, with the time of its row."""
        silent = [key for key in sorted(self._there()) if not self._ever_told(key)]
        if silent:
            key = self.rng.choice(silent)
            self._say(key, CREATED, self.naive.dates[key])

    def registered_late(self) -> None:
        without = sorted(self._there() - self._registered())
        if without:
            self.world.registered([self.rng.choice(without)])

    def deleted(self) -> None:
        there = sorted(self._there())
        if not there:
            return
        key = self.rng.choice(there)
        self._at_source(f"DELETE FROM items WHERE id = {key}")
        self.due.discard(key)
        self.some_day.discard(key)
        told, gone = self.rng.random() < 0.7, self.rng.random() < 0.8
        if told:
            self._say(key, DELETED, datetime.now(UTC))
        if gone:
            self._at_target(f"DELETE FROM item_registry WHERE item_id = {key}")
        if gone and self.rng.random() < 0.5:
            self._again(key)

    def used_again(self) -> None:
        """Before any look saw the first row of that id."""
        key = self._keys()[0]
        self._put([key], datetime.now(UTC))
        self._say(key, CREATED, datetime.now(UTC))
        self._at_source(f"DELETE FROM items WHERE id = {key}")
        self._at_target(f"DELETE FROM item_registry WHERE item_id = {key}")
        if self.rng.random() < 0.4:
            self._say(key, DELETED, datetime.now(UTC))
        self._again(key)
        self.due.add(key)

    def restarted(self) -> None:
        self.watch.lost()

    def handed_over(self) -> None:
        """Another instance has the lease, as the first one gave it back."""
        self._let_go()
        self.watch.audit, self.other = self.other or audit_of(self.world, self.watch.ledger, self.watch.log), self.watch.audit

    def taken_from_a_sleeper(self) -> None:
        """Another instance has it and has looked; the first one wakes, looks, and that counts nothing."""
        self._lease_runs_out()
        sleeper, self.watch.audit = self.watch.audit, self.other or audit_of(self.world, self.watch.ledger, self.watch.log)
        self.other = None
        self.look()
        before = self._kept()
        sleeper.turn("item")
        assert self._kept() == before, "who has lost the lease has written"
        for held in sleeper._held.values():
            held.__exit__(None, None, None)

    def partition(self) -> None:
        self.world.told.grow("items", len(self.world.told.topics["items"]) + 1)

    def sweep(self) -> None:
        self.world.sweep(backfill=self.rng.random() < 0.5, wait=timedelta(0))
        self.naive.heard = len(self.naive.words)

    def broker_away(self) -> None:
        self.watch.log["away"] = not self.watch.log.get("away")

    def whole_is_due(self) -> None:
        self.watch.whole_is_due()

    def speak(self) -> None:
        if self.quiet:
            return
        keys = self._keys()[:1]
        self._put(keys, datetime.now(UTC))
        self.due.update(keys)
        self._say(keys[0], CREATED, datetime.now(UTC))
        self.world.registered(keys)

    # -- a look -------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        source, registry, before = self._there(True), self._registered(), seen(self.watch)
        totals, kept = self.watch.totals(), self._kept()
        self.watch.look()
        ((number, at, whole_at),) = asked(self.watch, "SELECT look, looked_at, whole_at FROM audit")
        assert number == kept + 1, "the look was kept"
        new = seen(self.watch) - before
        away = bool(self.watch.log.get("away"))
        sight = Sight(at=at, source=frozenset(source), registry=frozenset(registry), away=away)
        self.told.append(f"look {number}: new {sorted(new)}")
        assert new <= source - before, "what is new was not there, or was seen before"
        assert self.due <= new | before, f"passed over: {sorted(self.due - new - before)}"
        self.due.clear()
        if whole_at == at:
            assert self.some_day <= new | before, f"a whole look passed over {sorted(self.some_day - new - before)}"
            self.some_day.clear()
        ours = self.naive.look(sight, new)
        theirs = {k: n - totals.get(k, 0) for k, n in self.watch.totals().items() if n != totals.get(k, 0)}
        theirs = {k: n for k, n in theirs.items() if not k.endswith("_delete")}
        assert theirs == dict(ours), "this look counted something else"
        self._rate(number, ours)
        self._waits()

    def _rate(self, number: int, ours: dict[str, int]) -> None:
        """Each drop fails a trial of the look in which it was judged, alone or together with its neighbours."""
        ((trials, failed),) = asked(self.watch, f"SELECT trials, failed FROM audit_look WHERE look = {number}")
        drops = ours.get(DROPPED, 0) + ours.get(HEALED, 0)
        assert min(drops, 1) <= failed <= drops
        fine = ours.get("rows", 0) - drops - ours.get(UNHEARD, 0)
        assert fine >= trials - failed >= 0

    def _waits(self) -> None:
        held = waiting(self.watch)
        assert held.get("", set()) == set(self.naive.waiting), "others wait"
        for class_ in (DROPPED, HEALED, UNAPPLIED, UNHEARD):
            assert held.get(class_, set()) == {k for k, c in self.naive.open.items() if c == class_}, class_

    # -- all of it ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        usual: list[Callable[[], None]] = [
            self.rows, self.rows, self.rows, self.begin, self.end, self.end, self.speak, self.speak, self.told_late,
            self.registered_late, self.deleted, self.dated_back, self.chosen_by_hand, self.used_again,
        ]  # fmt: skip
        seldom = [
            self.restarted, self.handed_over, self.taken_from_a_sleeper, self.partition, self.sweep, self.broker_away,
            self.whole_is_due,
        ]  # fmt: skip
        for _ in range(LOOKS):
            self.quiet = self.rng.random() < 0.4
            for _ in range(self.rng.randrange(BETWEEN + 1)):
                self._do(self.rng.choice(usual if self.rng.random() < 0.75 else seldom))
            self._do(self.look)
        self._to_the_end()

    def _do(self, what: Callable[[], None]) -> None:
        if what != self.look:
            self.told.append(what.__name__)
        what()

    def _to_the_end(self) -> None:
        self.watch.log["away"] = self.quiet = False
        while self.open_ or self.prepared:
            self.end()
        self.whole_is_due()
        for _ in range(3):
            self.look()
            self.speak()
        self.look()
        once = found(self.watch)
        mine = {place: n for place, n in once.items() if not place[0].endswith("_delete")}
        assert mine == dict(self.naive.found)

    # -- means --------------------------------------------------------------------------------------------------------

    def _keys(self) -> list[int]:
        first = self.highest + 1
        self.highest += self.rng.randint(1, 4)
        return list(range(first, self.highest + 1))

    def _put(self, keys: list[int], at: datetime) -> None:
        self.world.rows(keys, at=at)
        self.naive.dates |= dict.fromkeys(keys, at)

    def _committed(self, keys: list[int]) -> None:
        self.due.update(keys)
        for key in keys:
            self._fate(key)

    def _fate(self, key: int) -> None:
        if not self.quiet and self.rng.random() < 0.6:
            self._say(key, CREATED, datetime.now(UTC))
        if self.rng.random() < 0.6:
            self.world.registered([key])

    def _again(self, key: int) -> None:
        """The same key for another row."""
        self._put([key], datetime.now(UTC))
        self._fate(key)

    def _say(self, key: int, op: str, at: datetime) -> None:
        self.told.append(f"  {op} {key}")
        partition = key % len(self.world.told.topics["items"])
        self.world.announce([key], op=op, at=at, partition=partition)
        self.naive.say(key, op, at)

    def _ever_told(self, key: int) -> bool:
        return any(k == key for k, _, _ in self.naive.words)

    def _there(self, every: bool = False) -> set[int]:
        with psycopg.connect(self.world.source) as db:
            return {key for (key,) in db.execute("SELECT id FROM items") if every or key > 100}

    def _registered(self) -> set[int]:
        return {int(key) for key in self.world.in_registry()}

    def _kept(self) -> int:
        return int(asked(self.watch, "SELECT look FROM audit")[0][0])

    def _at_source(self, statement: str) -> None:
        with psycopg.connect(self.world.source, autocommit=True) as db:
            db.execute(statement.encode())

    def _at_target(self, statement: str) -> None:
        with psycopg.connect(self.world.target, autocommit=True) as db:
            db.execute(statement.encode())

    def _let_go(self) -> None:
        for held in self.watch.audit._held.values():
            held.__exit__(None, None, None)
        self.watch.audit._held.clear()

    def _lease_runs_out(self) -> None:
        self._at_target("UPDATE fencepost.lease SET expires_at = clock_timestamp(), holder = NULL WHERE name = 'audit:item'")


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_every_loss_is_counted_once_in_its_own_look_and_nothing_else_is(
    databases_with_ledger: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(reach, "_pause", lambda _: None)  # who is open here stays so
    with ExitStack() as stack, watched(databases_with_ledger, tmp_path) as watch:
        began = datetime.now(UTC)
        naive = Naive(seen=seen(watch), since=began - timedelta(hours=2))
        history = History(watch, random.Random(seed), naive, stack)
        try:
            history.run()
        except BaseException as error:
            error.add_note("\n".join(history.told))
            raise
