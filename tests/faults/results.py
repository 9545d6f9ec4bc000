"""What the fault suite found, counted: the file `results.json`, from which docs/blind-spots.md is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.contract import Fault, Said
from tests.faults.harness import Finding

RESULTS = Path(__file__).parent / "results.json"
COUNTED = {"injected": 0, "right": 0, "cannot_tell": 0, "no_verdict": 0, "missed": 0, "false_alarms": 0, "wrong_writes": 0}
BEGIN, END = "<!-- made by docs/make_blind_spots.py: begin -->", "<!-- made by docs/make_blind_spots.py: end -->"


def count(results: dict[str, Any], fault: Fault, finding: Finding, seed: int, kills: int) -> None:
    """Add one run. `right` are right verdicts of CLEAR or GAPS; who withholds one claims nothing."""
    told = results["faults"].setdefault(fault.name, {"about": fault.about, "seeds": [], "kills": 0, **COUNTED})
    told["seeds"].append(seed)
    told["kills"] += kills
    told["injected"] += 1
    told["missed"] += bool(finding.missed)
    told["false_alarms"] += bool(finding.alarms)
    told["wrong_writes"] += bool(finding.writes)
    if not finding.problems:
        where = {Said.CANNOT_TELL: "cannot_tell", Said.NOTHING: "no_verdict"}.get(finding.said, "right")
        told[where] += 1


def load() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text())
    return found


def table(results: dict[str, Any]) -> str:
    """The table of the page, with a sentence before it."""
    faults = results["faults"]
    sums = {name: sum(told[name] for told in faults.values()) for name in (*COUNTED, "kills")}
    lead = (
        f"{sums['injected']} faults of {len(faults)} kinds were injected into random worlds on real PostgreSQL and Kafka"
        f", and {sums['kills']} cutovers were killed among them. False CLEAR:"
        f" {sums['missed']}. False alarms: {sums['false_alarms']}. Wrong writes: {sums['wrong_writes']}."
    )
    lines = [
        lead,
        "",
        "| fault | injected | right CLEAR or GAPS | CANNOT TELL | no verdict | missed | false alarms | wrong writes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, told in sorted(faults.items()):
        counts = " | ".join(str(told[key]) for key in COUNTED)
        lines.append(f"| {name}: {told['about']} | {counts} |")
    return "\n".join(lines)
