"""The report as `--json` promises it: names, shape, exactness, order of verdicts, interval."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Exit
from schemas.verdict import (
    Cause,
    Claims,
    DropRate,
    Fence,
    Found,
    GapClass,
    OrphanClass,
    Orphans,
    Proof,
    Report,
    TypeReport,
    Verdict,
    Window,
    interval,
    utc,
    worst,
)

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)

#: Design §8, to the letter. Additive changes only: a key may join, none may leave or change its kind.
PROMISED: dict[str, Any] = json.loads("""
{"fencepost": "0.1.0", "run": "01J", "kind": "cutover", "verdict": "CLEAR", "started_at": "2026-11-01T12:00:00Z",
 "finished_at": "2026-11-01T12:00:00Z", "plan": "sha256:0",
 "claims": {"creates": "CLEAR", "deletes": "not asked", "drop_rate": "complete"},
 "fence": {"pipeline": "debezium", "at": "2026-11-01T12:00:00Z", "lsn": "0/16B3748", "offsets": {"topic": {"0": 42}}},
 "proofs": [{"name": "earlier_writers_ended", "data_type": null, "held": true, "seen": "seen", "try": null}],
 "data_types": [{"name": "job_artifact", "verdict": "CLEAR",
   "window": {"strategy": "created_at_index", "since": "2026-11-01T12:00:00Z", "until": "2026-11-01T12:00:00Z",
              "evidence": "operator", "cannot_see": ["some"]},
   "rows": 1000000, "announced": 999900, "registered": 999890, "states": {"0": 110, "2": 999890},
   "gaps": {"count": 110, "by_class": {"dropped_create": 100, "unapplied_create": 10},
            "by_cause": {"never_announced": 100, "unapplied": 10}, "keys": ["9007199254740993"]},
   "in_flight": 0, "healed_drops": 0, "orphans": {"count": 0, "by_class": {}, "keys": []},
   "drop_rate": {"dropped": 100, "of": 1000000, "low": 0.00008, "high": 0.00012, "incomplete": []},
   "backfilled": 110, "remaining": 0}]}
""")


def a_report() -> Report:
    return Report(
        run="01J",
        kind="cutover",
        verdict=Verdict.CLEAR,
        started_at=AT,
        finished_at=AT,
        plan="sha256:0",
        claims=Claims(creates="CLEAR", deletes="not asked", drop_rate="complete"),
        fence=Fence(pipeline="debezium", at=AT, lsn="0/16B3748", offsets={"topic": {"0": 42}}),
        proofs=[Proof(name="earlier_writers_ended", held=True, seen="seen")],
        data_types=[
            TypeReport(
                name="job_artifact",
                verdict=Verdict.CLEAR,
                window=Window(strategy="created_at_index", since=AT, until=AT, evidence="operator", cannot_see=["some"]),
                rows=1000000,
                announced=999900,
                registered=999890,
                states={"0": 110, "2": 999890},
                gaps=Found(
                    count=110,
                    by_class={"dropped_create": 100, "unapplied_create": 10},
                    by_cause={"never_announced": 100, "unapplied": 10},
                    keys=[str(2**53 + 1)],
                ),
                orphans=Orphans(),
                drop_rate=DropRate(dropped=100, of=1000000, low=0.00008, high=0.00012),
                backfilled=110,
            )
        ],
    )


def missing(promised: Any, told: Any, place: str = "") -> list[str]:
    if isinstance(promised, dict):
        if not isinstance(told, dict):
            return [place]
        return [
            m for k, v in promised.items() for m in (missing(v, told[k], f"{place}.{k}") if k in told else [f"{place}.{k}"])
        ]
    if isinstance(promised, list):
        return [m for p, t in zip(promised, told, strict=True) for m in missing(p, t, f"{place}[]")]
    return [] if promised == told and type(promised) is type(told) else [f"{place}: {told!r}"]


def test_the_promised_json_is_told_to_the_letter() -> None:
    assert missing(PROMISED, json.loads(a_report().json_text())) == []


def test_json_text_and_plain_values_say_the_same() -> None:
    assert json.loads(a_report().json_text()) == a_report().plain()


def test_a_report_reads_back_from_its_own_json() -> None:
    assert Report.model_validate_json(a_report().json_text()) == a_report()


@pytest.mark.parametrize("held", [True, False, None])
def test_a_proof_is_held_not_held_or_not_asked(held: bool | None) -> None:
    told = json.loads(Proof(name="control", held=held, seen="seen", try_="mend it").model_dump_json(by_alias=True))
    assert told["held"] is held
    assert told["try"] == "mend it"


def test_times_are_told_in_utc_with_a_z() -> None:
    berlin = timezone(timedelta(hours=1))
    assert utc(datetime(2026, 11, 1, 13, tzinfo=berlin)) == "2026-11-01T12:00:00Z"
    with pytest.raises(ValueError, match="zone"):
        utc(datetime(2026, 11, 1, 13))  # noqa: DTZ001


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_cannot_tell_outranks_gaps_which_outrank_clear() -> None:
    for order in permutations(Verdict):
        assert worst(order) is Verdict.CANNOT_TELL
    assert worst([Verdict.CLEAR, Verdict.GAPS, Verdict.CLEAR]) is Verdict.GAPS
    assert worst([Verdict.CLEAR, Verdict.CLEAR]) is Verdict.CLEAR


def test_of_nothing_nobody_can_tell() -> None:
    assert worst([]) is Verdict.CANNOT_TELL


def test_each_verdict_has_an_exit_code_of_its_own_beside_those_of_failures() -> None:
    codes = [v.exit_code for v in Verdict]
    assert codes == [Exit.CLEAR, Exit.GAPS, Exit.CANNOT_TELL] == [0, 3, 4]
    assert not {*codes} & {Exit.FAILED, Exit.USAGE}


def test_only_where_no_registry_row_stands_may_a_backfill_close_the_gap() -> None:
    assert {c for c in GapClass if c.backfilled} == {
        GapClass.DROPPED_CREATE,
        GapClass.UNAPPLIED_CREATE,
        GapClass.UNHEARD_CREATE,
    }


def test_classes_and_causes_are_those_of_the_design() -> None:
    assert {c.value for c in OrphanClass} == {"dropped_delete", "unapplied_delete"}
    assert {c.value for c in Cause} == {
        "never_announced", "unapplied", "unread", "below_retention", "quarantined", "order_unknown", "outside_coverage",
        "unaccepted_state", "stale", "unknown",
    }  # fmt: skip


# -- interval ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dropped", "of", "low", "high"),
    [  # Wilson's score interval at 95 %, as R's prop.test(correct = FALSE) gives it
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (5, 10, 0.2365931, 0.7634069),
        (1, 100, 0.0017674, 0.0544862),
        (100, 1_000_000, 0.0000822, 0.0001216),
    ],
)
def test_the_interval_is_wilsons(dropped: int, of: int, low: float, high: float) -> None:
    assert interval(dropped, of) == pytest.approx((low, high), abs=5e-8)


def test_of_nothing_any_rate_is_possible() -> None:
    assert interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_the_interval_holds_the_rate_and_stays_between_none_and_all(dropped: int, of: int) -> None:
    dropped = min(dropped, of)
    low, high = interval(dropped, of)
    assert 0.0 <= low <= dropped / of <= high <= 1.0
    assert low < high
