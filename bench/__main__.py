"""Measure, print one table, and write `bench/results.md` and `bench/results.json`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import audit, backfill, gaps, proofs, startup, sweep, track
from bench.machine import machine
from bench.stand import Stand, majors
from bench.table import Row, as_text, write

HERE = Path(__file__).parent
PICTURE = "scaling.png"
NAMES = ("startup", "track", "gaps", "scaling", "backfill", "proofs", "sweep", "audit")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    name: str
    events: int
    gaps: tuple[int, ...]  #: rows; the last is the one that all cases and versions are measured at
    scaling: tuple[int, ...]
    backfill: int
    repeats: int
    audit_s: float = 60.0  #: how long an audit is watched
    judged: bool = True  #: whether the bounds mean anything at this size


@dataclass(frozen=True, kw_only=True)
class Run:
    stand: Stand
    size: Size
    repeats: int
    out: Path


TINY = Size(name="tiny", events=20_000, gaps=(20_000,), scaling=(10_000, 30_000), backfill=5_000, repeats=1, audit_s=5.0,
    judged=False,
)  # fmt: skip
QUICK = Size(name="quick", events=200_000, gaps=(1_000_000,), scaling=(10_000, 100_000, 1_000_000), backfill=100_000, repeats=3)
USUAL = Size(
    name="default", events=2_000_000, gaps=(1_000_000, 10_000_000),
    scaling=(10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000), backfill=1_000_000, repeats=5,
)  # fmt: skip
FULL = Size(
    name="full", events=2_000_000, gaps=(1_000_000, 30_000_000, 10_000_000),
    scaling=(10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000), backfill=1_000_000, repeats=5,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tiny", action="store_const", dest="size", const=TINY, help="only shows that everything runs")
    size.add_argument("--quick", action="store_const", dest="size", const=QUICK, help="minutes; small sizes flatter nobody")
    size.add_argument("--full", action="store_const", dest="size", const=FULL, help="up to 30 M rows")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--repeats", type=int, help="rounds of each measurement")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.md, results.json and the picture")
    asked = parser.parse_args(arguments)
    chosen: Size = asked.size or USUAL
    repeats: int = asked.repeats or chosen.repeats
    rows: list[Row] = []
    described = machine()
    pictures = [PICTURE] if "scaling" in asked.only else []
    with Stand(warming=1 if chosen.judged else 0) as stand:
        run = Run(stand=stand, size=chosen, repeats=repeats, out=asked.out)
        for row in (row for name in NAMES if name in asked.only for row in _MEASURE[name](run)):
            rows.append(row if chosen.judged else replace(row, must=None, aim=None))
            print("\t".join(rows[-1].cells()), file=sys.stderr, flush=True)
            # After each row: what was measured in an hour is not lost when the last one fails.
            write(asked.out, rows, described, size=chosen.name, pictures=pictures)
    print(as_text(rows))
    return 0


def _startup(run: Run) -> Iterator[Row]:
    yield startup.row(run.stand, 4 * run.repeats if run.size.judged else 1)


def _track(run: Run) -> Iterator[Row]:
    yield from track.rows(run.stand, run.size.events, run.repeats)


def _gaps(run: Run) -> Iterator[Row]:
    memory: list[Row] = []
    for rows in run.size.gaps[:-1]:  # for what they take of memory
        gaps.compared(run.stand, _now_us(), 18, gaps.cases(rows)[0], 1, memory)
    for major in majors((18, 15)):
        every = gaps.cases(run.size.gaps[-1])
        for case in every if major == 18 else every[:1]:
            yield gaps.compared(run.stand, _now_us(), major, case, run.repeats, memory)
    for case in gaps.scattered(run.size.gaps[0]):
        yield gaps.compared(run.stand, _now_us(), 18, case, run.repeats, memory)
    yield from memory


def _scaling(run: Run) -> Iterator[Row]:
    yield gaps.scaling(run.stand, _now_us(), run.size.scaling, min(run.repeats, 3), run.out / PICTURE)


def _backfill(run: Run) -> Iterator[Row]:
    yield backfill.row(run.stand, run.size.backfill, min(run.repeats, 3))


def _proofs(run: Run) -> Iterator[Row]:
    yield proofs.row(run.stand, _now_us(), run.size.scaling[0], run.repeats)


def _sweep(run: Run) -> Iterator[Row]:
    yield from sweep.rows(run.stand, _now_us(), run.size.gaps[-1], run.repeats)


def _audit(run: Run) -> Iterator[Row]:
    yield from audit.rows(run.stand, 20_000, run.size.audit_s, min(1_000_000, run.size.gaps[-1]))


def _now_us() -> int:
    return int(time.time() * 1_000_000)


_MEASURE: dict[str, Callable[[Run], Iterator[Row]]] = {
    "startup": _startup,
    "track": _track,
    "gaps": _gaps,
    "scaling": _scaling,
    "backfill": _backfill,
    "proofs": _proofs,
    "sweep": _sweep,
    "audit": _audit,
}

if __name__ == "__main__":
    sys.exit(main())
