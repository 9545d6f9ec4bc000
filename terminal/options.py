"""The options and arguments of the commands, each a value, with the help that a stranger reads.

Values are only put into place here; what they mean is checked when the command runs (`terminal.values`).
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError

#: Adds itself to a parser.
Option = Callable[[argparse.ArgumentParser], object]


def option(*names: str, **how: Any) -> Option:
    """An option or argument, left out of what was asked where it is not given, so that the command's default holds."""
    how.setdefault("default", argparse.SUPPRESS)
    return lambda parser: parser.add_argument(*names, **how)


def flag(name: str, help: str) -> Option:
    return option(name, action="store_true", help=help)


def whole(least: int) -> Callable[[str], int]:
    """Read a whole number of at least so much."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return read


def folder(text: str) -> Path:
    """Read a folder's name. An empty one, as an unset variable leaves it, would mean the folder we stand in."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def plan_hash(text: str) -> str:
    """Read a plan's hash. What cannot be one is refused before anything is waited for."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no plan's hash; --dry-run prints one: sha256:…")
    return text


def record_or_hole(text: str) -> int | str:
    """A record's number, or a hole's name."""
    number = text.removeprefix("hole-")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} names neither a record, such as 7, nor a hole, such as hole-7")
    return int(number) if number == text else f"hole-{int(number)}"


QUIET = flag("--quiet", "no progress: only the result and errors")
COMMON = (
    option(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings file; without it ./fencepost.yaml, then the file that $FENCEPOST_CONFIG names",
    ),
    flag("--json", "print the result as JSON"),
    QUIET,
)

SINCE = option(
    "--since",
    metavar="WHEN",
    help="only rows created since: a duration back from now (72h, 7d), a time with a zone (2026-11-01T00:00:00Z), or auto"
    " (what the last sweep has not verified). Rows without a usable creation time are always looked at."
    " Without it every row is compared",
)
TYPES = option("--type", dest="types", action="append", metavar="NAME", help="only this data type; repeat for several")
DELETES = flag("--deletes", "also claim that no registry row outlives its source row")
REPORT = option(
    "--report",
    type=folder,
    metavar="DIR",
    help="write report.txt, report.json and a line for every gap (DIR/<data type>/gaps.jsonl) into this folder",
)
WAIT = option(
    "--wait",
    metavar="TIME",
    help="how long to wait at most, such as 5m, for open transactions, for the event log and for rows that still settle;"
    " without it 30s, and for rows as long as fence.settle says",
)
WITHOUT_LOG = flag(
    "--without-log",
    "judge from the rows alone, for when the event log cannot be reached; causes and drop rate are then unknown",
)
JUDGING = (SINCE, TYPES, DELETES, REPORT, WAIT, WITHOUT_LOG)

DRY_RUN = flag("--dry-run", "say what would be inserted, with the plan's hash; insert nothing")
PLAN = option("--plan", type=plan_hash, metavar="HASH", help="insert only if the plan is still the one that --dry-run printed")
MAX_BACKFILL = option(
    "--max-backfill",
    type=whole(0),
    metavar="N",
    help="if more rows than this are missing, over all data types, insert none",
)
EVERY_TIME = option(
    "--every",
    metavar="TIME",
    help="go on until stopped, and begin a pass so long after the last one began, such as 24h; without it one pass",
)
RATE = option("--rate", type=whole(1), metavar="N", help="read at most so many keys a second; without it sweep.rate")
FILL = flag("--backfill", "also insert what is missing, as a cutover does; without it as sweep.backfill says")
SWEEPING = (TYPES, EVERY_TIME, RATE, FILL, MAX_BACKFILL, REPORT, WAIT, WITHOUT_LOG)
UNTIL_END = flag("--until-end", "stop at the ends of the topics as they were at the start")
REHEARSE = flag("--rehearse", "also run every proof on the live system, once, without a verdict")
RUN = option("run", metavar="RUN", help="the run's id, its beginning or its end, or latest; `fencepost runs` lists them")
LIMIT = option("--limit", type=whole(1), metavar="N", help="list at most so many (20)")
EVERY = option("--all", dest="every", action="store_true", help="also those that were settled")
VERIFY = flag("--verify", "check that no recorded run was changed since")
CSV = flag("--csv", "print every key that the run found, as CSV")
ID = option("id", type=record_or_hole, metavar="ID", help="as `fencepost quarantine list` names it, such as 7 or hole-3")
IDS = option("ids", type=record_or_hole, nargs="+", metavar="ID", help="as `fencepost quarantine list` names them")
AGAIN = flag("--again", "read them again, with the settings as they are now")
ACCEPT = option(
    "--accept", metavar="REASON", help="accept that what they announced is lost, for this reason; the rows still decide"
)
AUDIT = flag("--audit", "tell of the time between cutovers instead: about a minute, in fast motion")
KEEP = option("--keep", type=folder, metavar="DIR", help="use this folder, and leave everything in it")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command may be asked: `fencepost --json gaps` and `fencepost gaps --json` mean the same."""

    config: Path | None = None
    json: bool = False
    quiet: bool = False

    def settings_file(self) -> Path:
        """Raises SettingsError where there is none to be found."""
        if self.config is not None:
            return self.config
        here = Path("fencepost.yaml")
        if here.exists():
            return here
        named = os.environ.get("FENCEPOST_CONFIG")
        if named:
            return Path(named)
        raise SettingsError(
            "there is no settings file: neither ./fencepost.yaml nor $FENCEPOST_CONFIG",
            hint="name one with --config FILE, or run `fencepost demo` to see a complete one",
        )
