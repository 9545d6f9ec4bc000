"""What a pipeline is asked, and what it answers. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event

from reconciler.ports import Say
from reconciler.scene import Scene
from schemas.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Has everything that was committed before `lsn`, on the server where the fence is taken, been announced?"""

    settings: Settings
    scene: Scene
    lsn: str
    wait_s: float
    say: Say
    stop: Event = field(default_factory=Event)  #: set: whoever asked is told to stop, and waits no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """What was seen. With a fault, nobody may count on what the log does not say."""

    seen: str
    fault: str | None = None
    remedy: str | None = None
    #: By data type, why its rows are not announced at all, or not all of them.
    unannounced: Mapping[str, str] = field(default_factory=dict)
