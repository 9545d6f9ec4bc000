"""Two captains, an undo, and the application beside them, over one key: every order of their steps, in small; no server.

The first captain may die or be paused at any step for ever, or wake at any other: the lease is then another's. The source
row may be deleted and its id used again; the applier follows when it likes, or never. Each rule of the backfill that is
left out must break a promise, so that the model is known to be able to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from tests.faults import interleavings


@dataclass(frozen=True)
class Row:
    """A registry row."""

    by: str  #: whose insert it was: a captain, or the application's
    touched: bool = False


@dataclass(frozen=True)
class Captain:
    epoch: int = 0  #: of the lease it took; 0: none yet
    there: bool = False  #: the source's answer before the insert
    gone: bool = False  #: and after it
    journal: str = ""  #: inserted: to be held against the source; reread: it was; undone
    looked: bool = False  #: whether its row was held against the source since it was inserted
    went_later: bool = False  #: the source row was deleted after the last such look


@dataclass(frozen=True)
class State:
    source: bool = True
    registry: Row | None = None
    epoch: int = 0
    first: Captain = Captain()
    second: Captain = Captain()
    deleted: bool = False  #: the source row was, at some time
    robbed: bool = False  #: a row was taken that was not the taker's, or that somebody had changed
    undone: bool = False

    def of(self, name: str) -> Captain:
        return self.first if name == "first" else self.second

    def but(self, name: str, **changes: object) -> State:
        captain = replace(self.of(name), **changes)  # type: ignore[arg-type]
        return replace(self, first=captain) if name == "first" else replace(self, second=captain)


Step = interleavings.Step[State]
BOTH = ("first", "second")


@dataclass(frozen=True)
class Rules:
    """What the product does; a test takes one away."""

    epoch: bool = True  #: a write checks the lease's epoch in the same statement
    look_again: bool = True  #: what was inserted is held against the source once more
    finish: bool = True  #: what another left unfinished is finished first
    together: bool = True  #: rows and journal are committed in one transaction
    untouched: bool = True  #: only rows are taken back that are as their inserter left them


# -- captains ---------------------------------------------------------------------------------------------------------


def acquire(name: str) -> Step:
    return lambda s: replace(s, epoch=s.epoch + 1).but(name, epoch=s.epoch + 1)


def refused(s: State, name: str, rules: Rules) -> bool:
    return rules.epoch and s.of(name).epoch != s.epoch


def ask(name: str) -> Step:
    return lambda s: s.but(name, there=s.source and s.registry is None)


def insert(name: str, rules: Rules) -> Step:
    def step(s: State) -> State:
        if refused(s, name, rules) or not s.of(name).there or s.registry is not None:
            return s
        s = replace(s, registry=Row(name)).but(name, looked=False, went_later=False)
        return s.but(name, journal="inserted") if rules.together else s

    return step


def write_journal(name: str) -> Step:
    """Only where rows and journal are not committed together."""
    return lambda s: s.but(name, journal="inserted") if s.registry == Row(name) and not s.of(name).journal else s


def look_again(name: str) -> Step:
    return lambda s: looked(s, name) if s.of(name).journal == "inserted" else s


def looked(s: State, name: str) -> State:
    return s.but(name, looked=True, went_later=False, gone=not s.source)


def take_back(name: str, rules: Rules, of: str) -> Step:
    """After a look: the row goes where the source's went, and the journal says that it was looked at."""

    def step(s: State) -> State:
        if s.of(of).journal != "inserted" or not s.of(of).looked or refused(s, name, rules):
            return s
        s = taken(s, of, rules) if s.of(of).gone else s
        return s.but(of, journal="reread")

    return step


def taken(s: State, of: str, rules: Rules) -> State:
    if s.registry is None or (rules.untouched and s.registry != Row(of)):
        return s
    return replace(s, registry=None, robbed=s.robbed or s.registry != Row(of))


def captain(name: str, rules: Rules) -> list[Step]:
    steps: list[Step] = []
    if name == "second":
        steps.append(acquire(name))
        if rules.finish:
            steps += [look_again("first"), take_back(name, rules, "first")]
    steps += [ask(name), insert(name, rules)]
    if not rules.together:
        steps.append(write_journal(name))
    if rules.look_again:
        steps += [look_again(name), take_back(name, rules, name)]
    return steps


