"""A report as text: the verdict first, what it means, then what it rests on, and last what to do next.

For somebody with a clock running: every number has its word, every failed proof says what to try, every next step is a
command line to paste. Plain text, 100 columns; pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.report.next import steps
from reconciler.report.words import ABOUT_THE_LOG, CAUSES, CLAIMS, CLASSES, EVIDENCE, ORPHANS, STRATEGIES, unasked
from schemas.verdict import SWEEP_TELLS_NONE, Report, TypeReport, Verdict
from terminal.layout import WIDTH, columns, counted, moment, number, paint, share, table, wrapped
from terminal.say import span_words

_COLOUR = {Verdict.CLEAR: "green", Verdict.GAPS: "red", Verdict.CANNOT_TELL: "yellow"}
_HELD = {True: "held", False: "FAILED", None: "not asked"}
#: Keys shown of a set. `--json` lists 100, `--report` and `--csv` all.
SHOWN = 20


def text(report: Report, *, options: str = "", colour: bool = False) -> str:
    """The whole report. `options` are those that a next command has to repeat."""
    lines = [
        *_verdict(report, colour),
        *_section("Failed proofs", _proofs(report, colour, failed=True)),
        *_section("Claims", _claims(report)),
        *_section("Data types", _overview(report)),
        *(line for t in report.data_types for line in _section(f"{t.name}: {t.verdict}", _data_type(report, t))),
        *_section("Proofs", _proofs(report, colour, failed=False)),
        *_section("Written", _written(report)),
        *_section("Notes", [line for note in report.notes for line in wrapped(note, first="  ")]),
        *_section("Next", steps(report, options)),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def left(report: Report) -> int:
    """Gaps that still stand: after a cutover those of the second compare, after a sweep what it has not inserted."""
    return sum(t.remaining if report.kind in ("cutover", "sweep") else t.gaps.count for t in report.data_types)


def meaning(report: Report) -> str:
    """The verdict in a sentence or two."""
    missing = left(report)
    filled = sum(t.backfilled for t in report.data_types)
    orphans = sum(t.orphans.count for t in report.data_types)
    put = f" {counted(filled, 'missing registry row was', 'missing registry rows were')} inserted." if filled else ""
    if report.verdict is Verdict.CLEAR:
        if report.kind == "cutover":
            return f"Nothing is missing: a second compare, after the fence, found no gap.{put}"
        if report.kind == "recheck":
            return "Still so: every source row has an accepted registry row."
        return "Nothing is missing so far. Only `fencepost cutover` can say so for good, once the writers have stopped."
    if report.verdict is Verdict.GAPS and report.kind == "sweep" and not _open(report):
        return _healed(sum(t.gaps.count for t in report.data_types), orphans, put)
    if report.verdict is Verdict.GAPS:
        parts = [_without(missing)] if missing else []
        if orphans:
            parts.append(f"{counted(orphans, 'registry row outlives its', 'registry rows outlive their')} source row.")
        return " ".join([*parts, "Do not cut over yet.", put.strip()]).strip()
    failed = withholding(report)
    flying = sum(t.in_flight for t in report.data_types)
    why = f"What the verdict rests on could not be shown: {', '.join(failed)}." if failed else ""
    if flying:
        why += f" {counted(flying, 'row is', 'rows are')} too young to be judged."
    if not why and unasked(report):
        why = "The claim `deletes` needs the event log, which was not asked (--without-log)."
    found = f" {_without(missing)} There may be more." if missing else " No gap was found, but some may be hidden."
    return f"{why.strip() or 'The claims could not be shown.'}{found} Do not cut over yet.{put}"


def _open(report: Report) -> int:
    """What a sweep has found and not mended."""
    return sum(t.remaining + t.orphans.count - t.orphans.removed for t in report.data_types)


def _healed(found: int, orphans: int, put: str) -> str:
    parts = [f"{counted(found, 'source row had', 'source rows had')} no accepted registry row."] if found else []
    if orphans:
        outlived = counted(orphans, "registry row outlived its source row", "registry rows outlived their source row")
        parts.append(f"{outlived}; the policy `registry.orphans` was applied.")
    return " ".join(
        [*parts, f"{put} Nothing that was found is open now. Whether you can cut over, `fencepost cutover` says.".strip()]
    )


def _without(missing: int) -> str:
    return f"{counted(missing, 'source row has', 'source rows have')} no accepted registry row."


def _verdict(report: Report, colour: bool) -> Iterator[str]:
    rule = "=" * WIDTH
    name = f"  {report.verdict}"
    about = f"{report.kind}, run {report.run}"
    yield rule
    yield paint(name, _COLOUR[report.verdict], on=colour) + f"{about:>{WIDTH - len(name)}}"
    yield rule
    yield from wrapped(meaning(report))
    took = span_words((report.finished_at - report.started_at).total_seconds())
    fence = report.fence
    at = f"the fence at {moment(fence.at)}" if fence.at else "a look without a fence"
    where = f" (WAL {fence.lsn}, pipeline: {fence.pipeline})" if fence.lsn else f" (pipeline: {fence.pipeline})"
    yield from wrapped(f"As of {at}{where}; finished {moment(report.finished_at)}, after {took}.")


def _section(title: str, lines: object) -> list[str]:
    body = list(lines)  # type: ignore[call-overload]
    return ["", title, *body] if body else []


def _claims(report: Report) -> list[str]:
    answers = report.claims
    how = "not without the event log" if report.kind == "sweep" else "ask with --deletes"
    ask = f" ({how})" if answers.deletes == "not asked" else ""
    return columns(
        [
            ("creates", answers.creates, CLAIMS["creates"]),
            ("deletes", answers.deletes, CLAIMS["deletes"] + ask),
            ("drop rate", answers.drop_rate, CLAIMS["drop_rate"] + "; told, never a verdict"),
        ]
    )


def _overview(report: Report) -> list[str]:
    head = ["", "verdict", "source rows", "announced", "registered", "gaps", "in flight", "backfilled", "remaining"]
    rows = [
        [_short(t.name), str(t.verdict)]
        + [number(n) for n in (t.rows, t.announced, t.registered, t.gaps.count, t.in_flight, t.backfilled, t.remaining)]
        for t in report.data_types
    ]
    return table(head, rows)


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _data_type(report: Report, t: TypeReport) -> Iterator[str]:
    rows: list[tuple[str, str]] = [("window", _window(t))]
    rows += [("", f"cannot see: {blind}") for blind in t.window.cannot_see]
    rows += _found("gaps", t.gaps.count, t.gaps.by_class, CLASSES)
    rows += _found("causes", len(t.gaps.by_cause), t.gaps.by_cause, CAUSES)
    rows += _keys(t.gaps.keys, t.gaps.count)
    if t.in_flight:
        rows.append(("in flight", f"{number(t.in_flight)} too young to be judged: not yet settled, or the log not past them"))
    rows += _found("orphans", t.orphans.count, t.orphans.by_class, ORPHANS)
    rows += _keys(t.orphans.keys, t.orphans.count)
    if t.states:
        told = ", ".join(f"{number(n)} in state {state}" for state, n in sorted(t.states.items()))
        rows.append(("registry", f"{told}; registered is not yet replicated"))
    if t.healed_drops:
        rows.append(("healed", f"{number(t.healed_drops)} never announced but registered by another path: no gaps"))
    rows.append(("drop rate", _drop_rate(t)))
    if t.backfilled or (report.kind == "cutover" and t.gaps.count):
        rows.append(("backfilled", f"{number(t.backfilled)} inserted, {number(t.remaining)} still missing"))
    rows += [("note", note) for note in t.notes]
    yield from columns(rows)


def _window(t: TypeReport) -> str:
    w = t.window
    how = f"{STRATEGIES.get(w.strategy, w.strategy)} ({w.strategy})"
    if w.evidence == "sweep":
        return f"every key, {EVIDENCE['sweep']}; {how}"
    if w.since is None:
        return f"everything; {how}"
    until = f" and before {moment(w.until)}" if w.until else ""
    return f"created at or after {moment(w.since)}{until}, {EVIDENCE.get(w.evidence, w.evidence)}; {how}"


def _found(title: str, count: int, by_class: dict[str, int], words: dict[str, str]) -> list[tuple[str, str]]:
    if not count:
        return [(title, "none")] if title == "gaps" else []
    lines = [f"{number(n)} {name}: {words.get(name, '')}" for name, n in _largest(by_class)]
    return [(title if i == 0 else "", line) for i, line in enumerate(lines or [number(count)])]


def _keys(keys: list[str], count: int) -> list[tuple[str, str]]:
    if not keys:
        return []
    more = f" … and {number(count - len(keys[:SHOWN]))} more" if count > len(keys[:SHOWN]) else ""
    return [("keys", ", ".join(keys[:SHOWN]) + more)]


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _drop_rate(t: TypeReport) -> str:
    r = t.drop_rate
    why = f"; incomplete: {'; '.join(dict.fromkeys(map(_reason, r.incomplete)))}" if r.incomplete else ""
    why += f"; leaves out: {'; '.join(r.left_out)}" if r.left_out else ""
    if SWEEP_TELLS_NONE in r.incomplete:
        return f"not told: {SWEEP_TELLS_NONE}"
    if not r.of:
        return f"unknown: the log covers no creation of this window{why}"
    return (
        f"{number(r.dropped)} of {counted(r.of, 'covered creation')} never announced: {share(r.dropped / r.of)}"
        f" (95 % interval {share(r.low)} to {share(r.high)}){why}"
    )


def withholding(report: Report) -> list[str]:
    """The failed proofs that stand between us and a verdict; the others withhold the drop rate alone."""
    explains = set() if report.claims.deletes != "not asked" else set(ABOUT_THE_LOG)
    if report.kind == "gaps":
        explains.discard("log_drained")  # beside live writers no row is judged before the log has passed it
    names = [proof.name for proof in report.proofs if proof.held is False and proof.name not in explains]
    return list(dict.fromkeys(names))


def _reason(text: str) -> str:
    """A failed proof by its name alone: what it saw stands among the failed proofs."""
    name, _, _ = text.partition(":")
    return f"{name} failed" if name in ABOUT_THE_LOG else text


def _proofs(report: Report, colour: bool, *, failed: bool) -> Iterator[str]:
    """Failed ones, or the others. What was seen alike for several data types, or not asked for one reason, is told once."""
    told: dict[tuple[str, str, str, str | None], list[str]] = {}
    unasked: dict[str, dict[str, None]] = {}
    for proof in sorted(report.proofs, key=lambda p: p.held is None):
        if (proof.held is False) is not failed:
            continue
        if proof.held is None:
            unasked.setdefault(proof.seen, {})[proof.name] = None
            continue
        key = (_HELD[proof.held], proof.name, proof.seen, proof.try_)
        told.setdefault(key, []).extend([proof.data_type] if proof.data_type else [])
    for (held, name, seen, remedy), types in told.items():
        about = f" ({', '.join(types)})" if types and len(types) < len(report.data_types) else ""
        first, *rest = wrapped(f"{name}{about}: {seen}", first=f"  {held:<9}  ", rest=" " * 13)
        yield first.replace("FAILED", paint("FAILED", "red", on=colour), 1) if held == "FAILED" else first
        yield from rest
        if remedy:
            yield from wrapped(remedy, first=f"{' ' * 13}try: ")
    for seen, names in unasked.items():
        why = seen.removeprefix("not asked: ").removeprefix("asked ")
        yield from wrapped(f"{', '.join(names)}: {why}", first="  not asked  ")


def _written(report: Report) -> Iterator[str]:
    filled = [(t.name, t.backfilled) for t in report.data_types if t.backfilled]
    if not filled:
        if report.kind == "cutover":
            yield "  no registry row; this run is recorded in the ledger"
        return
    for name, count in filled:
        yield from wrapped(f"{name}: {counted(count, 'registry row')} inserted", first="  ")
    if report.plan:
        yield from wrapped(f"by plan {report.plan}", first="  ")
