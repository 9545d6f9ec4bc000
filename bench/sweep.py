"""`fencepost sweep` with its brakes open, and `gaps --since auto` after it, against copying both id lists."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench.child import Used, fencepost, run
from bench.gaps import GAPS, NOISE_S, START_UP, copied, millions
from bench.machine import load
from bench.stand import Stand
from bench.table import Row, seconds
from bench.world import World


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round, the parts one after the other."""

    start_up: Used
    sweep: Used
    auto: Used
    copy_s: float

    def ours_s(self, used: Used) -> float:
        return max(used.seconds - self.start_up.seconds, NOISE_S)


def rows(stand: Stand, now_us: int, count: int, rounds: int) -> Iterator[Row]:
    """Of a table of `count` rows. The first round warms caches, and is the first pass ever: no guess but the log."""
    world = World(stand=stand, major=18, rows=count, missing=100, dropped=60, now_us=now_us).build()
    first = _round(world)
    done = [_round(world) for _ in range(rounds)]
    world.drop()
    name = f"{millions(count)} rows, 100 gaps, PostgreSQL 18"
    yield _row(f"sweep, both ways, {name}", [(r.ours_s(r.sweep), r.copy_s) for r in done], must=0.6, aim=0.4)
    yield _row(f"first sweep ever, both ways, {name}", [(first.ours_s(first.sweep), first.copy_s)], must=0.9, aim=0.6)
    yield _row(f"gaps --since auto, {name}", [(r.ours_s(r.auto), r.copy_s) for r in done], must=0.45, aim=0.3)
    above = max(r.sweep.peak_mib - r.start_up.peak_mib for r in done)
    yield Row(
        name=f"memory of a sweep, {name}",
        ours=f"{statistics.median(r.sweep.peak_mib for r in done):.0f} MiB",
        plain=f"start-up {statistics.median(r.start_up.peak_mib for r in done):.0f} MiB",
        value=above, unit=" MiB", must=128, aim=64, load=load(), raw={"sweep_s": [round(r.sweep.seconds, 3) for r in done]},
    )  # fmt: skip


def _row(name: str, found: list[tuple[float, float]], *, must: float, aim: float) -> Row:
    ours, copies = ([pair[at] for pair in found] for at in (0, 1))
    return Row(
        name=name,
        ours=seconds(statistics.median(ours)),
        plain=f"COPY {seconds(statistics.median(copies))}",
        value=statistics.median(took / copy for took, copy in found),
        unit=" ×",
        must=must,
        aim=aim,
        load=load(),
        raw={"ours_s": [round(s, 3) for s in ours], "copy_s": [round(s, 3) for s in copies]},
    )


def _round(world: World) -> Round:
    start_up = run([sys.executable, "-c", START_UP, world.config], world.folder)
    sweep = run(fencepost("sweep", "--config", world.config, "--json"), world.folder, codes=(GAPS,))
    auto = run(fencepost("gaps", "--since", "auto", "--config", world.config, "--json"), world.folder, codes=(GAPS,))
    for used in (sweep, auto):
        (told,) = json.loads(used.out)["data_types"]
        assert (told["rows"], told["gaps"]["count"]) == (world.rows, world.missing), told
    return Round(start_up=start_up, sweep=sweep, auto=auto, copy_s=copied(world))
