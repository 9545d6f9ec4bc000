"""Open the databases a check looks at, all at once, and look the declared tables up in them.

A server that does not answer is a finding, not the end: what can be looked at without it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg

from databases.connect import connect
from databases.ledger import Ledger
from reconciler.catalog import Facts, facts
from reconciler.preflight.finding import Finding, fail, failed
from schemas.data_types import DataType
from schemas.errors import FencepostError
from schemas.settings import Dsn, Settings

Connection = psycopg.Connection[Any]
#: A check is a look, not a run: no question of it may take longer.
STATEMENT_TIMEOUT = timedelta(seconds=10)
LOCK_TIMEOUT = timedelta(seconds=3)


@dataclass(kw_only=True)
class Subject:
    """One data type, and its tables as far as they were found."""

    name: str
    declared: DataType
    source: Facts | None = None
    registry: Facts | None = None
    origin: Facts | None = None  #: of a copy, the table that it was made from


@dataclass(kw_only=True)
class Ground:
    """What a check stands on. A missing connection was told as a finding when it was tried."""

    settings: Settings
    source: Connection | None = None
    registry: Connection | None = None
    fence_at: Connection | None = None  #: the primary of a standby, the origin of a copy, else the source
    ledger: Ledger | None = None  #: None: its server did not answer
    subjects: list[Subject] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)

    @property
    def servers(self) -> Iterator[tuple[str, Connection]]:
        """Every server that answered, once."""
        if self.source is not None:
            yield "the source", self.source
        if self.fence_at is not None and self.fence_at is not self.source:
            yield elsewhere(self.settings), self.fence_at
        if self.registry is not None:
            yield "the registry", self.registry


def elsewhere(settings: Settings) -> str:
    """What the fence's server is called where it is not the source itself."""
    return "the source's primary" if settings.source.kind == "standby" else "the copy's origin"


@contextmanager
def opened(settings: Settings, names: Sequence[str]) -> Iterator[Ground]:
    """Connect, look up, and close at the end. Raises SettingsError on an unknown data type, else nothing foreseen."""
    declared = settings.chosen(list(names))
    ground = Ground(settings=settings, subjects=[Subject(name=n, declared=d) for n, d in declared.items()])
    with ExitStack() as stack:
        connections = _connected(ground, stack)
        ground.source, ground.registry = connections.get("the source"), connections.get("the registry")
        ground.fence_at = connections.get(elsewhere(settings), ground.source)
        if "the ledger" in connections or (settings.ledger.dsn is None and ground.registry is not None):
            ground.ledger = Ledger.of(settings)
            stack.callback(ground.ledger.close)
        _look_up(ground)
        yield ground


def _connected(ground: Ground, stack: ExitStack) -> dict[str, Connection]:
    settings = ground.settings
    wanted: dict[str, Dsn] = {"the source": settings.source.dsn, "the registry": settings.registry.dsn}
    other = settings.source.primary if settings.source.kind == "standby" else settings.source.origin
    if settings.source.kind != "primary" and other is not None:
        wanted[elsewhere(settings)] = other
    if settings.ledger.dsn is not None:
        wanted["the ledger"] = settings.ledger.dsn
    connections = {}
    with ThreadPoolExecutor(len(wanted)) as pool:  # three servers that are away cost one timeout, not three
        for what, attempt in {what: pool.submit(_try, dsn, what) for what, dsn in wanted.items()}.items():
            answer = attempt.result()
            if isinstance(answer, FencepostError):
                ground.found.append(failed("reach", answer))
            else:
                stack.callback(answer.close)
                connections[what] = answer
    return connections


def _try(dsn: Dsn, what: str) -> Connection | FencepostError:
    try:
        return connect(dsn, what, statement_timeout=STATEMENT_TIMEOUT, lock_timeout=LOCK_TIMEOUT, read_only=True)
    except FencepostError as error:
        return error


def _look_up(ground: Ground) -> None:
    for subject in ground.subjects:
        s, r = subject.declared.source, subject.declared.registry
        if ground.source is not None:
            asked = {"created_at": s.created_at, "zone": s.zone}
            subject.source = _facts(ground, subject, ground.source, "the source", s.table, s.key, asked)
            if ground.settings.source.kind == "copy" and ground.fence_at not in (None, ground.source):
                assert ground.fence_at is not None
                subject.origin = _facts(ground, subject, ground.fence_at, "the copy's origin", s.table, s.key, asked)
        if ground.registry is not None:
            asked = {"created_at": r.created_at, "zone": r.zone or s.zone}
            subject.registry = _facts(ground, subject, ground.registry, "the registry", r.table, r.key, asked)
        if subject.source is None and subject.registry is None and ground.source and ground.registry:
            _swapped(ground, subject, ground.source, ground.registry)


def _facts(
    ground: Ground,
    subject: Subject,
    connection: Connection,
    what: str,
    table: str,
    key: Sequence[str],
    asked: Mapping[str, str | None],
) -> Facts | None:
    try:
        return facts(connection, what, table, key, created_at=asked["created_at"], zone=asked["zone"])
    except FencepostError as error:
        ground.found.append(failed("tables", error, subject.name))
        return None


def _swapped(ground: Ground, subject: Subject, source: Connection, registry: Connection) -> None:
    s, r = subject.declared.source, subject.declared.registry
    try:
        facts(source, "the source", r.table, r.key)
        facts(registry, "the registry", s.table, s.key)
    except FencepostError:
        return
    ground.found.append(
        fail(
            "identity",
            "the source has the registry's table and the registry the source's: the connection strings are swapped",
            subject.name,
            try_="exchange source.dsn and registry.dsn",
        )
    )
