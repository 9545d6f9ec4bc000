"""`fencepost status` as text: how far behind, what nobody read, what is set aside, what a cutover would take. Pure."""

from __future__ import annotations

from reconciler.numbers import Numbers, Ranges
from reconciler.status import Status, TypeStatus
from schemas.log_state import Hole
from terminal.layout import columns, counted, moment, wrapped
from terminal.say import span_words


def text(status: Status) -> str:
    """A line a data type, then whatever stands in the way."""
    if not status.ledger:
        return "".join(f"{line}\n" for note in status.notes for line in wrapped(note))
    head = ("data type", "event log", "read", "a cutover takes about")
    lines = columns([head, *(_row(t) for t in status.types)], indent="")
    lines += ["", *(line for t in status.types for line in _sweep(t))]
    lines += [line for t in status.types for line in _fewer(t)]
    lines += [line for found in status.numbers for line in _numbers(found)]
    lines += [*_holes(status.holes), *_quarantine(status)]
    for note in status.notes:
        lines += wrapped(f"Note: {note}")
    return "\n".join(lines).rstrip() + "\n"


def _row(t: TypeStatus) -> tuple[str, str, str, str]:
    if not t.partitions:
        behind = "never read"
    elif t.behind is None:
        behind = "did not answer"
    else:
        behind = "read to its end" if t.behind == 0 else f"{counted(t.behind, 'record')} behind"
    return t.name, behind, moment(t.read_to), "not known yet" if t.estimate_s is None else span_words(t.estimate_s)


def _sweep(t: TypeStatus) -> list[str]:
    """The last full pass, and the window that it makes safe."""
    s = t.sweep
    if s is None:
        return [f"{t.name}: never swept"]
    ended = "not finished" if s.finished_at is None else f"finished {moment(s.finished_at)}"
    seen = f"{s.verified:,} of {counted(s.rows, 'row')} verified"
    found = f", {s.found:,} found, {s.fixed:,} fixed" if s.found else ""
    lines = wrapped(f"{t.name}: swept from {moment(s.started_at)}, {ended}; {seen}{found}")
    if s.safe_since is not None:
        lines += wrapped(f"a cutover window since {moment(s.safe_since)} is safe, because {s.because}", first="  ", rest="  ")
    else:
        lines += wrapped(f"no cutover window by time is safe: {s.because}", first="  ", rest="  ")
    if s.oldest_unverified is not None:
        lines += wrapped(f"oldest row that is not verified: created {moment(s.oldest_unverified)} or later", first="  ")
    return [*lines, *(wrapped(s.going_on, first="  ", rest="  ") if s.going_on else [])]


def _fewer(t: TypeStatus) -> list[str]:
    """What the log alone says while the audit cannot look: an estimate, and said to be one."""
    if t.fewer is None or t.fewer.missing < 1:
        return []
    return wrapped(
        f"{t.name}: the audit has not looked since {moment(t.fewer.since)}. By the log alone about"
        f" {counted(round(t.fewer.missing), 'creation was', 'creations were')} announced fewer than usual since. An estimate,"
        " no verdict: fewer rows may have been created."
    )


def _numbers(n: Numbers) -> list[str]:
    """What numbered events say by themselves: an estimate, and said to be one."""
    of = f"Numbers of the events in {', '.join(n.topics)}"
    if n.since is None:
        return wrapped(f"{of}: not judged until all partitions were read to their ends")
    share = f" ({100 * n.missing / n.judged:.2g} %)" if n.missing else ""
    usual = "what is usual is not known yet" if n.usual is None else f"{100 * n.usual:.2g} % is usual"
    lines = wrapped(
        f"{of}: judged up to {n.judged_to:,} as of {moment(n.as_of)}; of {n.judged:,} this hour and the last"
        f" {n.missing:,} missing{share}, {usual}. An estimate, no verdict: a transaction that was rolled back leaves a gap too."
    )
    if n.ranges:
        more = f", the newest of {n.kept:,} ranges of a day" if n.kept > len(n.ranges) else ""
        lines += wrapped(f"missing: {_ranges(n.ranges)}{more}", first="  ")
    if n.open is None:
        lines += wrapped("more are open than can be counted: is a partition not read to its end?", first="  ")
    elif n.open:
        lines += wrapped(f"open, they may come yet: {n.open:,}, such as {_ranges(n.open_ranges)}", first="  ")
    if n.unnumbered:
        lines += wrapped(f"{counted(n.unnumbered, 'record')} had no number", first="  ")
    return lines


def _ranges(ranges: Ranges) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _holes(holes: list[Hole]) -> list[str]:
    """Offsets that nobody read: open ones, and accepted ones by whom and why."""
    open_ = [hole for hole in holes if hole.state == "open"]
    accepted = [hole for hole in holes if hole.state == "accepted"]
    told = f", {len(accepted):,} accepted as lost" if accepted else ""
    lines = [f"Holes in the log: {len(open_) or 'none'}{told}" + ("   (fencepost quarantine list)" if open_ else "")]
    rows = [(hole.name, hole.described) for hole in open_]
    rows += [(hole.name, f"{hole.described}, accepted by {hole.by}: {hole.reason}") for hole in accepted]
    return [*lines, *columns(rows)]


def _quarantine(status: Status) -> list[str]:
    if not status.quarantine_open:
        return ["Records in quarantine: none"]
    return [f"Records in quarantine: {status.quarantine_open:,}   (fencepost quarantine list)"]
