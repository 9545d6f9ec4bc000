"""A fault is found by its name: its file is called after it, and holds nothing else's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.contract import KINDS, faults_of, files, kinds

#: A page of a screen: whoever opens it sees all of it.
LINES = 60


def test_no_two_faults_have_one_name() -> None:
    names = [fault.name for fault in kinds()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(KINDS)))
def test_a_file_is_small_and_called_after_its_fault(path: Path) -> None:
    names = [fault.name for fault in faults_of(path)]
    assert names
    for name in names:
        assert re.sub(r"[^a-z0-9]+", "_", name.lower()).startswith(path.stem)
    assert len(names) > 1 or re.sub(r"[^a-z0-9]+", "_", names[0].lower()).strip("_") == path.stem
    assert len(path.read_text().splitlines()) <= LINES


def test_what_is_no_fault_is_a_helper_of_its_folder() -> None:
    assert all(path.parent.parent == KINDS for path in KINDS.rglob("*.py"))
