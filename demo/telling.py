"""How a story of the demo is told: wrapped words, and real commands whose exit codes are insisted on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from demo import commands
from schemas.errors import Exit, FencepostError
from terminal.layout import paint, wrapped
from terminal.output import coloured, put


@dataclass(kw_only=True)
class Teller:
    """The folder that commands run in, and whether anything is said."""

    folder: Path
    quiet: bool

    def tell(self, *lines: str) -> None:
        if not self.quiet:
            for line in lines:
                put("\n".join(wrapped(line)))

    def put(self, *lines: str) -> None:
        """Lines that are laid out already."""
        if not self.quiet:
            put("\n".join(lines))

    def command(self, line: str, wanted: Exit, words: str) -> None:
        """Run it, and insist on its exit code."""
        self.tell("", *wrapped(words), "")
        self.put(paint(f"$ {line}", "bold", on=coloured(sys.stdout)))
        code = commands.run(line.removeprefix("fencepost "), self.folder, quiet=self.quiet)
        if code != wanted:
            raise FencepostError(f"`{line}` ended with exit code {code} where the story wants {int(wanted)} ({wanted.name})")
