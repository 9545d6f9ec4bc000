"""A command that is forked says and does what one started from nothing does: else most tests here would show nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end import forked, stand_ins
from tests.end_to_end.installation import item


def written(folder: Path, dsn: str) -> str:
    values: dict[str, Any] = {
        "source": {"dsn": dsn},
        "registry": {"dsn": dsn},
        "event_log": {"kafka": {"bootstrap.servers": "127.0.0.1:9", "group.id": "g"}},
        "data_types": {"item": item("topic")},
    }
    (folder / "fencepost.yaml").write_text(yaml.safe_dump(values))
    return "fencepost.yaml"  # so the folder counts too


def test_a_forked_command_does_what_one_started_from_nothing_does(tmp_path: Path) -> None:
    config = written(tmp_path, "postgresql://nobody@127.0.0.1:9/none")
    for line, code, word in (
        (["--version"], 0, "fencepost"),
        (["gap"], 2, "try: fencepost gaps"),
        (["ledger", "ddl", "--config", config, "--json"], 0, "elsewhere"),  # as the environment says
        (["alerts", "rules", "--config", config], 0, "groups:"),
        (["runs", "--config", config], 1, "127.0.0.1:9"),
    ):
        environment = os.environ | {"FENCEPOST_LEDGER__SCHEMA": "elsewhere"}
        ours, plain = (
            run(line, folder=tmp_path, environment=environment, within_s=60) for run in (forked.run, forked.from_nothing)
        )
        assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)
        assert ours.returncode == code, ours
        assert word in ours.stdout + ours.stderr, ours


def test_a_forked_command_that_hangs_is_ended(tmp_path: Path) -> None:
    with stand_ins.silent() as port:
        config = written(tmp_path, f"postgresql://nobody@127.0.0.1:{port}/none")
        with pytest.raises(subprocess.TimeoutExpired):
            forked.run(["runs", "--config", config], folder=tmp_path, environment=os.environ, within_s=0.5)
