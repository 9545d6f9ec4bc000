"""`--report DIR`: whole files or none, one run's files only, memory that does not grow."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.report import files
from schemas.errors import FencepostError, SettingsError
from tests.reports import data_type, report

BOTH = report(data_types=[data_type("job"), data_type("upload")])


def line(name: str, key: object) -> dict[str, Any]:
    return {
        "data_type": name,
        "key": str(key),
        "class": "dropped_create",
        "cause": "never_announced",
        "created_at": None,
        "evidence": {"topics": ["é"]},
    }


def test_every_gap_is_a_line_under_its_data_type(tmp_path: Path) -> None:
    files.write(tmp_path / "r", BOTH, [line("job", 1), line("upload", "a\nb"), line("job", 2**53 + 1)], "words\n")
    told = [json.loads(text) for text in (tmp_path / "r/job/gaps.jsonl").read_text().splitlines()]
    assert [gap["key"] for gap in told] == ["1", "9007199254740993"]
    assert json.loads((tmp_path / "r/upload/gaps.jsonl").read_text())["key"] == "a\nb"
    assert (tmp_path / "r/report.txt").read_text() == "words\n"
    assert (tmp_path / "r/report.json").read_text() == BOTH.json_text() + "\n"
    assert not list(tmp_path.rglob("*.part"))


def test_a_data_type_without_gaps_has_an_empty_file(tmp_path: Path) -> None:
    files.write(tmp_path, BOTH, [], "")
    assert (tmp_path / "job/gaps.jsonl").read_text() == (tmp_path / "upload/gaps.jsonl").read_text() == ""


def test_a_report_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("stays")
    files.write(tmp_path, BOTH, [line("upload", 1)], "")
    files.write(tmp_path, report(data_types=[data_type("job")]), [line("job", 2)], "")
    assert [path.parent.name for path in tmp_path.rglob("gaps.jsonl")] == ["job"]
    assert (tmp_path / "mine.txt").read_text() == "stays"


def test_a_report_json_that_is_not_ours_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "gaps.jsonl").write_text("stays")
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"data_types": [{"name": "../outside"}, {"name": ".."}, {}]}))
    files.write(folder, BOTH, [], "")
    assert (outside / "gaps.jsonl").read_text() == "stays"


def test_when_writing_breaks_off_no_file_pretends_to_be_whole(tmp_path: Path) -> None:
    files.write(tmp_path, BOTH, [line("job", 1)], "old")

    def broken() -> Iterator[dict[str, Any]]:
        yield line("job", 2)
        raise OSError(28, "No space left on device")

    with pytest.raises(FencepostError, match="no space left on device") as told:
        files.write(tmp_path, BOTH, broken(), "new")
    assert "fencepost report" in (told.value.hint or "")
    assert not (tmp_path / "report.json").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot write a report into"):
        files.prepare(tmp_path / "file" / "r")
    files.prepare(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_memory_does_not_grow_with_the_gaps(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        files.write(tmp_path, BOTH, (line("job", n) for n in range(count)), "")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(20_000) < 2 * peak(200) + 100_000
