"""`fencepost gaps` over a whole table: against copying both id lists out, its memory, and how its time grows."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.child import Used, fencepost, run
from bench.machine import load
from bench.stand import Stand
from bench.table import Row, seconds
from bench.world import Column, Kind, Shape, World
from tests.stack.postgres import Major

GAPS = 3  # the exit code that says so
#: Two start-ups may differ by more than a small table takes: no less is told.
NOISE_S = 0.001
#: What is subtracted: `fencepost runs` on the same settings, with everything imported that `gaps` imports.
START_UP = """
import sys
import fencepost
import consumer.catch_up, consumer.formats, consumer.locate, consumer.streams.kafka, reconciler.gaps
sys.exit(fencepost.run_command(["runs", "--config", sys.argv[1]]))
"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round, the parts one after the other: seconds and MiB."""

    start_up: Used
    gaps: Used
    copy_s: float

    @property
    def ours_s(self) -> float:
        return max(self.gaps.seconds - self.start_up.seconds, NOISE_S)

    @property
    def above_mib(self) -> float:
        return self.gaps.peak_mib - self.start_up.peak_mib


def rounds(world: World, count: int) -> list[Round]:
    """Interleaved, after one round that only warms caches."""
    return [_round(world) for _ in range(world.stand.warming + count)][world.stand.warming :]


def _round(world: World) -> Round:
    start_up = run([sys.executable, "-c", START_UP, world.config], world.folder)
    gaps = run(fencepost("gaps", "--config", world.config, "--json"), world.folder, codes=(GAPS,))
    _must_be_right(world, gaps)
    return Round(start_up=start_up, gaps=gaps, copy_s=copied(world))


def _must_be_right(world: World, used: Used) -> None:
    (told,) = json.loads(used.out)["data_types"]
    found = (told["rows"], told["gaps"]["count"], told["announced"], told["gaps"]["by_class"].get("dropped_create"))
    assert found == (world.rows, world.missing, world.rows - world.dropped, world.dropped), found


def copied(world: World) -> float:
    """Both id lists in binary by psql, less its start-up."""
    took = 0.0
    for dsn, query in ((world.source, "SELECT id FROM items"), (world.target, "SELECT item_id FROM item_registry")):
        copy = _psql(world, dsn, f"COPY ({query}) TO STDOUT (FORMAT binary)")
        took += copy - _psql(world, dsn, "SELECT 1")
    return max(took, NOISE_S)


def _psql(world: World, dsn: str, query: str) -> float:
    tool = world.stand.psql(world.major)
    words: list[str | Path] = ["sh", "-c", 'exec "$0" -X -q -d "$1" -c "$2" >/dev/null', tool, dsn, query]
    return run(words, world.folder).seconds


# -- rows of the table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size and shape, and what it is held to."""

    name: str
    rows: int
    missing: int
    kind: Kind = "int"
    shape: Shape = "dense"
    must: float
    aim: float


