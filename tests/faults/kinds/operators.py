"""The command itself is killed or paused in the middle: the next run finishes, nothing is doubled, a zombie is refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from tests.faults.beside import Aside, Child
from tests.faults.contract import CLEAR, Fault, Inject
from tests.faults.phases import Phase
from tests.faults.tap import Cut
from tests.faults.world import World


def killed_at(phase: Phase) -> Inject:
    """`kill -9` of one cutover right before a statement; the run that is judged is the next one."""

    def inject(world: World) -> Iterator[None]:
        world.lost(count=4)
        world.baseline = world.registered()
        children: list[Child] = []

        def kill() -> None:
            children[0].process.kill()
            raise Cut

        world.at(phase, kill)
        with world.process("cutover") as child:
            children.append(child)
            assert child.ended().code == -signal.SIGKILL, child.err.read_text()
        assert not world.forget(), f"nobody was killed at {phase.name}"
        world.kills += 1
        world.lease_over()
        yield

    return inject


def killed_under_load(world: World) -> Iterator[None]:
    """Cutovers are killed one after the other at random moments, while rows come, go and come back."""
    world.baseline = world.registered()
    for phase in world.rng.choices([Phase.FENCE, Phase.LOG, Phase.SLICES, Phase.COMPARE, Phase.INSERT, Phase.AGAIN], k=6):
        world.live(15)
        world.lost(count=2)
        children: list[Child] = []

        def kill(children: list[Child] = children) -> None:
            children[0].process.kill()
            raise Cut

        load = Aside(lambda: world.live(10))
        world.at(phase, kill)
        with world.process("cutover") as child:
            children.append(child)
            child.ended()
        load.join()
        world.kills += len(world.forget()) == 0
        world.lease_over()
    world.removed = {name: keys - world.registered()[name] for name, keys in world.baseline.items()}
    yield


def paused_winner(world: World) -> Iterator[None]:
    """SIGSTOP before its first insert, until its lease is another's and the work is done; then SIGCONT."""
    world.lost(count=4)
    world.baseline = world.registered()
    children: list[Child] = []

    def pause() -> None:
        os.kill(children[0].process.pid, signal.SIGSTOP)
        world.lease_over()
        with world.process("cutover", "--max-backfill", "1000000") as other:
            done = other.ended()
            assert done.code == 0, done
        os.kill(children[0].process.pid, signal.SIGCONT)

    world.at(Phase.INSERT, pause)
    with world.process("cutover") as child:
        children.append(child)
        done = child.ended()
        assert done.code == 1, done
        assert "lease" in done.err or "another" in done.err, done
    world.forget()
    yield


FAULTS = {
    **{
        f"killed: {phase.name.lower()}": Fault(
            about=f"`kill -9` of a cutover {words}; judged is the next run",
            modes=(64,),
            inject=killed_at(phase),
            right=CLEAR,
            slow=phase in (Phase.LOG, Phase.AGAIN),
        )
        for phase, words in {
            Phase.LOG: "while events are stored",
            Phase.INSERT: "at the first insert",
            Phase.AGAIN: "before the second compare",
            Phase.VERDICT: "when the verdict is to be stored",
        }.items()
    },
    "killed again and again under load": Fault(
        about="six cutovers in a row are killed, beside writers; judged is the seventh",
        modes=(26, 60, 64),
        inject=killed_under_load,
        right=CLEAR,
        slow=True,
    ),
    "winner paused": Fault(
        about="SIGSTOP of the run that holds the lease, another one finishes, SIGCONT",
        modes=(65, 66),
        inject=paused_winner,
        right=CLEAR,
    ),
}
