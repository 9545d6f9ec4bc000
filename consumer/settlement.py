"""What an operator settles, and what settling it said: a record by its number, a hole by its name, a reason in words.

Pure. `consumer.quarantine` and `consumer.holes` do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import SettingsError

#: A record's number, or a hole's name: `hole-3`.
Name = int | str
HOLE = "hole-"
#: A reason is printed in every later verdict.
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What `resolve` did: what is settled now, and why the others are not."""

    settled: tuple[Name, ...] = ()
    failed: Mapping[Any, str] = field(default_factory=dict)  #: by `Name`

    def __or__(self, other: Settlement) -> Settlement:
        return Settlement(settled=self.settled + other.settled, failed={**self.failed, **other.failed})


def is_hole(name: Name) -> bool:
    return isinstance(name, str)


def number_of(name: Name) -> int:
    return int(name.removeprefix(HOLE)) if isinstance(name, str) else name


def with_reason(reason: str) -> str:
    """The reason as it is kept. Raises SettingsError where there is none, or a whole page."""
    kept = " ".join(reason.split())
    if not kept:
        raise SettingsError("accepting a loss needs a reason", hint='--accept "why this loss does not matter"')
    if len(kept) > LONGEST_REASON:
        raise SettingsError(
            f"the reason is {len(kept)} characters long, and is printed in every later verdict",
            hint=f"say it in at most {LONGEST_REASON}, and point to the rest",
        )
    return kept
