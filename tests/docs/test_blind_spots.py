"""The page of blind spots says what the fault suite counted, and what it counted are the faults there are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.faults.contract import kinds
from tests.faults.results import load

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_was_counted() -> None:
    spec = importlib.util.spec_from_file_location("make_blind_spots", ROOT / "docs" / "make_blind_spots.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.page() == (ROOT / "docs" / "blind-spots.md").read_text(encoding="utf-8"), (
        "run: python docs/make_blind_spots.py"
    )


def test_every_fault_was_counted_and_none_was_missed() -> None:
    counted = load()["faults"]
    assert {name: told["about"] for name, told in counted.items()} == {fault.name: fault.about for fault in kinds()}
    for name, told in counted.items():
        assert told["injected"] == len(told["seeds"]) > 0, name
        assert told["missed"] == told["wrong_writes"] == told["false_alarms"] == 0, name
        assert told["right"] + told["cannot_tell"] + told["no_verdict"] == told["injected"], name
