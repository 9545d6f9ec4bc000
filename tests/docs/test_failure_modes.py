"""Every way to fail of tiers 1 to 3 has a test, or a line in the blind spots that says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.failure_modes import HELD_BY, NAMES
from tests.faults.contract import kinds

ROOT = Path(__file__).parents[2]
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
PAGE = (ROOT / "docs" / "blind-spots.md").read_text()
#: Beyond tier 3: what harms, what an operator waits for, and what strangers may send.
OTHERS = ["82", "84", "86", "87", "88", *(f"S{n}" for n in (1, 2, 3, 5, 6, 7, 8, 10, 12, 15, 20, 21, 22, 23, 27))]


def named(text: str) -> set[str]:
    """`failure mode 62`, `failure modes 1, 2, 60`, `failure modes 17 and 30`."""
    lists = re.findall(r"failure modes? (S?\d+(?:(?:, | and )S?\d+)*)", text, re.I)
    return {number for found in lists for number in re.findall(r"S?\d+", found)}


STAGED = {str(mode) for fault in kinds() for mode in fault.modes}
HELD = {str(mode) for mode in HELD_BY}


@pytest.mark.parametrize("mode", [*map(str, NAMES), *OTHERS])
def test_a_failure_mode_is_named_by_a_test_or_told_as_a_blind_spot(mode: str) -> None:
    assert mode in named(TESTS) | STAGED | HELD | named(PAGE), NAMES.get(int(mode)) if mode.isdigit() else mode


def test_what_is_said_to_be_staged_by_nobody_is_staged_by_nobody() -> None:
    """Up to tier 3: exactly those that no test names and no fault stages."""
    section = PAGE.partition("## Not staged")[2].partition("\n## ")[0]
    told = {mode for mode in named(section) if mode.isdigit() and int(mode) in NAMES}
    assert told == {str(mode) for mode in NAMES} - named(TESTS) - STAGED - HELD


def test_the_list_has_no_hole_and_no_fault_stages_what_is_not_on_it() -> None:
    assert list(NAMES) == list(range(1, 69))
    assert {int(mode) for mode in STAGED} <= {*NAMES, 85, 87}


@pytest.mark.parametrize("test", [test for tests in HELD_BY.values() for test in tests])
def test_a_test_that_is_said_to_hold_one_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.M)
