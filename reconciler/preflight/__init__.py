"""`fencepost check`: look at everything a run relies upon, before it is needed, and write nothing.

One file per family of checks; each yields findings, and an error in one is its finding and stops no other. The event log
is looked at by a callable that the front door hands in, for this room knows no broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from databases.connect import renamed
from reconciler.preflight import (
    clocks,
    identities,
    inserts,
    ledger,
    pipelines,
    rehearsal,
    rights,
    servers,
    tables,
    transport,
    windows,
)
from reconciler.preflight.finding import AREAS, Finding, Level, as_json, as_text, exit_code, failed
from reconciler.preflight.ground import opened
from reconciler.window import Since
from schemas.errors import FencepostError, SettingsError
from schemas.settings import Settings

Looking = Callable[[], Sequence[Finding]]


def run_check(
    settings: Settings,
    *,
    names: Sequence[str] = (),
    since: str | None = None,
    rehearse: bool = False,
    log_check: Looking | None = None,
    rehearsals: Looking | None = None,
) -> list[Finding]:
    """Look at everything. Raises SettingsError on an unknown data type or an impossible window, nothing else foreseen.

    `rehearsals` are proofs that other rooms run on the live system; they are asked only with `rehearse`.
    """
    window = Since.read(since)
    with opened(settings, names) as ground:
        found = list(ground.found)
        found += _told("reach", lambda: servers.look(ground))
        found += _told("transport", lambda: transport.look(settings))
        found += _told("identity", lambda: identities.look(ground))
        found += _told("clocks", lambda: clocks.look(ground))
        found += _told("ledger", lambda: ledger.look(ground))
        found += _told("tables", lambda: tables.look(ground))
        found += _told("grants", lambda: rights.look(ground))
        found += _told("keys", lambda: tables.keys(ground))
        found += _told("insert", lambda: inserts.look(ground))
        found += _told("window", lambda: windows.look(ground, window))
        found += _told("pipeline", lambda: pipelines.look(ground))
        if rehearse:
            found += _told("rehearsal", lambda: rehearsal.look(ground))
    for area, looking in (("log", log_check), ("rehearsal", rehearsals if rehearse else None)):
        if looking is not None:
            found += _told(area, looking)
    return found


def _told(area: str, looking: Callable[[], Iterator[Finding] | Sequence[Finding]]) -> list[Finding]:
    """What a check finds until its end, or until the error that ends it."""
    found: list[Finding] = []
    try:
        with renamed(f"look at {area}"):
            for finding in looking():
                found.append(finding)  # one by one: what came before an error is kept
    except SettingsError:
        raise
    except FencepostError as error:
        found.append(failed(area, error))
    return found


__all__ = ["AREAS", "Finding", "Level", "as_json", "as_text", "exit_code", "run_check"]
