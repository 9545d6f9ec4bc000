"""Every failure of the tier "harm" has a test that names it, or a line in the blind spots that says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODES = [*map(str, range(60, 69)), "82", "S8", "S10", "S12", "S15", "S20", "S21", "S22", "S23"]
TOLD = "\n".join(path.read_text() for path in [*(ROOT / "tests").rglob("test_*.py"), ROOT / "docs" / "blind-spots.md"])


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_mode_is_named_by_a_test_or_told_as_a_blind_spot(mode: str) -> None:
    assert re.search(rf"[Ff]ailure mode {mode}\b", TOLD)
