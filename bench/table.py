"""Results as rows: ours, the plain way, the ratio, what must be reached and what is aimed at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `value` is held to `must` and `aim`; `more` says whether more of it is better."""

    name: str
    ours: str
    plain: str
    value: float
    unit: str = ""
    must: float | None = None
    aim: float | None = None
    more: bool = False
    load: float = 0.0  #: of the machine, over the last minute, when it was measured
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.must is None:
            return "told"
        if self.aim is not None and self._holds(self.aim):
            return "aim reached"
        return "reached" if self._holds(self.must) else "NOT reached"

    def _holds(self, bound: float) -> bool:
        return self.value >= bound if self.more else self.value <= bound

    def cells(self) -> list[str]:
        sign = "≥" if self.more else "≤"
        bounds = ["" if bound is None else f"{sign} {short(bound)}{self.unit}" for bound in (self.must, self.aim)]
        return [self.name, self.ours, self.plain, f"{short(self.value)}{self.unit}", *bounds, self.verdict, f"{self.load:.1f}"]


HEAD = ["what", "ours", "plain", "ratio", "must", "aim", "verdict", "load"]
_RIGHT = {3, 4, 5, 7}


def short(value: float) -> str:
    """Two figures behind the point where they matter."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 5 else f"{value:.2f}"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def as_text(rows: Sequence[Row]) -> str:
    """For a terminal."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.rjust(w) if at in _RIGHT else cell.ljust(w) for at, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(rows: Sequence[Row]) -> str:
    rule = ["---:" if at in _RIGHT else "---" for at in range(len(HEAD))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [HEAD, rule, *(row.cells() for row in rows)])


def write(folder: Path, rows: Sequence[Row], machine: dict[str, Any], *, size: str, pictures: Sequence[str]) -> None:
    """`results.md` for people, `results.json` for programs."""
    told = "\n".join(f"- {name}: {value}" for name, value in machine.items() if not isinstance(value, dict))
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    shown = "\n".join(f"\n![{Path(name).stem}]({name})" for name in pictures)
    text = f"# Benchmarks, size {size}\n\n{told}\n- versions: {versions}\n\n{as_markdown(rows)}\n{shown}"
    folder.joinpath("results.md").write_text(text.rstrip() + "\n")
    plain = {"size": size, "machine": machine, "rows": [asdict(row) | {"verdict": row.verdict} for row in rows]}
    folder.joinpath("results.json").write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