def undo(rules: Rules) -> list[Step]:
    """Of the first captain's run."""

    def step(s: State) -> State:
        s = replace(s, epoch=s.epoch + 1, undone=True)
        return taken(s, "first", rules).but("first", journal="undone") if s.first.journal in ("inserted", "reread") else s

    return [step]


# -- the application --------------------------------------------------------------------------------------------------


def delete(s: State) -> State:
    for name in BOTH:
        s = s.but(name, went_later=s.of(name).looked)
    return replace(s, source=False, deleted=True)


def use_again(s: State) -> State:
    return replace(s, source=True)


def apply_deletion(s: State) -> State | None:
    return replace(s, registry=None) if s.deleted else None


def apply_creation(s: State) -> State:
    """Whoever's row stands there: from now on it is changed."""
    return replace(s, registry=Row("app") if s.registry is None else replace(s.registry, touched=True))


APPLICATIONS: dict[str, list[list[Step]]] = {
    "nothing": [],
    "a deletion": [[delete]],
    "a deletion that is applied": [[delete], [apply_deletion]],
    "a creation that is applied": [[apply_creation]],
    "an id used again": [[delete, use_again], [apply_deletion, apply_creation]],
    "an id used again and deleted again": [[delete, use_again, delete], [apply_creation]],
}


def ends(rules: Rules, application: list[list[Step]], *, undoing: bool) -> Iterator[State]:
    """The second captain comes to its end, and so does the undo; all others may stop anywhere."""
    actors = [captain("second", rules), *([undo(rules)] if undoing else []), captain("first", rules), *application]
    start = State(epoch=1, first=Captain(epoch=1))
    return interleavings.ends(start, actors, may_stop=range(1 + undoing, len(actors)))


# -- promises ---------------------------------------------------------------------------------------------------------


def ghost(s: State) -> bool:
    """A row of ours, as we left it, whose source row was gone when it was looked at for the last time."""
    row = s.registry
    if row is None or row.by == "app" or row.touched or s.source:
        return False
    # An undo took the lease: the next run finishes what it interrupted.
    return not s.of(row.by).went_later and not (s.undone and s.of(row.by).journal == "inserted")


def left_behind(s: State) -> bool:
    """An undo of the first run has ended, and an untouched row of that run stands."""
    return s.undone and s.registry == Row("first")


def lost(s: State) -> bool:
    """The row was there all the time, nobody undid anything, and it is not registered."""
    return not s.deleted and not s.undone and s.registry is None


PROMISES: dict[str, Callable[[State], bool]] = {
    "no ghost": ghost,
    "an undo leaves nothing": left_behind,
    "nobody's row is taken but ours": lambda s: s.robbed,
    "what is there is registered": lost,
}


@pytest.mark.parametrize("undoing", [False, True], ids=["no undo", "an undo"])
@pytest.mark.parametrize("application", APPLICATIONS.values(), ids=APPLICATIONS)
def test_no_order_of_two_captains_an_undo_and_the_application_breaks_a_promise(
    application: list[list[Step]], undoing: bool
) -> None:
    """Failure modes 60, 64, 65 and 66."""
    count = 0
    for end in ends(Rules(), application, undoing=undoing):
        count += 1
        for promise, broken in PROMISES.items():
            assert not broken(end), (promise, end)
    assert count > 5


@pytest.mark.parametrize(
    ("rules", "promise"),
    [
        (Rules(epoch=False), "no ghost"),
        (Rules(epoch=False), "an undo leaves nothing"),
        (Rules(look_again=False), "no ghost"),
        (Rules(finish=False), "no ghost"),
        (Rules(together=False), "no ghost"),
        (Rules(together=False), "an undo leaves nothing"),
        (Rules(untouched=False), "nobody's row is taken but ours"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_backfill_without_one_of_its_rules_breaks_a_promise(rules: Rules, promise: str) -> None:
    worlds = [(application, undoing) for application in APPLICATIONS.values() for undoing in (False, True)]
    assert any(PROMISES[promise](end) for application, undoing in worlds for end in ends(rules, application, undoing=undoing))
