"""`python -m tests.faults`: every fault by several seeds, or for so many minutes; counts go into results.json.

`make faults` runs each once a seed and writes the file; `make soak` goes on for SOAK_MINUTES and prints only.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.contract import Fault, Said, kinds
from tests.faults.harness import Finding
from tests.faults.results import RESULTS, count, load, table
from tests.faults.worlds import Servers, Worlds
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, help="go on for so long, in random order, from the first seed")
    parser.add_argument("--only", nargs="+", help="faults whose names hold one of these; what the file says of others is kept")
    parser.add_argument("--write", action="store_true", help="write results.json")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else servers stay behind
    chosen = [fault for fault in kinds() if not asked.only or any(words in fault.name for words in asked.only)]
    results: dict[str, Any] = load() if asked.only and RESULTS.exists() else {"faults": {}}
    for fault in chosen:
        results["faults"].pop(fault.name, None)
    folder = Path(tempfile.mkdtemp(prefix="fencepost-faults-"))
    folder.chmod(0o711)
    bad = 0
    try:
        with Postgres(folder / "postgres") as postgres, Kafka(folder / "kafka") as kafka:
            servers = Servers(postgres, kafka, folder)
            worlds = Worlds(folder / "worlds", servers)
            try:
                runs = _endless(chosen, asked.seeds[0], asked.minutes) if asked.minutes else _each(chosen, asked.seeds)
                for fault, seed in runs:
                    kills = worlds.kills
                    finding = _tried(worlds, fault, seed)
                    count(results, fault, finding, seed, worlds.kills - kills)
                    if asked.write:
                        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
                    bad += bool(finding.problems)
                    print(f"{seed:6d}  {fault.name}: {finding.said}", *finding.problems, sep="\n        ", flush=True)
            finally:
                worlds.close()
                servers.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(results))
    return 1 if bad else 0


def _each(faults: list[Fault], seeds: list[int]) -> Iterator[tuple[Fault, int]]:
    return ((fault, seed) for seed in seeds for fault in faults)


def _endless(faults: list[Fault], seed: int, minutes: float) -> Iterator[tuple[Fault, int]]:
    rng, until = random.Random(seed), time.monotonic() + minutes * 60
    while time.monotonic() < until:
        yield rng.choice(faults), rng.randrange(1 << 20)


def _tried(worlds: Worlds, fault: Fault, seed: int) -> Finding:
    try:
        return worlds.try_out(fault, seed)
    except Exception as error:  # noqa: BLE001 - counted as what it is: something that was claimed and does not hold
        return Finding(fault.name, Said.NOTHING, others=[f"{type(error).__name__}: {error}"])


if __name__ == "__main__":
    sys.exit(main())