def cases(rows: int) -> tuple[Case, ...]:
    few = 100
    return (
        Case(name=f"gaps, {millions(rows)} rows, {few} gaps", rows=rows, missing=few, must=0.3, aim=0.2),
        Case(name=f"gaps, {millions(rows)} rows, 10 % missing", rows=rows, missing=rows // 10, must=0.6, aim=0.35),
        Case(name=f"gaps, {millions(rows)} uuid rows, {few} gaps", rows=rows, missing=few, kind="uuid", must=1.5, aim=1.1),
    )


def scattered(rows: int) -> tuple[Case, ...]:
    """Integers as they are where each shard or tenant has a range of its own, and where they are made at random."""
    return (
        Case(name=f"gaps, {millions(rows)} rows in islands, 100 gaps", rows=rows, missing=100, shape="islands", must=2, aim=1),
        Case(name=f"gaps, {millions(rows)} rows at random, 100 gaps", rows=rows, missing=100, shape="sparse", must=2, aim=1.1),
    )


def compared(stand: Stand, now_us: int, major: Major, case: Case, count: int, memory: list[Row]) -> Row:
    """The ratio of one case; what it took of memory is noted on the side."""
    dropped = min(60, case.missing)
    world = World(
        stand=stand, major=major, rows=case.rows, missing=case.missing, dropped=dropped, kind=case.kind,
        shape=case.shape, now_us=now_us,
    ).build()  # fmt: skip
    done = rounds(world, count)
    world.drop()
    memory.append(_memory(f"memory of {case.name}, PostgreSQL {major}", done))
    return Row(
        name=f"{case.name}, PostgreSQL {major}",
        ours=seconds(statistics.median(r.ours_s for r in done)),
        plain=f"COPY {seconds(statistics.median(r.copy_s for r in done))}",
        value=statistics.median(r.ours_s / r.copy_s for r in done),
        unit=" ×",
        must=case.must,
        aim=case.aim,
        load=load(),
        raw=_raw(done),
    )


def _memory(name: str, done: Sequence[Round]) -> Row:
    above = max(r.above_mib for r in done)
    peak = statistics.median(r.gaps.peak_mib for r in done)
    start = statistics.median(r.start_up.peak_mib for r in done)
    return Row(
        name=name, ours=f"{peak:.0f} MiB", plain=f"start-up {start:.0f} MiB", value=above, unit=" MiB",
        must=128, aim=64, load=load(), raw=_raw(done),
    )  # fmt: skip


def _raw(done: Sequence[Round]) -> dict[str, list[float]]:
    return {
        "gaps_s": [round(r.gaps.seconds, 3) for r in done],
        "gaps_cpu_s": [round(r.gaps.cpu_s, 3) for r in done],
        "start_up_s": [round(r.start_up.seconds, 3) for r in done],
        "copy_s": [round(r.copy_s, 3) for r in done],
        "peak_mib": [round(r.gaps.peak_mib, 1) for r in done],
        "start_up_mib": [round(r.start_up.peak_mib, 1) for r in done],
    }


# -- how time grows ---------------------------------------------------------------------------------------------------


def scaling(stand: Stand, now_us: int, sizes: Sequence[int], count: int, picture: Path) -> Row:
    """Rows against time on logarithmic axes. The slope is that of the larger sizes, where the start no longer shows."""
    found = list(_growth(stand, now_us, sizes, count))
    rows, ours, copies = (np.array(column) for column in zip(*found, strict=True))
    large = rows >= rows.max() / 40
    slope = float(np.polyfit(np.log10(rows[large]), np.log10(ours[large]), 1)[0]) if large.sum() > 1 else float("nan")
    _plot(picture, rows, ours, copies, slope)
    return Row(
        name=f"growth of gaps, {millions(int(rows[large].min()))} to {millions(int(rows.max()))} rows",
        ours=f"slope {slope:.2f}",
        plain=f"COPY slope {np.polyfit(np.log10(rows[large]), np.log10(copies[large]), 1)[0]:.2f}" if large.sum() > 1 else "",
        value=slope,
        must=1.1,
        aim=1.05,
        load=load(),
        raw={"rows": rows.tolist(), "gaps_s": ours.round(3).tolist(), "copy_s": copies.round(3).tolist()},
    )


def _growth(stand: Stand, now_us: int, sizes: Sequence[int], count: int) -> Iterator[tuple[int, float, float]]:
    for size in sizes:
        world = World(stand=stand, major=18, rows=size, missing=100, dropped=60, now_us=now_us).build()
        done = rounds(world, count)
        world.drop()
        yield size, statistics.median(r.ours_s for r in done), statistics.median(r.copy_s for r in done)


def _plot(picture: Path, rows: Column, ours: Column, copies: Column, slope: float) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    axes.loglog(rows, copies, "s--", color="0.6", label="COPY of both id lists")
    axes.loglog(rows, ours, "o-", color="tab:blue", label=f"fencepost gaps less its start-up (slope {slope:.2f})")
    guide = ours[-1] * rows / rows[-1]
    axes.loglog(rows, guide, ":", color="tab:blue", alpha=0.5, label="linear")
    axes.set_xlabel("rows of the source, and of the registry")
    axes.set_ylabel("seconds")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def millions(rows: int) -> str:
    return f"{rows / 1e6:g} M" if rows >= 1_000_000 else f"{rows / 1e3:g} k"
