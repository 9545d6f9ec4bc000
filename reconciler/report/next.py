"""What to do next after a report, as command lines to paste. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.report.words import CAPPED, DRY_RUN, unasked
from schemas.verdict import LISTED, GapClass, Report, Verdict
from terminal.layout import counted, wrapped


def steps(report: Report, options: str = "") -> list[str]:
    """Numbered steps. `options` are those that the command has to repeat, such as `--since 72h`."""
    lines: list[str] = []
    for place, (words, command) in enumerate(_steps(report, f" {options}" if options else ""), start=1):
        lines += wrapped(words, first=f"  {place}. ")
        if command:
            lines.append(f"       {command}")
    return lines


def _steps(report: Report, options: str) -> Iterator[tuple[str, str | None]]:
    filled = sum(t.backfilled for t in report.data_types)
    undo = f"fencepost undo {report.run}{_config(options)}"
    if report.verdict is Verdict.CLEAR and report.kind == "gaps":
        yield "When the day has come: stop the writers, then", f"fencepost cutover{options}"
        return
    if report.verdict is Verdict.CLEAR and report.kind == "sweep":
        # It read beside live writers, range by range: what a cutover may rest on, and not a verdict for it.
        yield (
            "When the day has come: stop the writers, then",
            f"fencepost cutover --since auto{_of(options)}",
        )
        return
    if report.verdict is Verdict.CLEAR and report.kind == "recheck":
        return
    if report.verdict is Verdict.CLEAR:
        yield "You can cut over. To ask later whether this verdict still stands:", _recheck(report, options)
        if filled:
            yield "To take back the rows that were inserted and nobody touched since:", undo
        return
    yield from _mend(report, options)
    yield from _fill(report, options)
    if any(max(t.gaps.count, t.orphans.count) > LISTED for t in report.data_types):
        yield "For every key that was found:", f"fencepost report {report.run} --csv{_config(options)}"
    if filled:
        yield "To take back the rows that were inserted and nobody touched since:", undo
    elif any(t.orphans.removed for t in report.data_types):
        yield "To put the orphans back that were removed and nobody registered since:", undo


def _mend(report: Report, options: str) -> Iterator[tuple[str, str | None]]:
    """What stands between us and a verdict."""
    if report.verdict is not Verdict.CANNOT_TELL:
        return
    flying = sum(t.in_flight for t in report.data_types)
    failed = [proof for proof in report.proofs if proof.held is False]
    if failed:
        yield "See what each failed proof above says to try, then run it again:", _again(report, options)
    elif flying:
        yield "Some rows were too young; give them longer:", f"{_again(report, options)} --wait 5m"
    elif unasked(report):
        yield "Ask the event log too, or leave --deletes out:", _again(report, options.replace(" --without-log", ""))
    else:
        yield "Run it again:", _again(report, options)


def _fill(report: Report, options: str) -> Iterator[tuple[str, str | None]]:
    """What can be done about the gaps."""
    counts: dict[str, int] = {}
    for t in report.data_types:
        for name, count in t.gaps.by_class.items():
            counts[name] = counts.get(name, 0) + count
    missing = sum(counts.get(c, 0) for c in GapClass if c.backfilled)
    written = sum(t.backfilled for t in report.data_types)
    nothing_written = not written
    if missing and report.kind == "gaps":
        rows = counted(missing, "missing registry row")
        yield f"To see what would be inserted for {rows}:", f"fencepost cutover{options} --dry-run"
        yield "Writers stopped: insert them, compare again, get the verdict:", f"fencepost cutover{options}"
    elif missing and report.kind == "cutover" and nothing_written and report.plan and _held_back(report):
        yield "To insert exactly what was planned here:", f"fencepost cutover{options} --plan {report.plan}"
    elif missing > written and report.kind == "cutover" and report.verdict is Verdict.GAPS:
        yield (
            "The notes say what kept the missing rows from being inserted. Once that is mended:",
            f"fencepost cutover{options}",
        )
    elif missing and report.kind == "sweep" and nothing_written:
        yield (
            "To insert what is missing beside the live writers:",
            f"fencepost sweep --backfill{_of(options)}",
        )
    elif report.kind == "recheck" and missing:
        yield "Rows came into being since, or registry rows went. To close the gaps:", f"fencepost cutover{options}"
    refused, stale = counts.get(GapClass.UNACCEPTED, 0), counts.get(GapClass.STALE_REGISTRATION, 0)
    if refused:
        rows = counted(refused, "registry row is", "registry rows are")
        told = f"{rows} in a state that does not count. Let the applier try again, or name the state in registry.accepted."
        yield told, None
    if stale:
        rows = counted(stale, "registry row belongs", "registry rows belong")
        yield f"{rows} to an earlier row of the same id. Look at them; once deleted in the registry they are plain gaps.", None
    if any(t.orphans.count > t.orphans.removed for t in report.data_types):
        yield (
            "Registry rows without a source row: hand them to the applier, or let a sweep remove them (registry.orphans).",
            None,
        )


def _held_back(report: Report) -> bool:
    """Whether it was the operator who had nothing written."""
    return any(note.startswith(DRY_RUN) or CAPPED in note for note in report.notes)


def _again(report: Report, options: str) -> str:
    return f"fencepost {report.kind}{options}" if report.kind != "recheck" else _recheck(report, options)


def _recheck(report: Report, options: str) -> str:
    return f"fencepost recheck {report.run}{_config(options)}"


def _of(options: str) -> str:
    """Of the options only `--type` and `--config`: what was not swept is neither to be filled nor to be rested on."""
    return "".join(re.findall(r" --type \S+", options)) + _config(options)


def _config(options: str) -> str:
    """Of the options only `--config FILE`, which comes last: a past run knows its own window."""
    at = options.rfind(" --config ")
    return options[at:] if at >= 0 else ""
