"""What was measured on: processor, memory, system, versions, date. No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.stand import majors
from tests.stack.kafka import VERSION
from tests.stack.postgres import binaries

PACKAGES = (
    "confluent-kafka", "fastavro", "msgspec", "numpy", "psycopg", "pyroaring", "sqlalchemy", "pydantic", "fencepost",
)  # fmt: skip


def machine() -> dict[str, Any]:
    memory = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) / (1 << 20)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
        "servers": "client, broker and databases on the same cores",
        "versions": {name: version(name) for name in PACKAGES} | {"kafka": VERSION} | _databases(),
    }


def load() -> float:
    """Runnable processes over the last minute; what is measured is part of it."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _databases() -> dict[str, str]:
    found = {}
    for major in majors((18, 16, 15)):
        told = subprocess.run([str(binaries(major) / "postgres"), "--version"], capture_output=True, text=True, check=True)
        found[f"postgresql-{major}"] = told.stdout.split()[2]
    return found
