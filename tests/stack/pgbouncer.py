"""PgBouncer, in transaction mode unless told otherwise, before a PostgreSQL of the stand.

In transaction mode every transaction may run in another server session.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg

from tests.stack.postgres import SUPERUSER, UNPRIVILEGED, Server
from tests.stack.processes import LOOPBACK, MissingPartError, Part, Process, free_port

SETTINGS = """
[databases]
* = host={host} port={to}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
min_pool_size = 0
query_wait_timeout = {wait}
server_lifetime = 3600
"""


class PgBouncer(Part):
    """Hands out at most `size` server sessions a database, each for one transaction; who waits for one for more than `wait`
    seconds is sent away."""

    def __init__(self, folder: Path, server: Server, *, size: int = 12, mode: str = "transaction", wait: int = 120) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        users, settings = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{SUPERUSER}" ""\n')
        settings.write_text(
            SETTINGS.format(host=LOOPBACK, to=server.port, port=self.port, users=users, size=size, mode=mode, wait=wait)
        )
        root = os.geteuid() == 0  # which it refuses
        self.process = Process(
            "PgBouncer", [binary(), str(settings)], log=folder / "pgbouncer.log", run_as=UNPRIVILEGED if root else None
        )

    def dsn(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{database}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True


def binary() -> str:
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise MissingPartError("PgBouncer", "no `pgbouncer` on the PATH (Debian's package of that name)")
    return found
