"""A report as text: judged by what somebody under pressure needs to find in it."""

from __future__ import annotations

import re

import pytest

from reconciler.cli import Question
from reconciler.report.text import meaning, text, withholding
from reconciler.report.words import CAUSES, CLASSES, ORPHANS
from schemas.settings import Settings
from schemas.verdict import Cause, Claims, Found, GapClass, OrphanClass, Orphans, Proof, Report, Verdict
from tests.reports import RUN, data_type, report, reports
from tests.schemas import settings_files

ALL = reports()


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_verdict_stands_first_and_nothing_is_wider_than_a_page(name: str) -> None:
    lines = text(ALL[name], options="--since 72h --config fencepost.yaml").splitlines()
    assert lines[1].strip().startswith(str(ALL[name].verdict))
    commands = [line for line in lines if re.match(r"       fencepost ", line)]
    assert not [line for line in lines if len(line) > 100 and line not in commands]
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_colours_unless_asked_for(name: str) -> None:
    assert "\x1b" not in text(ALL[name])
    assert "\x1b[" in text(ALL[name], colour=True)


@pytest.mark.parametrize("name", ["gaps", "cannot tell", "in flight", "deletes", "dry run"])
def test_whatever_is_not_clear_says_not_to_cut_over(name: str) -> None:
    assert "Do not cut over yet." in meaning(ALL[name])


def test_a_sweep_that_inserted_all_it_found_does_not_say_that_rows_are_missing() -> None:
    told = meaning(ALL["sweep that healed"])
    assert told == (
        "110 source rows had no accepted registry row. 110 missing registry rows were inserted. Nothing that was found is open"
        " now. Whether you can cut over, `fencepost cutover` says."
    )
    assert "drop rate   not told: a sweep judges rows" in text(ALL["sweep that healed"])
    half = ALL["sweep that healed"].data_types[0].model_copy(update={"remaining": 9, "backfilled": 101})
    told = meaning(ALL["sweep that healed"].model_copy(update={"data_types": [half]}))
    assert told == (
        "9 source rows have no accepted registry row. Do not cut over yet. 101 missing registry rows were inserted."
    )


def test_clear_before_the_cutover_does_not_say_that_one_may_cut_over() -> None:
    assert "Only `fencepost cutover` can say so for good" in meaning(ALL["clear"])
    assert "You can cut over" not in text(ALL["clear"])
    assert "You can cut over" in text(ALL["cutover"])
    # Beside live writers nothing is CLEAR for good, however whole the pass was.
    assert "You can cut over" not in text(ALL["sweep"])


def test_deletes_asked_without_the_event_log_are_not_to_be_asked_the_same_way_again() -> None:
    claims = Claims(creates="CLEAR", deletes="CANNOT TELL", drop_rate="incomplete")
    silent = [Proof(name="decoded", held=None, seen="not asked: --without-log")]
    told = ALL["clear"].model_copy(update={"verdict": Verdict.CANNOT_TELL, "claims": claims, "proofs": silent})
    assert "needs the event log, which was not asked (--without-log)" in meaning(told)
    shown = text(told, options="--deletes --without-log --config here.yaml")
    assert "Run it again" not in shown
    assert "fencepost gaps --deletes --config here.yaml" in shown


def test_a_sweep_that_did_not_judge_deletes_names_no_option_that_it_does_not_take() -> None:
    assert "(not without the event log)" in text(ALL["sweep"])
    assert "(ask with --deletes)" in text(ALL["clear"])


def test_orphans_that_were_removed_are_not_to_be_handed_over_but_can_be_put_back() -> None:
    for removed in (1, 2):
        gone = Orphans(count=2, removed=removed, by_class={"dropped_delete": 2}, keys=["5", "6"])
        clear = {"gaps": Found(), "remaining": 0}
        told = ALL["sweep that found"].model_copy(update={"data_types": [data_type("upload", orphans=gone, **clear)]})
        assert ("hand them to the applier" in text(told)) == (removed == 1)
        assert f"fencepost undo {RUN}" in text(told)


def test_after_a_sweep_comes_a_cutover_that_rests_on_it_or_a_sweep_that_inserts() -> None:
    options = "--rate 50000 --config here.yaml"
    assert "fencepost cutover --since auto --config here.yaml" in text(ALL["sweep"], options=options)
    assert "fencepost sweep --backfill --config here.yaml" in text(ALL["sweep that found"], options=options)
    # A sweep of some data types leads to no write in others.
    options = "--type upload --type lfs_object --deletes --config here.yaml"
    of = "--type upload --type lfs_object --config here.yaml"
    assert f"fencepost cutover --since auto {of}" in text(ALL["sweep"], options=options)
    assert f"fencepost sweep --backfill {of}" in text(ALL["sweep that found"], options=options)


def test_every_class_and_cause_has_its_words() -> None:
    assert {*CLASSES} == {*GapClass}
    assert {*CAUSES} == {*Cause}
    assert {*ORPHANS} == {*OrphanClass}


