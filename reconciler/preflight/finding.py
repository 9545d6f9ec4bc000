"""What a check found: one line of it, as text for people and as JSON for programs. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import Exit, FencepostError, causes


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  #: works, but slower, less exact or with more power than needed
    FAIL = "fail"  #: a run would end with CANNOT TELL, or could not write


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. `area` comes from a closed set (`AREAS`)."""

    level: Level
    area: str
    seen: str
    data_type: str | None = None
    try_: str | None = None


#: Where a finding belongs, in the order they are looked at.
AREAS = (
    *("reach", "transport", "identity", "clocks", "ledger", "tables", "grants", "keys", "insert", "window", "pipeline"),
    *("log", "rehearsal"),
)


def ok(area: str, seen: str, data_type: str | None = None) -> Finding:
    return Finding(level=Level.OK, area=area, seen=seen, data_type=data_type)


def warn(area: str, seen: str, data_type: str | None = None, *, try_: str | None = None) -> Finding:
    return Finding(level=Level.WARN, area=area, seen=seen, data_type=data_type, try_=try_)


def fail(area: str, seen: str, data_type: str | None = None, *, try_: str | None = None) -> Finding:
    return Finding(level=Level.FAIL, area=area, seen=seen, data_type=data_type, try_=try_)


def failed(area: str, error: BaseException, data_type: str | None = None) -> Finding:
    """An error that ended one check; the others go on."""
    seen = ": ".join(str(cause) for cause in causes(error))
    return fail(area, seen, data_type, try_=error.hint if isinstance(error, FencepostError) else None)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """0 where nothing failed; a warning is no failure."""
    return Exit.FAILED if any(finding.level is Level.FAIL for finding in findings) else Exit.CLEAR


def as_json(findings: Sequence[Finding]) -> str:
    """`{"ok": …, "warn": …, "fail": …, "findings": [{"level", "area", "data_type", "seen", "try"}]}`."""
    told = [{"level": f.level.value, "area": f.area, "data_type": f.data_type, "seen": f.seen, "try": f.try_} for f in findings]
    return json.dumps({**_counts(findings), "findings": told}, ensure_ascii=False)


def as_text(findings: Sequence[Finding]) -> str:
    """Plain lines; a stranger's control characters are made harmless."""
    lines = []
    for finding in findings:
        level = "FAIL" if finding.level is Level.FAIL else finding.level.value
        subject = f"{finding.data_type}: " if finding.data_type else ""
        lines.append(f"{level:<5} {finding.area:<9} {_harmless(subject + finding.seen)}")
        if finding.try_:
            lines.append(f"{'':<15} try: {_harmless(finding.try_)}")
    counts = _counts(findings)
    warnings = "1 warning" if counts["warn"] == 1 else f"{counts['warn']} warnings"
    lines.append(f"{counts['ok']} ok, {warnings}, {counts['fail']} failed")
    return "\n".join(lines)


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    counted = Counter(finding.level for finding in findings)
    return {level.value: counted[level] for level in Level}


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
