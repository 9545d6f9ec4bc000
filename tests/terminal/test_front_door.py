"""The door as a whole: there at once, quiet about secrets, honest about what it could not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import fencepost
import reconciler.cli
from schemas.errors import SettingsError
from terminal import harmless
from terminal.errors import Debug

ROOT = Path(fencepost.__file__).parent
CANARY = "c4nary/p@ss w%rd"
QUOTED = "c4nary%2Fp%40ss%20w%25rd"


@pytest.fixture(autouse=True)
def as_before() -> Any:
    yield
    harmless.forget_secrets()
    Debug.on = False


def settings(**changed: Any) -> dict[str, Any]:
    """A secret in every place that may hold one; nothing of it can be reached."""
    dsn = f"postgresql://u:{QUOTED}@127.0.0.1:9/none"
    return {
        "source": {"dsn": dsn},
        "registry": {"dsn": f"host=127.0.0.1 port=9 user=u password='{CANARY}'"},
        "ledger": {"dsn": dsn},
        "event_log": {
            "kafka": {"bootstrap.servers": "127.0.0.1:9", "group.id": "g", "sasl.password": CANARY},
            "schema_registry": {"url": "http://127.0.0.1:9", "user": "u", "password": CANARY},
        },
        "alerts": {"webhook": f"http://127.0.0.1:9/{CANARY}"},
        "data_types": {
            "job": {
                "topics": ["job"],
                "format": "json",
                "event": {"key": "id"},
                "source": {"table": "public.jobs", "key": "id"},
                "registry": {"table": "public.job_registry", "key": "record_id", "insert": {"state": 0}},
            }
        },
    } | changed


def write(folder: Path, values: Any) -> str:
    path = folder / "fencepost.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return str(path)


def leaked(text: str) -> bool:
    return "c4nary" in text or "p@ss" in text


COMMANDS = [
    ["check"],
    ["gaps"],
    ["gaps", "--since", "72h", "--without-log"],
    ["cutover", "--dry-run"],
    ["recheck", "latest"],
    ["undo", "latest"],
    ["track", "--until-end"],
    ["status"],
    ["runs"],
    ["report", "latest"],
    ["quarantine", "list"],
    ["quarantine", "show", "1"],
    ["quarantine", "resolve", "1", "--accept", "gone"],
    ["ledger", "upgrade"],
]


@pytest.mark.parametrize("level", ["info", "debug"])
@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
def test_no_command_shows_a_secret_when_servers_are_away(
    line: list[str], level: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, settings(logs={"level": level}))
    code = fencepost.run_command([*line, "--config", path, "--json"])
    out, err = capfd.readouterr()
    assert code == 1, err
    assert not leaked(out + err), err
    assert ("Traceback" in err) is (level == "debug" and "fencepost: " in err)


BROKEN: dict[str, Any] = {
    "misspelt key": {"source": {"dsn": "postgresql://h/d", "pasword": CANARY}},
    "dsn without shape": {"source": {"dsn": f"postgresql://u:{CANARY}@h:port:9/x y"}},
    "dsn of words": {"source": {"dsn": f"password={CANARY} oops"}},
    "dsn of another kind": {"source": {"dsn": f"mysql://u:{CANARY}@h/d"}},
    "secret as a number's neighbour": {"registry": {"dsn": ["postgresql://", CANARY]}},
    "secret in a refused setting": {
        "event_log": {"kafka": {"bootstrap.servers": "h:1", "group.id": "g", "auto.offset.reset": CANARY}}
    },
    "url with credentials": {
        "event_log": {
            "kafka": {"bootstrap.servers": "h:1", "group.id": "g"},
            "schema_registry": {"url": f"http://u:{CANARY}@h"},
        }
    },
    "webhook of a wrong type": {"alerts": {"webhook": {"url": CANARY}}},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_no_broken_setting_shows_a_secret(change: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = fencepost.run_command(["gaps", "--config", write(tmp_path, settings(**change))])
    out, err = capfd.readouterr()
    assert code in (1, 2)
    assert not leaked(out + err), err
    assert "Traceback" not in err


@pytest.mark.parametrize("text", ["source: {dsn: 'a", f"a: {CANARY}\na: b", f"- {CANARY}", "source: !!python/name:os.system"])
def test_a_file_that_is_not_settings_exits_2(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fencepost.run_command(["gaps", "--config", write(tmp_path, text)]) == 2
    assert not leaked(capfd.readouterr().err)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_bug_that_holds_a_secret_does_not_show_it(
    level: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"could not use postgresql://u:{QUOTED}@h/d with {CANARY!r}")

    monkeypatch.setattr(reconciler.cli, "run_gaps", broken)
    code = fencepost.run_command(["gaps", "--config", write(tmp_path, settings(logs={"level": level}))])
    out, err = capfd.readouterr()
    assert (code, out) == (1, "")
    assert "RuntimeError" in err
    assert not leaked(err), err


def test_an_unset_variable_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, settings(source={"dsn": "postgresql://u:${NO_SUCH_VARIABLE}@h/d"}))
    assert fencepost.run_command(["gaps", "--config", path]) == 2
    assert "NO_SUCH_VARIABLE" in capfd.readouterr().err


@pytest.mark.parametrize("since", ["yesterday-ish", "-3h", "2020-01-01T00:00:00", "", "0s", "72", "1e9d", "9999999d"])
def test_a_window_that_means_nothing_exits_2_before_anything_is_asked(
    since: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fencepost.run_command(["gaps", f"--since={since}", "--config", write(tmp_path, settings())]) == 2
    err = capfd.readouterr().err
    assert "--since" in err
    assert "try: " in err


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (["gaps", "--wait", "soon"], "--wait"),
        (["gaps", "--type", "jb"], "'job'"),
        (["gaps", "--report", "/proc/no/report"], "/proc/no/report"),
        (["quarantine", "resolve", "1"], "--again"),
        (["quarantine", "resolve", "1", "--again", "--accept", "x"], "--again"),
    ],
)
def test_a_wrong_value_exits_2_and_says_what_would_do(
    line: list[str], word: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fencepost.run_command([*line, "--config", write(tmp_path, settings())]) == 2
    assert word in capfd.readouterr().err


def test_without_settings_the_door_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FENCEPOST_CONFIG", raising=False)
    assert fencepost.run_command(["gaps"]) == 2
    assert "--config FILE" in capfd.readouterr().err


def test_the_sql_of_the_ledger_needs_no_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fencepost.run_command(["ledger", "ddl", "--config", write(tmp_path, settings())]) == 0
    out, err = capfd.readouterr()
    assert 'CREATE SCHEMA IF NOT EXISTS "fencepost"' in out
    assert err == ""


def test_help_imports_nothing_heavy() -> None:
    """Start-up is a promise: what takes long is imported by the command that needs it."""
    code = (
        "import sys, fencepost\ntry: fencepost.main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    loaded = set(done.stderr.split())
    heavy = {"pydantic", "rich", "sqlalchemy", "psycopg", "numpy", "confluent_kafka", "yaml", "typer", "click", "alembic"}
    assert not heavy & loaded
    assert "commands:" in done.stdout


def test_sigterm_ends_a_judging_command_with_1_and_a_tracker_with_0() -> None:
    code = (
        "import sys, time, fencepost\nfrom dataclasses import replace\n"
        "def wait(*_, **__): print('ready', flush=True); time.sleep(60)\n"
        "fencepost._run = wait\nfencepost.main(sys.argv[1:])"
    )
    for command, wanted in (("gaps", 1), ("track", 0)):
        with subprocess.Popen(
            [sys.executable, "-c", code, command],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout is not None
            first = child.stdout.readline()
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=60)
        assert (first, child.returncode, err if "Traceback" in err else "") == ("ready\n", wanted, ""), err


def test_a_latin_locale_prints_utf8_json(tmp_path: Path) -> None:
    path = write(tmp_path, settings())
    done = subprocess.run(
        [sys.executable, "fencepost.py", "ledger", "ddl", "--json", "--config", path],
        capture_output=True, cwd=ROOT, env=os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout.decode())["ddl"]


def test_settings_errors_are_told_by_one_chain(capsys: pytest.CaptureFixture[str]) -> None:
    assert fencepost.run_command(["gaps", "--nonsense"]) == SettingsError.exit_code
    assert capsys.readouterr().err.splitlines() == [
        "fencepost: `fencepost gaps` has no option --nonsense",
        "  try: fencepost gaps --help",
    ]
