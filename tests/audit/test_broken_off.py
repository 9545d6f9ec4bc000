"""A look broken off at any of its statements, before it arrives or before it is answered: the next one goes on, and in the end
each row is counted once, and each loss once.

One statement in `STRIDE` is broken off at; `AUDIT_STRIDE=1`, which `make soak` sets, takes them all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from reconciler.auditing import reach
from tests.audit.conftest import Watch, speak
from tests.audit.memory import asked, found, passed_unseen, seen, waiting, watched
from tests.faults.tap import Cut, Tap, Unanswered
from tests.stack.postgres import Postgres

pytestmark = pytest.mark.slow

STRIDE = int(os.environ.get("AUDIT_STRIDE", "13"))
WIRES = ("source", "registry", "ledger")
LOST, HEALED, UNAPPLIED = "dropped_create", "healed_drop", "unapplied_create"
FIRST = 1000
KINDS = 3  #: of rounds that follow each other: looks of one have fewer statements than those of another
EACH = 20  #: keys from one round to the next


def cut() -> None:
    raise Cut


def unanswered() -> None:
    raise Unanswered


@dataclass
class Rounds:
    """Rows and losses, some more each round, and looks that do not come to their end."""

    watch: Watch
    taps: dict[str, Tap]
    rounds: int = 0
    planted: dict[str, set[int]] = field(default_factory=lambda: {LOST: set(), HEALED: set(), UNAPPLIED: set()})
    made: set[int] = field(default_factory=set)

    def round(self, wire: str, words: str, nth: int, *, answered: bool = True) -> bool:
        """One look that is broken off at this statement, and one that is not. False: it came to its end before."""
        first = FIRST + EACH * self.rounds
        self.rounds += 1
        with psycopg.connect(self.watch.world.source) as late:
            late.execute("INSERT INTO items (id, project_id, created_at) VALUES (%s, 1, now())", [first])
            self._plant(first)
            if self.rounds % 3 == 0:
                self.watch.whole_is_due()
            self.taps[wire].at(words, cut if answered else unanswered, nth=nth)
            self.watch.look()
            never_came = [tap.forget() for tap in self.taps.values()]
        self._plant_lost(first)
        if self.rounds % 2:
            self.watch.lost()
        speak(self.watch, first + 19)
        self.made.add(first + 19)
        self.watch.look()
        self.judged_so_far()
        return not any(never_came)

    def to_the_end(self, wire: str, words: str = "", *, stride: int, answered: bool = True) -> int:
        """Rounds until no look comes so far any more; how far the last one came."""
        nth = 1
        while any(self.round(wire, words, nth, answered=answered) for _ in range(KINDS)):
            nth += stride
        return nth

    def _plant(self, first: int) -> None:
        world, now = self.watch.world, datetime.now(UTC)
        world.fine([first + n for n in (2, 4, 6, 8)], at=now)
        world.rows([first + 3, first + 5, first + 7], at=now)
        world.registered([first + 5])
        world.announce([first + 7], at=now)
        self.made |= {first + n for n in range(2, 9)}
        self.planted[LOST].add(first + 3)
        self.planted[HEALED].add(first + 5)
        self.planted[UNAPPLIED].add(first + 7)

    def _plant_lost(self, first: int) -> None:
        """What was open over the look is there, and lost."""
        self.made.add(first)
        self.planted[LOST].add(first)

    def judged_so_far(self) -> None:
        once = found(self.watch)
        assert set(once.values()) <= {1}, once.most_common(3)
        assert {(class_, key) for class_, keys in self.planted.items() for key in keys} >= set(once)
        counted = Counter(class_ for class_, _ in once)
        totals = self.watch.totals()
        assert totals.pop("rows", 0) <= len(self.made)
        assert totals == counted
        assert not passed_unseen(self.watch)

    def all_is_judged(self) -> None:
        for n in (1, 2):
            speak(self.watch, FIRST + EACH * self.rounds + n)
            self.made.add(FIRST + EACH * self.rounds + n)
            self.watch.look()
        self.watch.look()
        assert self.watch.totals() == {"rows": len(self.made)} | {class_: len(keys) for class_, keys in self.planted.items()}
        assert set(found(self.watch)) == {(class_, key) for class_, keys in self.planted.items() for key in keys}
        assert waiting(self.watch) == self.planted
        assert seen(self.watch) == self.made | set(range(1, 101))
        failed = len(self.planted[LOST] | self.planted[HEALED])
        ((trials, of_them),) = asked(self.watch, "SELECT sum(trials)::int, sum(failed)::int FROM audit_look")
        assert (trials, of_them) == (len(self.made), failed)


@pytest.fixture
def rounds(
    databases_with_ledger: tuple[str, str], tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rounds]:
    monkeypatch.setattr(reach, "_pause", lambda _: None)  # who is open here stays so
    source, target = databases_with_ledger
    with ExitStack() as stack:
        taps = {wire: Tap(postgres.port) for wire in WIRES}
        for tap in taps.values():
            stack.callback(tap.close)
        led = {
            wire: {"dsn": (source if wire == "source" else target).replace(f":{postgres.port}", f":{tap.port}")}
            for wire, tap in taps.items()
        }
        yield Rounds(stack.enter_context(watched((source, target), tmp_path, **led)), taps)


def test_a_registry_that_goes_away_as_its_clock_is_read_costs_no_look(rounds: Rounds) -> None:
    """The last thing that a look asks it."""
    before = asked(rounds.watch, "SELECT look FROM audit")[0][0]
    assert rounds.round("registry", "SELECT clock_timestamp()", 1)
    assert asked(rounds.watch, "SELECT look FROM audit") == [(before + 2,)]
    rounds.all_is_judged()


@pytest.mark.parametrize("wire", WIRES)
def test_a_look_broken_off_at_any_statement_counts_nothing_twice_and_passes_nothing_over(rounds: Rounds, wire: str) -> None:
    assert rounds.to_the_end(wire, stride=STRIDE) > 35
    rounds.all_is_judged()


def test_a_look_whose_ledger_did_what_it_never_answered_counts_nothing_twice(rounds: Rounds) -> None:
    assert rounds.to_the_end("ledger", "COMMIT", stride=-(-STRIDE // 4), answered=False) > 10
    rounds.all_is_judged()
