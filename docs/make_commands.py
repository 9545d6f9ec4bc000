"""Write docs/commands.md from what `--help` says: `python docs/make_commands.py`. A test holds the page to it."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from fencepost import COMMANDS, run_command

PAGE = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

Made from `--help` by `docs/make_commands.py`; change the help, not this page.

Every command takes `--config FILE`, `--json` and `--quiet`, before or after its own options (`demo` has only `--quiet`).
The answer goes to stdout, everything else to stderr, so `fencepost gaps --json > gaps.json` holds JSON and nothing more.

| exit code | means |
|---|---|
| 0 | CLEAR, or done |
| 1 | could not finish: a server is away, a run was interrupted, a write was refused |
| 2 | wrong usage or settings |
| 3 | GAPS |
| 4 | CANNOT TELL |

"""


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "100"
    parts = [HEAD, section("fencepost", [])]
    parts += [section(f"fencepost {' '.join(command.path)}", [*command.path]) for command in COMMANDS]
    return "\n".join(parts)


def section(title: str, path: list[str]) -> str:
    out = StringIO()
    with redirect_stdout(out):
        run_command([*path, "--help"])
    return f"## {title}\n\n```text\n{out.getvalue().rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
