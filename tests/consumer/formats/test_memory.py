"""Bombs burst nothing: a process with little memory reads past them, and reads what stands beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.formats import paths
from consumer.formats.contract import MAX_VALUES
from schemas.errors import BadRecord
from tests.consumer.formats.bombs import ALLOWED

#: Bombs that are no lie, only large: an honest field, or an event of another kind.
HARMLESS = {"avro": 3, "json": 1}


@pytest.mark.parametrize("form", HARMLESS)
def test_bombs_pass_in_bounded_memory_and_their_neighbours_are_read(form: str) -> None:
    """Failure modes 88, S1, S2 and S3."""
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-m", "tests.consumer.formats.bombs", form],
        cwd=root, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    harmless = told["bombs"] - told["refused"]
    assert harmless == HARMLESS[form]
    assert 0 <= told["events"] - 2 * told["bombs"] <= harmless
    assert told["grown"] < ALLOWED


def naive(data: bytes) -> tuple[int, int]:
    """How deep brackets nest outside strings, and how many signs begin or part values there."""
    inside = escaped = False
    level = deepest = signs = 0
    for sign in data.decode():
        if inside:
            inside, escaped = escaped or sign != '"', sign == "\\" and not escaped
        elif sign == '"':
            inside = True
        else:
            level += (sign in "[{") - (sign in "]}")
            deepest, signs = max(deepest, level), signs + (sign in ",[{")
    return deepest, signs


@given(st.text('"\\[]{}a,', max_size=30).filter(lambda text: "\\" not in text.split('"')[0]), st.integers(1, 9))
def test_what_stands_in_strings_is_no_bracket_wherever_a_block_ends(text: str, block: int) -> None:
    data = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_BLOCK", block)
        patch.setattr(paths, "MAX_VALUES", 0)
        outside = b"".join(bytes(signs) for signs in paths._outside_strings(data))
        if outside.count(b"\\") == 0:  # outside of strings it is an error, which the parser finds
            assert (paths.depth(data), paths.values(data) - 1) == naive(data)


def test_json_that_unfolds_to_too_many_values_is_refused_and_just_as_many_are_read() -> None:
    wanted = frozenset({"id"})
    for count, fits in ((MAX_VALUES - 10, True), (MAX_VALUES + 10, False)):
        data = b'{"id":1,"x":[' + b",".join([b"7"] * count) + b"]}"
        if fits:
            assert len(paths.parse_json(data, wanted)["x"]) == count
        else:
            with pytest.raises(BadRecord, match="more than 200000 values"):
                paths.parse_json(data, wanted)
    assert paths.parse_json(b'{"id":"' + b"," * 300_000 + b'"}', wanted)
