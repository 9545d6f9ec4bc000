"""How findings are told: to people, to programs, and by the exit code."""

from __future__ import annotations

import json

from reconciler.preflight import as_json, as_text, exit_code
from reconciler.preflight.finding import fail, failed, ok, warn
from schemas.errors import CatalogError, Exit, UnavailableError


def test_only_a_failure_makes_the_check_fail() -> None:
    assert exit_code([]) == exit_code([ok("reach", "x"), warn("grants", "y")]) == Exit.CLEAR
    assert exit_code([ok("reach", "x"), fail("keys", "z")]) == Exit.FAILED


def test_each_finding_is_one_line_with_what_to_try_below_it() -> None:
    text = as_text([ok("reach", "there"), fail("keys", "not unique", "job", try_="an index"), warn("grants", "much")])
    assert text.splitlines() == [
        "ok    reach     there",
        "FAIL  keys      job: not unique",
        "                try: an index",
        "warn  grants    much",
        "1 ok, 1 warning, 1 failed",
    ]


def test_a_strangers_name_forges_no_line_and_drives_no_terminal() -> None:
    """Failure mode S15."""
    text = as_text([warn("tables", "odd \x1b[2Jname\n0 failed\u202e", "job")])
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_json_tells_the_same() -> None:
    told = json.loads(as_json([fail("keys", "not unique", "job", try_="an index"), ok("reach", "there")]))
    assert (told["ok"], told["warn"], told["fail"]) == (1, 0, 1)
    assert told["findings"][0] == {
        "level": "fail",
        "area": "keys",
        "data_type": "job",
        "seen": "not unique",
        "try": "an index",
    }
    assert told["findings"][1]["try"] is None


def test_an_error_is_told_with_its_causes_and_its_hint() -> None:
    error = CatalogError("cannot read it", hint="look")
    error.__cause__ = UnavailableError("the server is away")
    finding = failed("tables", error, "job")
    assert finding.seen == "cannot read it: the server is away"
    assert finding.try_ == "look"
