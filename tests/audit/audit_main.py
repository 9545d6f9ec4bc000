"""`fencepost audit` as a process that kills itself at one boundary of a look, as `tests.recipes.sweep_main` has it."""

from __future__ import annotations

import sys

import fencepost
from tests.recipes.sweep_main import die_at

if __name__ == "__main__":
    place, when, nth, *arguments = sys.argv[1:]
    die_at(place, when, int(nth))
    sys.exit(fencepost.run_command(arguments))
