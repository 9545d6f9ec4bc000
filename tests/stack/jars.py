"""What the Java parts need once per machine: jars, by Maven, each `pom-NAME.xml` beside this file pinning the versions.

A folder of jars is named after the hash of its pom, so a changed version never meets an old cache. What is made from the
jars (see `made_once`) is named after them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.stack.processes import MissingPartError, StandError

HERE = Path(__file__).parent
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin"
COPY = f"{PLUGIN}:3.8.1:copy-dependencies"
UNPACK = f"{PLUGIN}:2.8:unpack"  # why so old: see pom-registry.xml
JAVA_AT_LEAST = 17
DOWNLOAD_WITHIN_S = 900


def cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fencepost" / "jars"


def folder(name: str, *, goal: str = COPY) -> Path:
    """The folder with everything `pom-NAME.xml` asks for, fetched if it is not here yet."""
    pom = HERE / f"pom-{name}.xml"
    wanted = cache_folder() / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    return made_once(wanted, lambda out: _fetch(pom, out, goal))


def made_once(wanted: Path, make: Callable[[Path], None]) -> Path:
    """The folder `wanted`, made by `make` where it is not here yet, by one of several test runs at once."""
    if not wanted.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with (wanted.parent / f"{wanted.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the second waits, then finds the folder
            if not wanted.exists():
                with tempfile.TemporaryDirectory(prefix=f"{wanted.name}-", dir=wanted.parent) as part:
                    make(Path(part) / "out")
                    # Renamed only when complete: what was broken off must never pass for the whole.
                    (Path(part) / "out").rename(wanted)
    return wanted


def pinned(name: str, what: str) -> str:
    """A version out of `pom-NAME.xml`, such as `pinned("kafka", "kafka.version")`."""
    found = re.search(rf"<{re.escape(what)}>([^<$]+)</", (HERE / f"pom-{name}.xml").read_text())
    if found is None:
        raise StandError(f"pom-{name}.xml pins no {what}")
    return found[1]


@cache
def java() -> str:
    """The path of a Java that is new enough."""
    found = shutil.which("java")
    if found is None:
        raise MissingPartError(f"Java {JAVA_AT_LEAST}", "no `java` on the PATH")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA_AT_LEAST:
        raise MissingPartError(f"Java {JAVA_AT_LEAST}", f"`java -version` says {told.splitlines()[:1]}")
    return found


def class_path(name: str) -> str:
    return f"{folder(name)}/*"


def _fetch(pom: Path, out: Path, goal: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPartError("Maven", f"no `mvn` on the PATH, and the jars of {pom.name} are not in {cache_folder()}")
    _run(maven, pom, goal, out)


def _run(maven: str, pom: Path, goal: str, target: Path) -> None:
    command = [maven, "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={target}"]
    try:
        done = subprocess.run(
            [*command, "-DincludeScope=runtime"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DOWNLOAD_WITHIN_S,
            check=False,
            cwd=target.parent,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingPartError(f"jars of {pom.name}", f"Maven did not end in {DOWNLOAD_WITHIN_S} s") from error
    if done.returncode != 0 or not target.is_dir():
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise MissingPartError(f"jars of {pom.name}", f"Maven ended with {done.returncode}:\n{tail}")
