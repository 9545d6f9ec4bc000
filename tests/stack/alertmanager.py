"""Alertmanager, from Debian's package `prometheus-alertmanager`: one server on a free port, no cluster."""

from __future__ import annotations

import http
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.stack.processes import LOOPBACK, MissingPartError, Part, Process, free_port

VERSION = "0.25.0"


def binary() -> str:
    """Debian calls it otherwise than its makers. Raises MissingPartError."""
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if found is None:
        raise MissingPartError("Alertmanager", "no `prometheus-alertmanager` on the PATH (Debian: make parts, as root)")
    return found


class Alertmanager(Part):
    """Runs with the given settings, as its file has them."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        self.process = Process(
            "Alertmanager",
            [
                binary(),
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
                "--log.level=warn",
            ],
            log=folder / "alertmanager.log",
        )

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=2) as reply:
            return bool(reply.status == http.HTTPStatus.OK)


def amtool() -> str:
    """The tool that comes with it. Raises MissingPartError."""
    found = shutil.which("amtool")
    if found is None:
        raise MissingPartError("Alertmanager", "no `amtool` on the PATH (Debian: make parts, as root)")
    return found


def refused(folder: Path, config: str) -> str:
    """Why Alertmanager refuses this configuration; empty where it takes it."""
    path = folder / "alertmanager.yml"
    path.write_text(config)
    done = subprocess.run([amtool(), "check-config", str(path)], capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr
