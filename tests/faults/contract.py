"""What a fault is: its name, what it does, when, and which answers are right while it is at work.

Each fault is a file in `kinds/`. It knows the world and the wire; how it is run and judged is `harness`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.verdict import Verdict

if TYPE_CHECKING:
    from tests.faults.world import World


class Said(StrEnum):
    """How a command ended: with a verdict, or without one (exit code 1 or 2), which claims nothing."""

    CLEAR = Verdict.CLEAR
    GAPS = Verdict.GAPS
    CANNOT_TELL = Verdict.CANNOT_TELL
    NOTHING = "no verdict"

    @classmethod
    def of(cls, code: int) -> Said:
        return {0: cls.CLEAR, 3: cls.GAPS, 4: cls.CANNOT_TELL}.get(code, cls.NOTHING)


#: Sets of right answers. CLEAR is right only where the registry holds every source row, whatever a fault allows.
CLEAR = frozenset({Said.CLEAR})
CLEAR_OR_GAPS = frozenset({Said.CLEAR, Said.GAPS})
GAPS = frozenset({Said.GAPS})
CANNOT_TELL = frozenset({Said.CANNOT_TELL})
NO_VERDICT = frozenset({Said.NOTHING})
#: What may be said of a world that could not be looked at to the end.
WITHHELD = CANNOT_TELL | NO_VERDICT

#: Set the fault up; what stands after the yield takes it away again.
Inject = Callable[["World"], Iterator[None]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault."""

    about: str  #: what happens, in a few words; the page of blind spots prints it
    modes: tuple[int, ...]  #: the rows of the table of failure modes that it stages
    inject: Inject
    right: frozenset[Said]
    asks: tuple[str, ...] = ()  #: what is added to `fencepost cutover`
    writes: bool = True  #: whether missing rows may be registered while the fault is at work
    names: str = ""  #: words that a failed proof, or the error, has to say
    mended: frozenset[Said] | None = CLEAR  #: what the next run says once the fault is gone; None: nothing mends it
    own: bool = False  #: it spoils its world for others
    stops: frozenset[str] = frozenset()  #: servers that must be its own: postgres, kafka (to be stopped), clock
    slow: bool = False  #: only in `make faults` and `make soak`
    name: str = ""  #: given by the file


@cache
def kinds() -> tuple[Fault, ...]:
    """Every fault there is, in the order of their names. One file may hold a family of them."""
    found = []
    for path in sorted((Path(__file__).parent / "kinds").glob("*.py")):
        module = importlib.import_module(f"tests.faults.kinds.{path.stem}")
        family: dict[str, Fault] = module.FAULTS
        found += [_named(name, fault) for name, fault in family.items()]
    return tuple(sorted(found, key=lambda fault: fault.name))


def _named(name: str, fault: Fault) -> Fault:
    from dataclasses import replace

    return replace(fault, name=name)
