"""Every order in which the steps of several actors can fall, in small: a scheduler that forgets no order and repeats none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

S = TypeVar("S")
Step = Callable[[S], S | None]
"""What it makes of the state; None: it may not run now."""


def ends(start: S, actors: Sequence[Sequence[Step[S]]], *, may_stop: Collection[int] = ()) -> Iterator[S]:
    """The states at the end of every interleaving. States must be hashable. Who `may_stop` may do so for ever, anywhere."""
    seen: set[tuple[S, tuple[int, ...]]] = set()
    stack = [(start, (0,) * len(actors))]
    while stack:
        state, at = stack.pop()
        if (state, at) in seen:
            continue
        seen.add((state, at))
        if all(done == len(steps) for n, (done, steps) in enumerate(zip(at, actors, strict=True)) if n not in may_stop):
            yield state
        for n, steps in enumerate(actors):
            if at[n] < len(steps) and (after := steps[at[n]](state)) is not None:
                stack.append((after, (*at[:n], at[n] + 1, *at[n + 1 :])))
