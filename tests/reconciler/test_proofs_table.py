"""One table, proofs × claims: what each proof takes away where it failed or was not asked, and what it leaves.

Two data types are judged by the report itself; `jobs` is struck, `lfs` is its neighbour. The same table stands in
docs/report.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler import outcome
from reconciler.classify import Classes
from reconciler.compare import Differences
from reconciler.coverage import Coverage
from reconciler.judge import NO_DATES, Candidates, Judged
from reconciler.look import Sight
from reconciler.orphans import OrphansFound
from reconciler.outcome import TypeOutcome
from reconciler.proofs import ORDER, Shown, judge
from schemas.keys import key_type
from schemas.verdict import Proof, Verdict
from tests.reconciler.test_proofs_unit import AT, BEHIND, HOLE, OPEN, _fence, a_run, log_of

PAGE = Path(__file__).parents[2] / "docs" / "report.md"
BEGIN, END = (f"<!-- held by tests/reconciler/test_proofs_table.py: {word} -->" for word in ("begin", "end"))
HEAD = "| proof | what became of it | `creates` | `deletes` | drop rate | other data types |\n|---|---|---|---|---|---|"

INTS = key_type("int")
Change = Callable[[Shown], object]


@dataclass(frozen=True)
class Case:
    """One way in which one proof does not hold. `told`: as the docs say it."""

    proof: str
    told: str
    change: Change
    held: bool | None = False
    kind: str = "cutover"


def _put(target: object, values: dict[str, object]) -> None:
    for name, value in values.items():
        setattr(target, name, value)


def _set(**values: object) -> Change:
    return lambda shown: _put(shown, values)


def _type(**values: object) -> Change:
    return lambda shown: _put(shown.types["jobs"], values)


def _needles(**values: object) -> Change:
    return lambda shown: _put(shown.types["jobs"].needles, values)


def _log(**values: object) -> Change:
    return lambda shown: setattr(shown, "log", log_of(shown, **values))


def _copy(fault: str | None) -> Change:
    def change(shown: Shown) -> None:
        shown.copied = True
        shown.types["lfs"].copy_seen = "every row of the origin is in the copy"
        shown.types["jobs"].copy_fault = fault

    return change


WITHOUT_LOG = _set(without_log=True, log=None)
NO_ANSWER = _set(log=None)
FAILED, NOT_ASKED = "failed", "not asked"
CASES = [
    Case("identity", FAILED, lambda s: setattr(s.met[0], "contradiction", "another server")),
    Case("identity", "failed: the newest creations are no rows, older ones are", _needles(latest=20, latest_found=0)),
    Case("identity", NOT_ASKED, lambda s: s.met.pop()),
    Case("earlier_writers_ended", FAILED, _set(fence=_fence(OPEN))),
    Case("earlier_writers_ended", "not asked by a cutover", _set(fence=None)),
    Case("earlier_writers_ended", "not asked: `gaps`, `sweep`", _set(fence=None, reread_at=None), None, "gaps"),
    Case("snapshot", FAILED, _set(snapshot_faults=["replay behind"])),
    Case("snapshot", NOT_ASKED, _set(snapshots=[])),
    Case("snapshot", "failed: a copy lacks rows of its origin", _copy("3 rows are not in the copy")),
    Case("snapshot", "not asked: the copy was not compared", _copy(None)),
    Case("visible", FAILED, _type(hidden=["a policy hides rows"])),
    Case("visible", NOT_ASKED, _type(visible=[])),
    Case("window", FAILED, _type(window_fault="no sweep")),
    Case("window", NOT_ASKED, _type(plan=None)),
    Case("control", "failed: a needle is lost", _needles(lost=["7"])),
    Case("control", "failed: no row, and `empty: refused`", _type(rows=0)),
    Case("control", "failed: none of the newest creations is a row", _needles(newest_found=0)),
    Case("control", NOT_ASKED, _needles(pushed=0)),
    Case("reread", "failed: rows are left", _type(remaining=2)),
    Case("reread", "not asked by a cutover", _type(remaining=None)),
    Case("reread", "not asked: `gaps`, `sweep`", _set(fence=None, reread_at=None), None, "gaps"),
    Case("log_identity", FAILED, _log(identity_held=False)),
    Case("log_identity", "not asked: `--without-log`", WITHOUT_LOG, None),
    Case("log_drained", "failed: not read to the end", _log(partitions=BEHIND)),
    Case("log_drained", "failed: the pipeline is short of the fence", _set(pipeline_fault="short of the fence")),
    Case("log_drained", "failed: the table is not published", _type(unannounced="no publication has it")),
    Case("log_drained", "failed: the log cannot be reached", _set(log=None, log_fault="broker away")),
    Case("log_drained", "not asked: `--without-log`", WITHOUT_LOG, None),
    Case("decoded", FAILED, _log(quarantined={"t.jobs": 1})),
    Case("decoded", "not asked: the log was not read", NO_ANSWER),
    Case("decoded", "not asked: `--without-log`", WITHOUT_LOG, None),
    Case("log_unbroken", FAILED, _log(holes=(HOLE,))),
    Case("log_unbroken", "not asked: the log was not read", NO_ANSWER),
    Case("log_unbroken", "not asked: `--without-log`", WITHOUT_LOG, None),
    Case("world", FAILED, _set(moved=["another table"], fence=None, reread_at=None), kind="gaps"),
    Case("world", "not asked: all but `recheck`", _set(moved=None), None),
]


def judged(shown: Shown) -> tuple[list[Proof], Any]:
    """The run's proofs and its report, of compares in which nothing was missing."""
    proofs = judge(shown)
    types = [_outcome(shown, name) for name in shown.types]
    return proofs, outcome.report(shown, proofs, types, run="r", started_at=AT, finished_at=AT)


