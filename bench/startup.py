"""How long the command takes to say what it can do."""

from __future__ import annotations

import statistics
import sys

from bench.child import fencepost, run
from bench.machine import load
from bench.stand import Stand
from bench.table import Row, seconds


def row(stand: Stand, repeats: int) -> Row:
    """`fencepost --help`, interleaved with an interpreter that does nothing."""
    folder = stand.room("startup")
    ours, plain = [], []
    for number in range(stand.warming + repeats):
        helped = run(fencepost("--help"), folder).seconds
        idle = run([sys.executable, "-c", ""], folder).seconds
        if number >= stand.warming:  # the first one may still have bytecode to write
            ours.append(helped)
            plain.append(idle)
    return Row(
        name="start-up of fencepost --help",
        ours=seconds(statistics.median(ours)),
        plain=f"python -c '' {seconds(statistics.median(plain))}",
        value=statistics.median(ours),
        unit=" s",
        must=0.4,
        aim=0.2,
        load=load(),
        raw={"help_s": ours, "python_s": plain},
    )
