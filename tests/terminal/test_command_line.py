"""What a stranger types, and what the front door makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import fencepost
from schemas.errors import SettingsError
from terminal.options import Common

COMMANDS = [command.path for command in fencepost.COMMANDS]


def test_common_options_may_stand_before_or_after_the_command() -> None:
    before = fencepost.LINE.read(["--json", "--config", "x.yaml", "--quiet", "gaps", "--since", "72h"])
    after = fencepost.LINE.read(["gaps", "--since", "72h", "--json", "--config", "x.yaml", "--quiet"])
    mixed = fencepost.LINE.read(["--json", "gaps", "--config=x.yaml", "--since=72h", "--quiet"])
    assert before == after == mixed
    assert before.common == Common(config=Path("x.yaml"), json=True, quiet=True)
    assert before.own == {"since": "72h"}


def test_common_options_may_stand_between_a_group_and_its_command() -> None:
    asked = fencepost.LINE.read(["quarantine", "--json", "list"])
    assert (asked.command.path, asked.common.json) == (("quarantine", "list"), True)


def test_a_type_may_be_given_several_times() -> None:
    assert fencepost.LINE.read(["gaps", "--type", "a", "--type", "b"]).own == {"types": ["a", "b"]}


def test_the_last_config_wins() -> None:
    assert fencepost.LINE.read(["--config", "a", "runs", "--config", "b"]).common.config == Path("b")


@pytest.mark.parametrize(
    ("line", "word", "hint"),
    [
        (["gasp"], "'gasp'", "gaps"),
        (["gaps", "--sinc", "3h"], "--sinc", "--since"),
        (["gaps", "--since"], "--since", "--help"),
        (["gaps", "yesterday"], "yesterday", "--help"),
        (["gaps", "--dry-run"], "--dry-run", "--help"),
        (["cutover", "--max-backfill", "-1"], "--max-backfill", "--help"),
        (["cutover", "--max-backfill", "many"], "'many'", "--help"),
        (["cutover", "--max-backfill", "٣"], "--max-backfill", "--help"),
        (["recheck"], "RUN", "--help"),
        (["quarantine", "shw", "3"], "'shw'", "show"),
        (["quarantine", "resolve"], "ID", "--help"),
        (["ledger", "upgrade", "now"], "now", "--help"),
        (["console"], "'console'", "--help"),
    ],
)
def test_a_line_that_cannot_be_understood_is_told_with_what_was_meant(line: list[str], word: str, hint: str) -> None:
    with pytest.raises(SettingsError) as told:
        fencepost.LINE.read(line)
    assert word in str(told.value)
    assert hint in (told.value.hint or "")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["quarantine", "show", "x"], "ID: 'x' names neither a record"),
        (["recheck"], "the following arguments are required: RUN"),
        (["cutover", "--plan", "zzz"], "--plan: 'zzz' is no plan's hash"),
        (["cutover", "--plan", ""], "--plan: '' is no plan's hash"),
        (["gaps", "--report", ""], "--report: the name of the folder is empty"),
    ],
)
def test_a_value_that_means_nothing_is_refused_before_anything_is_asked(line: list[str], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        fencepost.LINE.read(line)
    assert str(refused.value).startswith(told)


def test_no_option_may_be_abbreviated() -> None:
    """`--max` today would be ambiguous tomorrow."""
    with pytest.raises(SettingsError, match="no option --max"):
        fencepost.LINE.read(["cutover", "--max", "3"])


@pytest.mark.parametrize("line", [[], ["quarantine"], ["ledger"]])
def test_no_command_shows_the_help_on_stderr_and_exits_2(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert fencepost.run_command(line) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "commands:" in err


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert fencepost.run_command([*path, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"usage: fencepost {' '.join(path)} ")
    assert not [line for line in out.splitlines() if len(line) > 100]


def test_the_help_lists_every_command_in_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert fencepost.run_command(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in {path[0] for path in COMMANDS}:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.rstrip().endswith((".", "?"))
        assert len(line) <= 80


def test_a_one_line_help_fits_its_line() -> None:
    for command in fencepost.COMMANDS:
        short, _ = command.help
        assert len(short) <= 66, short


def test_the_version_is_that_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    from schemas.verdict import VERSION

    assert fencepost.run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"fencepost {VERSION}\n"


def test_settings_are_looked_for_here_and_then_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FENCEPOST_CONFIG", raising=False)
    with pytest.raises(SettingsError, match="no settings file"):
        Common().settings_file()
    monkeypatch.setenv("FENCEPOST_CONFIG", "/elsewhere/f.yaml")
    assert Common().settings_file() == Path("/elsewhere/f.yaml")
    (tmp_path / "fencepost.yaml").write_text("")
    assert Common().settings_file() == Path("fencepost.yaml")
    assert Common(config=Path("named")).settings_file() == Path("named")
