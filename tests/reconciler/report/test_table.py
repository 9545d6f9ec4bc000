"""CSV that no spreadsheet runs, and past runs as text."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.history import State
from reconciler.recall import Checked, FoundPart, Past
from reconciler.report import past, table
from schemas.keys import key_type

INT, TEXT = key_type("int"), key_type("text")
AT = datetime(2026, 11, 1, tzinfo=UTC)


def test_keys_of_all_types_come_out_a_line_each() -> None:
    keys = INT.of([-5, 2**53 + 1])
    part = FoundPart(data_type="job", gap_class="dropped_create", cause="never_announced", keys=keys, key_type=INT)
    assert list(table.rows([part])) == [
        "data_type,class,cause,key\n",
        "job,dropped_create,never_announced,-5\n",
        "job,dropped_create,never_announced,9007199254740993\n",
    ]


@pytest.mark.parametrize(
    "evil", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "|calc", "%0A=1", "＝1"]
)
def test_no_cell_begins_like_a_formula(evil: str) -> None:
    assert table.cell(evil).startswith("'")


@pytest.mark.parametrize("number", ["0", "-5", "9007199254740993"])
def test_whole_numbers_stay_numbers(number: str) -> None:
    assert table.cell(number) == number


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_a_line_has_four_cells_whatever_the_key(text: str) -> None:
    key = TEXT.of([TEXT.canonical(text)])
    part = FoundPart(data_type="job", gap_class="c", cause="d", keys=key, key_type=TEXT)
    _, line = table.rows([part])
    (cells,) = csv.reader([line])
    assert len(cells) == 4
    assert line.count("\n") == 1


def run(**told: object) -> Past:
    usual: dict[str, object] = {
        "run": "01JDQ0000000000000000000ZZ", "kind": "gaps", "state": State.FINISHED, "started_at": AT,
        "finished_at": AT + timedelta(seconds=4), "verdict": "GAPS", "exit_code": 3, "note": None, "number": 1,
        "digest": "sha256:x",
    }  # fmt: skip
    return Past(**(usual | told))  # type: ignore[arg-type]


def test_the_list_tells_when_what_and_how_it_ended() -> None:
    stopped = run(state=State.FAILED, verdict=None, note="the source is away\x1b[2J")
    at_work = run(state=State.RUNNING, verdict=None, finished_at=None)
    out = past.listed([run(), stopped, at_work], AT + timedelta(minutes=2))
    assert re.search(r"ZZ +2026-11-01 00:00:00 UTC +4.0 s +gaps +GAPS$", out, re.M)
    assert "failed: the source is away\\x1b[2J" in " ".join(out.split())
    assert "2 min 0 s so far" in out


def test_no_runs_yet_says_how_to_make_one() -> None:
    assert "fencepost gaps" in past.listed([], AT)


def test_a_run_at_work_may_have_been_killed_and_that_is_said() -> None:
    out = past.without_verdict(run(state=State.RUNNING, verdict=None, finished_at=None), AT)
    assert "killed before it could say" in out.replace("\n", " ")


@pytest.mark.parametrize(("intact", "word"), [(True, "INTACT"), (False, "BROKEN")])
def test_a_check_of_the_chain_gives_the_digest_to_note_elsewhere(intact: bool, word: str) -> None:
    out = past.checked(Checked(run="x", intact=intact, seen="3 runs read as written", links=3, newest="sha256:abc"))
    assert out.startswith(word)
    assert "sha256:abc" in out
