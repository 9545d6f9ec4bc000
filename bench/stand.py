"""The servers that are measured against: those of the tests, PostgreSQL with the memory that a server has.

Started once for all benchmarks, when first asked for, in one folder that goes away at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.stack.kafka import Kafka
from tests.stack.postgres import Major, Postgres, binaries
from tests.stack.processes import MissingPartError

#: As in `reference/performance.md`, with less memory, so that two servers and Kafka fit a laptop.
POSTGRES = {
    "shared_buffers": "1GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",  # each world is vacuumed once; a vacuum in the middle would be somebody else's load
    "jit": "on",
}


class Stand:
    """Real servers on demand. `warming` is how many rounds go before those that count, to warm caches."""

    def __init__(self, *, warming: int = 1) -> None:
        self.warming = warming
        self._stack = ExitStack()
        self._kafka: Kafka | None = None
        self._postgres: dict[Major, Postgres] = {}
        self._number = 0
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="fencepost-bench-"))
        self.folder.chmod(0o711)
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def kafka(self) -> Kafka:
        if self._kafka is None:
            # Retention by time stands at a week; the load is never larger than the disk of a laptop.
            self._kafka = self._stack.enter_context(Kafka(self.folder / "kafka", heap="1g"))
        return self._kafka

    def postgres(self, major: Major = 18) -> Postgres:
        if major not in self._postgres:
            server = Postgres(self.folder / f"postgres{major}", major, settings=POSTGRES)
            self._postgres[major] = self._stack.enter_context(server)
        return self._postgres[major]

    def psql(self, major: Major) -> Path:
        """The psql of the server's own version."""
        return binaries(major) / "psql"

    def new(self, word: str) -> str:
        """A name nobody has used in this run."""
        self._number += 1
        return f"bench_{word}_{self._number}"

    def room(self, word: str) -> Path:
        """A folder of one benchmark's own."""
        folder = self.folder / self.new(word)
        folder.mkdir(mode=0o755)
        return folder


def majors(wanted: tuple[Major, ...]) -> tuple[Major, ...]:
    """Those of the versions that this machine has."""

    def there(major: Major) -> bool:
        try:
            binaries(major)
        except MissingPartError:
            return False
        return True

    return tuple(major for major in wanted if there(major))
