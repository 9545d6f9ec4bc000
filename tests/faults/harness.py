"""Run one fault in one world, and hold the command to the truth: its verdict, its writes, its words.

What is right is decided here, from the databases as they are afterwards; a fault only says which verdicts may be given.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.end_to_end.installation import Done
from tests.faults.beside import SECRET
from tests.faults.contract import Fault, Said
from tests.faults.world import Keys, World


@dataclass
class Finding:
    """What came of one fault."""

    fault: str
    said: Said
    missed: list[str] = field(default_factory=list)  #: CLEAR, and it was not
    alarms: list[str] = field(default_factory=list)  #: something said to be wrong that was not
    writes: list[str] = field(default_factory=list)  #: registry rows inserted, doubled or taken that must not be
    others: list[str] = field(default_factory=list)  #: secrets, words that are missing, a world that did not heal

    @property
    def problems(self) -> list[str]:
        return [*self.missed, *self.alarms, *self.writes, *self.others]


def try_out(fault: Fault, world: World) -> Finding:
    """Let the world live, inject, cut over, judge; then take the fault away and demand that the next run heals it."""
    world.live()
    with _injected(fault, world):
        before = world.registered() if world.baseline is None else world.baseline
        done = world.run("cutover", "--report", str(world.folder / f"report-{world.mark}"), *(fault.asks or ("--wait", "20s")))
        world.done = done
        while world.afterwards:
            world.afterwards.pop()()
        finding = Finding(fault.name, Said.of(done.code))
        never = world.forget()
        if never:
            finding.others.append(f"the moment never came: {never}")
        _judge(fault, world, before, done, finding)
    world.forget()
    last = finding.said
    if fault.mended is not None and finding.said is not Said.CLEAR:
        world.lease_over()
        again = world.run("cutover", "--wait", "20s")
        last = Said.of(again.code)
        if Said.of(again.code) not in fault.mended:
            finding.others.append(f"once the fault was gone: {again}")
    if fault.mended is not None and Said.CLEAR in fault.mended:
        _whole(world, before, finding)
    _settled(world, last, finding)
    _secrets(world, finding)
    return finding


@contextmanager
def _injected(fault: Fault, world: World) -> Iterator[None]:
    before = dict(world.extra), dict(world.variables)
    world.apart = False
    world.removed, world.exempt, world.baseline = {}, {}, None
    try:
        with contextmanager(fault.inject)(world):
            yield
    finally:
        world.extra, world.variables = before
        world.apart = False


def _judge(fault: Fault, world: World, before: Keys, done: Done, finding: Finding) -> None:
    rows, now = world.rows(), world.registered()
    missing = {name: keys - now[name] - world.exempt.get(name, set()) for name, keys in rows.items()}
    if finding.said is Said.CLEAR and any(missing.values()):
        finding.missed.append(f"CLEAR, and these rows are not registered: {missing}")
    if finding.said not in fault.right:
        said = finding.missed if finding.said is Said.CLEAR else finding.alarms
        said.append(f"{finding.said} is not among {sorted(fault.right)}\n{done}")
    orphans = "--deletes" in fault.asks and any(now[name] - rows[name] for name in rows)
    if finding.said is Said.GAPS and not any(missing.values()) and not orphans and '"unaccepted"' not in done.out:
        finding.alarms.append(f"GAPS, and nothing is missing\n{done}")
    for name, keys in now.items():
        inserted, taken = keys - before[name], before[name] - keys - world.removed.get(name, set())
        if ghosts := inserted - rows[name]:
            finding.writes.append(f"{name}: registered without a source row: {ghosts}")
        if inserted and not fault.writes:
            finding.writes.append(f"{name}: registered where nothing may be written: {inserted}")
        if taken:
            finding.writes.append(f"{name}: taken from the registry: {taken}")
    _named(world, before, done, finding)
    if fault.names and fault.names not in _words(done):
        finding.others.append(f"nothing says {fault.names!r}\n{done}")


def _named(world: World, before: Keys, done: Done, finding: Finding) -> None:
    """A gap that is named was a source row, and was not registered."""
    if not done.out:
        return
    for told in done.json["data_types"]:
        wrong = set(told["gaps"]["keys"]) & before[told["name"]] - world.removed.get(told["name"], set())
        if "unaccepted" in told["gaps"]["by_class"]:
            continue  # registered, in a state that does not count
        if wrong:
            finding.alarms.append(f"{told['name']}: registered, and called a gap: {wrong}")


def _words(done: Done) -> str:
    """What a run said to an operator."""
    if not done.out:
        return done.err
    return " ".join([*(p["seen"] for p in done.json["proofs"] if p["held"] is False), *done.json["notes"], done.err])


def _settled(world: World, last: Said, finding: Finding) -> None:
    """No run is left open once a later one came to a verdict, and what is recorded is what was written."""
    runs = world.recorded_runs()
    if last is not Said.NOTHING and (left := [run for run, state in runs.items() if state == "running"]):
        finding.others.append(f"still running, says the ledger: {left} of {runs}")
    if runs:
        verified = world.run("report", "latest", "--verify")
        if verified.code:
            finding.others.append(f"the record does not hold: {verified}")


def _secrets(world: World, finding: Finding) -> None:
    with contextlib.suppress(OSError):
        for path in world.folder.rglob("*"):
            if path.is_file() and path.suffix != ".yaml" and SECRET in path.read_text(errors="replace"):
                finding.others.append(f"the secret stands in {path.name}")
    if SECRET in world.ledger_text():
        finding.others.append("the secret stands in the ledger")


def _whole(world: World, before: Keys, finding: Finding) -> None:
    """Registered is every row, and whatever was registered before: orphans are told, not removed."""
    rows, now = world.rows(), world.registered()
    for name in rows:
        wanted = rows[name] | (before[name] - world.removed.get(name, set()))
        if now[name] != wanted:
            off = json.dumps({"lacking": sorted(wanted - now[name]), "too many": sorted(now[name] - wanted)})
            finding.others.append(f"{name}: the registry is not the truth: {off}")