def test_the_numbers_of_a_data_type_are_told() -> None:
    out = text(ALL["gaps"])
    for words in (
        "1,000,000    999,900     999,890   110",
        "100 dropped_create: announced nowhere",
        "10 unapplied_create: announced, but",
        "100 never_announced:",
        "1000, 1001,",
        "and 90 more",
        "110 in state 0",
        "100 of 1,000,000 covered creations never announced: 0.01 %",
        "cannot see: rows dated before",
    ):
        assert words in out


def test_failed_proofs_come_before_everything_else_with_what_to_try() -> None:
    out = text(ALL["cannot tell"])
    assert "earlier_writers_ended" in meaning(ALL["cannot tell"])
    assert out.index("pid 4711") < out.index("Data types")
    assert "try: end or commit" in out


def test_a_proof_that_saw_the_same_for_every_data_type_is_told_once() -> None:
    proofs = [Proof(name="control", data_type=name, held=True, seen="8 needles came back") for name in ("a", "b")]
    other = Proof(name="decoded", data_type="a", held=True, seen="no record is in quarantine")
    out = text(report(proofs=[*proofs, other], data_types=[data_type("a"), data_type("b")]))
    assert out.count("8 needles came back") == 1
    assert "decoded (a): no record" in out


def test_a_log_that_failed_is_no_reason_to_doubt_rows_that_were_compared() -> None:
    failed = [Proof(name=name, held=False, seen="x") for name in ("decoded", "log_unbroken", "log_drained", "snapshot")]
    assert withholding(report(kind="cutover", proofs=failed)) == ["snapshot"]
    assert withholding(report(kind="gaps", proofs=failed)) == ["log_drained", "snapshot"]
    asked = ALL["deletes"].model_copy(update={"proofs": failed})
    assert withholding(asked) == ["decoded", "log_unbroken", "log_drained", "snapshot"]


def steps(told: Report, options: str = "--since 72h --config 'my file.yaml'") -> list[str]:
    return re.findall(r"^ {7}(fencepost .*)$", text(told, options=options), re.M)


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        (
            "gaps",
            [
                "fencepost cutover --since 72h --config 'my file.yaml' --dry-run",
                "fencepost cutover --since 72h --config 'my file.yaml'",
                f"fencepost report {RUN} --csv --config 'my file.yaml'",
            ],
        ),
        ("clear", ["fencepost cutover --since 72h --config 'my file.yaml'"]),
        ("recheck", []),
        (
            "cutover",
            [f"fencepost recheck {RUN} --config 'my file.yaml'", f"fencepost undo {RUN} --config 'my file.yaml'"],
        ),
        ("in flight", ["fencepost gaps --since 72h --config 'my file.yaml' --wait 5m"]),
    ],
)
def test_what_to_do_next_is_a_command_to_paste(name: str, commands: list[str]) -> None:
    assert steps(ALL[name]) == commands


def test_a_dry_run_offers_its_own_plan() -> None:
    assert steps(ALL["dry run"], "")[0] == f"fencepost cutover --plan {ALL['dry run'].plan}"


def test_a_plan_that_the_registry_refused_is_not_offered_again() -> None:
    out = text(ALL["refused"])
    assert "--plan" not in out
    assert "The notes say what kept the missing rows from being inserted" in out
    assert steps(ALL["refused"], "")[0] == "fencepost cutover"


def test_rows_that_are_never_overwritten_are_told_with_what_helps() -> None:
    refused = data_type(gaps=Found(count=2, by_class={"unaccepted": 1, "stale_registration": 1}, by_cause={}, keys=["1"]))
    out = text(report(data_types=[refused]))
    assert "registry.accepted" in out
    assert "earlier row of the same id" in out
    assert "--dry-run" not in out


def test_names_and_keys_from_outside_cannot_repaint_the_report() -> None:
    evil = data_type("job", gaps=Found(count=1, keys=["\x1b[2J\nCLEAR"], by_class={"dropped_create": 1}))
    proof = Proof(name="identity", held=False, seen="\x1b[32mCLEAR", **{"try": "a\rb"})
    out = text(report(data_types=[evil], proofs=[proof], notes=["x\x1b[0m"]))
    assert "\x1b" not in out
    assert "\nCLEAR" not in out


def test_an_empty_report_is_still_a_report() -> None:
    assert "CANNOT TELL" in text(report(verdict=Verdict.CANNOT_TELL, proofs=[], data_types=[]))


def test_an_earlier_sweep_is_repeated_with_options_that_a_sweep_takes() -> None:
    settings = Settings.model_validate(settings_files.SMALL)
    told = ALL["sweep that found"].model_copy(
        update={"claims": Claims(creates="GAPS", deletes="CLEAR", drop_rate="incomplete")}
    )
    assert not Question.behind(told, settings).deletes
    assert Question.behind(told.model_copy(update={"kind": "gaps"}), settings).deletes
