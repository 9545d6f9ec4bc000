"""Every benchmark runs to its end and prints its row, at a size that says nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.__main__ import NAMES, PICTURE

ROOT = Path(__file__).parent.parent.parent
#: The first words of the rows of each.
ROWS = {
    "startup": ["start-up"],
    "track": [
        "track avro,",
        "stored",
        "track debezium-avro,",
        "track json,",
        "track debezium-json,",
        *(f"track {name} with 1 % bad" for name in ("avro", "debezium-avro", "json", "debezium-json")),
    ],
    "gaps": [
        "gaps, 20 k rows, 100 gaps",
        "gaps, 20 k rows, 10 % missing",
        "gaps, 20 k uuid rows",
        "gaps, 20 k rows in islands",
        "gaps, 20 k rows at random",
        "memory",
    ],
    "scaling": ["growth"],
    "backfill": ["backfill"],
    "proofs": ["cutover"],
    "sweep": ["sweep, both ways, 20 k rows", "first sweep ever", "gaps --since auto", "memory of a sweep"],
    "audit": ["audit, 20 k events/s", "memory, audit", "index entries read"],
}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("kafka", "postgres"),  # only to be skipped, or to fail, where parts are missing
]


@dataclass(frozen=True)
class Ran:
    lines: list[str]
    out: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All of them in one go: starting the servers for each by itself would take longer than the benchmarks."""
    out = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Ran(done.stdout.splitlines(), out)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_to_its_end_and_prints_its_rows(name: str, ran: Ran) -> None:
    for words in ROWS[name]:
        assert any(line.startswith(words) for line in ran.lines), (words, ran.lines)


def test_the_rows_are_written_without_a_verdict_where_the_size_says_nothing(ran: Ran) -> None:
    told = json.loads((ran.out / "results.json").read_text())
    assert {row["verdict"] for row in told["rows"]} == {"told"}
    assert (ran.out / "results.md").exists()
    assert (ran.out / PICTURE).exists()


def test_one_alone_draws_no_picture_of_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--tiny", "--only", "startup", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {row["name"].split()[0] for row in json.loads((tmp_path / "results.json").read_text())["rows"]} == {"start-up"}
    assert not (tmp_path / PICTURE).exists()
