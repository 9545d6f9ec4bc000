"""Write what the fault suite found into docs/blind-spots.md, from tests/faults/results.json."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "blind-spots.md"


def page() -> str:
    """The page as it should be: all words that are written by hand, and the table as it was counted."""
    from tests.faults.results import BEGIN, END, load, table

    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(load())}\n{END}{after}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(), encoding="utf-8")
