"""What an audit found, as `runs` and `report` tell it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from reconciler.history import State
from reconciler.recall import Past
from reconciler.report.past import listed, without_verdict

AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RUN = "01JDQ0000000000000000000ZZ"


def audit(**more: object) -> Past:
    keys = [{"key": str(4711 + n), "created_at": f"2026-11-01T11:{n:02}:00Z"} for n in range(30)]
    findings = [
        {"class": "dropped_create", "cause": "never_announced", "count": 1234, "keys": keys},
        {"class": "healed_drop", "cause": "never_announced", "count": 1, "keys": [{"key": "9", "created_at": None}]},
    ]
    told = {"kind": "audit", "data_type": "job_artifact", "at": "2026-11-01T12:00:00Z", "findings": findings, **more}
    return Past(
        run=RUN,
        kind="audit",
        state=State.FINISHED,
        started_at=AT,
        finished_at=AT + timedelta(seconds=1),
        verdict=None,
        exit_code=0,
        note=None,
        number=1,
        digest=None,
        text=json.dumps(told),
    )


def test_a_find_of_the_audit_is_listed_with_its_data_type_and_counts() -> None:
    assert "1.0 s audit job_artifact: 1,234 dropped_create, 1 healed_drop" in " ".join(listed([audit()], AT).split())


def test_a_find_of_the_audit_is_told_in_words() -> None:
    told = without_verdict(audit(late_by_s=90.0), AT)
    assert "Found at 2026-11-01 12:00:00 UTC, of job_artifact:" in told
    assert "1,234 dropped_create: announced nowhere, registered nowhere (never_announced)" in told
    assert "4711, 4712" in told
    assert "and 1,214 more" in told
    assert "created from 2026-11-01 11:00:00 UTC to 2026-11-01 11:29:00 UTC, as far as they are listed" in told
    assert "1 healed_drop: never announced, registered by another path: no gap (never_announced)" in told
    assert "came up to 1 min 30 s late" in told
    assert told.endswith(f"Every key: fencepost report {RUN} --csv\n")
    assert "{" not in told