def _outcome(shown: Shown, name: str) -> TypeOutcome:
    empty, told = INTS.empty(), shown.types[name]
    coverage = replace(Coverage.nothing(), start_us=0)
    differences = Differences(
        rows=told.rows, announced=told.rows, registered=told.rows, recent=told.rows, announced_only=0,
        missing=empty, unheard=empty, lacking=empty,
    )  # fmt: skip
    window = a_run().types[name].plan
    assert window is not None
    sight = Sight(
        plan=window,
        differences=differences,
        candidates=Candidates(missing=empty, unheard=empty, stale=empty),
        unaccepted=empty,
        coverage=coverage,
    )
    classes = Classes(gaps={}, healed=empty)
    return TypeOutcome(
        subject=cast(Any, SimpleNamespace(name=name, key_type=INTS)),
        sight=sight,
        judged=Judged(classes=classes, in_flight=empty, dates=NO_DATES, located={}, places=[], coverage=coverage),
        orphans=OrphansFound(by_class={}, in_flight=empty),
        remaining=told.remaining or 0,
    )


def answers(shown: Shown, name: str) -> list[str]:
    """What one data type is told on the three claims, by a report on it alone."""
    proofs = judge(shown)
    told = outcome.report(shown, proofs, [_outcome(shown, name)], run="r", started_at=AT, finished_at=AT)
    return [told.claims.creates, told.claims.deletes, told.claims.drop_rate]


def struck(case: Case) -> Shown:
    shown = a_run(case.kind, deletes=True)
    case.change(shown)
    return shown


FINE = [Verdict.CLEAR.value, Verdict.CLEAR.value, "complete"]


def row(case: Case) -> str:
    mine, neighbour = (answers(struck(case), name) for name in ("jobs", "lfs"))
    words = [word if word == fine else f"**{word}**" for word, fine in zip(mine, FINE, strict=True)]
    others = "keep theirs" if neighbour == FINE else "the same" if neighbour == mine else "**mixed**"
    return f"| `{case.proof}` | {case.told} | {' | '.join(words)} | {others if mine != FINE else 'keep theirs'} |"


def table() -> str:
    return "\n".join([HEAD, *(row(case) for case in CASES)])


def names(cases: Iterator[Case]) -> set[str]:
    return {case.proof for case in cases}


# -- the test ---------------------------------------------------------------------------------------------------------


def test_a_run_that_showed_everything_keeps_every_claim() -> None:
    """Else a claim that is withheld below may be withheld for another reason."""
    for kind in ("cutover", "gaps", "sweep"):
        shown = a_run(kind, deletes=True)
        wanted = FINE if kind != "sweep" else [*FINE[:2], "incomplete"]
        assert [answers(shown, name) for name in ("jobs", "lfs")] == [wanted, wanted], kind


def test_every_proof_stands_in_the_table_failed_and_not_asked() -> None:
    assert names(c for c in CASES if FAILED in c.told) == names(c for c in CASES if NOT_ASKED in c.told) == set(ORDER)
    assert [*dict.fromkeys(case.proof for case in CASES)] == list(ORDER)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.proof}: {case.told}")
def test_a_claim_is_withheld_exactly_where_a_proof_that_it_needs_does_not_hold(case: Case) -> None:
    shown = struck(case)
    mine = [p for p in judge(shown) if p.name == case.proof and p.data_type in (None, "jobs")]
    # Of a copy the proof speaks twice, of the snapshots and of each data type: one that does not hold is enough.
    assert case.held in {p.held for p in mine} if mine else case.held is None
    proofs, told = judged(shown)
    failing = {p.name for p in proofs if p.held is False}
    expected = {case.proof} if case.held is False else set()
    log = {"log_identity", "log_drained", "decoded", "log_unbroken"}
    assert failing - (log if shown.log is None else set()) == expected - (log if shown.log is None else set())
    assert (told.verdict == Verdict.CLEAR) == (set(answers(shown, "jobs")[:2] + answers(shown, "lfs")[:2]) == {"CLEAR"})


def test_no_proof_that_does_not_hold_leaves_a_clear_that_the_docs_do_not_tell() -> None:
    page = PAGE.read_text(encoding="utf-8")
    told = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert told == table(), f"docs/report.md should say:\n{table()}"
