"""Make `report.schema.json`, the promise behind `--json`, from the models of `schemas.verdict`.

    python -m schemas.report_schema

A test holds the file to the models. Changes are additive only, so the schema never forbids fields it does not know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.verdict import Report

FILE = Path(__file__).with_name("report.schema.json")


def text() -> str:
    """The schema as it should stand in the file."""
    made = _open(Report.model_json_schema(mode="serialization"))
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fencepost report",
        "description": "What `fencepost gaps`, `cutover`, `recheck` and `report` print with --json. Keys are text.",
    }
    return json.dumps(head | {k: v for k, v in made.items() if k not in head}, indent=2, ensure_ascii=False) + "\n"


def _open(node: Any) -> Any:
    """Without `additionalProperties: false`: a reader must not fail on what a later version adds."""
    if isinstance(node, dict):
        return {k: _open(v) for k, v in node.items() if not (k == "additionalProperties" and v is False)}
    return [_open(item) for item in node] if isinstance(node, list) else node


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
