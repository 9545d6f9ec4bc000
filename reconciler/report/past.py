"""Past runs as text: the list, and one run that has no report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reconciler.history import State
from reconciler.recall import Checked, Past
from reconciler.report.text import SHOWN
from reconciler.report.words import CLASSES, ORPHANS
from schemas.metrics import HEALED_DROP
from terminal.layout import columns, counted, moment, wrapped
from terminal.say import span_words


def listed(past: Sequence[Past], now: datetime) -> str:
    """The newest first, a line a run."""
    if not past:
        return "no runs yet: `fencepost gaps` makes the first\n"
    head = ("run", "started", "took", "command", "result")
    rows = [(p.run, moment(p.started_at), _took(p, now), p.kind, _result(p)) for p in past]
    lines = columns([head, *rows], indent="")
    return "\n".join([*lines, "", "One of them in full: fencepost report RUN (or: fencepost report latest)"]) + "\n"


def without_verdict(past: Past, now: datetime) -> str:
    """A run that did not judge: it failed, was stopped or killed, is at work, or was an undo or an audit."""
    lines = [f"{past.kind}, run {past.run}: {past.state}"]
    lines += wrapped(f"Started {moment(past.started_at)}, {_took(past, now)}.")
    lines += wrapped(past.note) if past.note else []
    if past.findings is not None:
        lines += _findings(past.run, past.findings)
    else:
        lines += wrapped(past.text) if past.text else []
    if past.state is State.RUNNING:
        lines += wrapped(f"{_at_work(past)}.")
    return "\n".join(lines) + "\n"


def _findings(run: str, told: Mapping[str, Any]) -> list[str]:
    """What one look of the audit found of one data type."""
    lines = wrapped(f"Found at {moment(datetime.fromisoformat(told['at']))}, of {told['data_type']}:")
    for one in told["findings"]:
        class_, cause = one["class"], one["cause"]
        lines += wrapped(f"{one['count']:,} {class_}: {_ABOUT.get(class_, '')} ({cause})", first="  ", rest="    ")
        keys = [key["key"] for key in one["keys"][:SHOWN]]
        more = f" … and {one['count'] - len(keys):,} more" if one["count"] > len(keys) else ""
        lines += wrapped(f"keys {', '.join(keys)}{more}", first="    ", rest="         ")
        dates = sorted(key["created_at"] for key in one["keys"] if key["created_at"])
        if dates:
            first, last = (moment(datetime.fromisoformat(at)) for at in (dates[0], dates[-1]))
            lines += wrapped(f"created from {first} to {last}{', as far as they are listed' if more else ''}", first="    ")
    if (late := told.get("late_by_s")) is not None:
        lines += wrapped(f"The announcements came up to {span_words(late)} late; the rows stay counted as dropped.")
    return [*lines, "", f"Every key: fencepost report {run} --csv"]


_ABOUT = (
    CLASSES
    | ORPHANS
    | {
        HEALED_DROP: "never announced, registered by another path: no gap",
        "late": "judged dropped, and announced after all",
    }
)


def checked(result: Checked) -> str:
    """What `--verify` showed."""
    word = "INTACT" if result.intact else "BROKEN"
    lines = wrapped(f"{word}: {result.seen}.")
    lines += wrapped(
        f"The newest of {counted(result.links, 'recorded run')} has the digest {result.newest}. Note it outside this"
        " database: then a chain that was written anew, or cut short at its end, shows too."
    )
    return "\n".join(lines) + "\n"


def _at_work(past: Past) -> str:
    if past.silent_since is None:
        return "It is still at work, or its process was killed before it could say how it ended"
    since = moment(past.silent_since)
    return f"It gave no sign of life since {since}: its process was most likely killed, and the next run will say so"


def _took(past: Past, now: datetime) -> str:
    if past.state is State.KILLED:
        return "until it was killed"
    span = span_words(((past.finished_at or now) - past.started_at).total_seconds())
    return span if past.finished_at else f"{span} so far"


def _result(past: Past) -> str:
    if past.verdict:
        return past.verdict
    if past.findings is not None:
        counts = [f"{one['count']:,} {one['class']}" for one in past.findings["findings"]]
        return f"{past.findings['data_type']}: {', '.join(counts)}"
    if past.silent_since is not None:
        return f"{past.state}: no sign of life since {moment(past.silent_since)}"
    if past.note and past.note.startswith(str(past.state)):
        return past.note
    return f"{past.state}: {past.note}" if past.note else str(past.state)
