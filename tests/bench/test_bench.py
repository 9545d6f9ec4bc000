"""Every benchmark runs to its end and prints its row, at a size that says nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import NAMES, PICTURE

ROOT = Path(__file__).parent.parent.parent
#: The first words of the rows of each.
ROWS = {
    "startup": ["start-up"],
    "track": ["track avro", "stored", "track debezium-avro", "track json", "track debezium-json"],
    "gaps": ["gaps, 20 k rows, 100 gaps", "gaps, 20 k rows, 10 % missing", "gaps, 20 k uuid rows", "memory"],
    "scaling": ["growth"],
    "backfill": ["backfill"],
    "proofs": ["cutover"],
    "sweep": ["sweep, both ways, 20 k rows", "first sweep ever", "gaps --since auto", "memory of a sweep"],
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kafka", "postgres")  # only to be skipped, or to fail, where parts are missing
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_to_its_end_and_prints_its_rows(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", "--only", name, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    for words in ROWS[name]:
        assert any(line.startswith(words) for line in lines), (words, done.stdout)
    told = json.loads((tmp_path / "results.json").read_text())
    assert {row["verdict"] for row in told["rows"]} == {"told"}
    assert (tmp_path / "results.md").exists()
    assert (tmp_path / PICTURE).exists() is (name == "scaling")
