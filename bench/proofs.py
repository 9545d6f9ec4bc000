"""What a cutover pays for its proofs on a quiet system: the whole command, less its start-up.

Nobody writes, nothing is missing, `settle` is nil and the table is small, so that what is left of a cutover is the fence,
the event log's end, the snapshots and the proofs; the two compares are in the figure too. Beside it `fencepost gaps` on the
same tables, which makes one compare and fewer proofs.
"""

from __future__ import annotations

import json
import statistics
import sys

from bench.child import fencepost, run
from bench.gaps import NOISE_S, START_UP, millions
from bench.machine import load
from bench.stand import Stand
from bench.table import Row, seconds
from bench.world import World

#: What the issue of a verdict one can stake a cutover on allows.
MUST_S = 1.0


def row(stand: Stand, now_us: int, rows: int, repeats: int) -> Row:
    """A small table, so that both compares together take less than the start-up's noise."""
    world = World(stand=stand, major=18, rows=rows, missing=0, dropped=0, now_us=now_us).build()
    rounds = [_round(world) for _ in range(stand.warming + repeats)][stand.warming :]
    world.drop()
    cutovers, gaps, start_ups = (list(column) for column in zip(*rounds, strict=True))
    ours = [max(cutover - start, NOISE_S) for cutover, start in zip(cutovers, start_ups, strict=True)]
    beside = [max(gap - start, NOISE_S) for gap, start in zip(gaps, start_ups, strict=True)]
    return Row(
        name=f"cutover of {millions(rows)} rows on a quiet system: every proof, two compares",
        ours=seconds(statistics.median(ours)),
        plain=f"gaps {seconds(statistics.median(beside))}",
        value=statistics.median(ours),
        unit=" s",
        must=MUST_S,
        load=load(),
        raw={"cutover_s": cutovers, "gaps_s": gaps, "start_up_s": start_ups},
    )


def _round(world: World) -> tuple[float, float, float]:
    start_up = run([sys.executable, "-c", START_UP, world.config], world.folder)
    gaps = run(fencepost("gaps", "--config", world.config, "--json"), world.folder)
    cutover = run(fencepost("cutover", "--config", world.config, "--json"), world.folder)
    told = json.loads(cutover.out)
    unheld = [proof["name"] for proof in told["proofs"] if proof["held"] is not True]
    assert told["verdict"] == "CLEAR", told["verdict"]
    assert not unheld, unheld
    return cutover.seconds, gaps.seconds, start_up.seconds
