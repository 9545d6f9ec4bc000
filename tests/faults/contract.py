"""What a fault is: its name, what it does, when, and which answers are right while it is at work.

Each fault is a file somewhere below `kinds/`: `FAULT` says what it is, `inject(world)` does it. A family whose members
differ by a moment or a zone is one file with `FAULTS`, and `inject(world, …)` is given what each one carries in `given`.
Steps that files of one folder share stand in its `steps.py`. It knows the world and the wire; how it is run and judged is
`harness`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

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

#: What a fault stops has to be its own.
POSTGRES, KAFKA, CLUSTER, CLOCK = (frozenset({name}) for name in ("postgres", "kafka", "cluster", "clock"))

KINDS = Path(__file__).parent / "kinds"

#: Set the fault up; what stands after the yield takes it away again.
Inject = Callable[["World"], Iterator[None]]


def nothing(world: World) -> Iterator[None]:
    yield


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault."""

    name: str  #: the file is called after it, or after the first words of a family
    about: str  #: what happens, in a few words; the page of blind spots prints it
    modes: tuple[int, ...]  #: the rows of the table of failure modes that it stages
    right: frozenset[Said]
    given: tuple[Any, ...] = ()  #: what `inject` is told beside the world: a moment, a zone
    asks: tuple[str, ...] = ()  #: what is added to `fencepost cutover`
    writes: bool = True  #: whether missing rows may be registered while the fault is at work
    names: str = ""  #: words that a failed proof, or the error, has to say
    mended: frozenset[Said] | None = CLEAR  #: what the next run says once the fault is gone; None: nothing mends it
    own: bool = False  #: it spoils its world for others
    stops: frozenset[str] = frozenset()  #: servers that must be its own: POSTGRES, KAFKA, CLUSTER (to be stopped), CLOCK
    slow: bool = False  #: only in `make faults` and `make soak`
    inject: Inject = nothing  #: the file's function of that name


@cache
def kinds() -> tuple[Fault, ...]:
    """Every fault there is, in the order of their names."""
    found = [fault for path in files() for fault in faults_of(path)]
    return tuple(sorted(found, key=lambda fault: fault.name))


def files() -> list[Path]:
    return sorted(path for path in KINDS.rglob("*.py") if path.name != "steps.py")


def faults_of(path: Path) -> list[Fault]:
    place = ".".join(path.relative_to(KINDS).with_suffix("").parts)
    module = importlib.import_module(f"tests.faults.kinds.{place}")
    family: list[Fault] = module.FAULTS if hasattr(module, "FAULTS") else [module.FAULT]
    return [replace(fault, inject=_told(module, fault.given)) for fault in family]


def _told(module: ModuleType, given: tuple[Any, ...]) -> Inject:
    inject: Callable[..., Iterator[None]] = module.inject
    return lambda world: inject(world, *given)
