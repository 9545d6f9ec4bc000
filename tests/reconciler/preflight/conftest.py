"""A source and a registry as they should be, settings over them, and `check` asked about what a test broke."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from reconciler.preflight import Finding, Level, run_check
from schemas.settings import Settings

AWAY = "postgresql://postgres@127.0.0.1:1/nowhere"
SOURCE = """
CREATE TABLE public.jobs (id bigint PRIMARY KEY, project_id int NOT NULL, name text, created_at timestamptz NOT NULL);
CREATE INDEX ON public.jobs (created_at);
INSERT INTO public.jobs SELECT n, n % 3, 'job', now() - n * interval '1 min' FROM generate_series(1, 500) n;
ANALYZE public.jobs"""
REGISTRY = """
CREATE TABLE public.job_registry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id bigint NOT NULL UNIQUE,
                                  state smallint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL, label text);
INSERT INTO public.job_registry (job_id, state, created_at) SELECT n, 2, now() FROM generate_series(1, 500) n;
ANALYZE public.job_registry"""
JOB = {
    "topics": ["jobs"],
    "format": "debezium-json",
    "source": {"table": "public.jobs", "key": "id", "created_at": "created_at"},
    "registry": {
        "table": "public.job_registry",
        "key": "job_id",
        "accepted": {"state": [0, 1, 2]},
        "insert": {"state": 0, "created_at": "now"},
    },
}


@dataclass
class World:
    """Two databases and the settings over them. `set` changes one setting by its path."""

    source: str
    registry: str
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = {
            "source": {"dsn": self.source},
            "registry": {"dsn": self.registry},
            "event_log": {"kafka": {"bootstrap.servers": "b:9092", "group.id": "g"}},
            "data_types": {"job": copy.deepcopy(JOB)},
        }

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(self.values)

    def set(self, path: str, value: Any) -> None:
        *parents, last = path.split("/")
        place = self.values
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value

    def on_source(self, ddl: str) -> None:
        _run(self.source, ddl)

    def on_registry(self, ddl: str) -> None:
        _run(self.registry, ddl)

    def check(self, **asked: Any) -> list[Finding]:
        return run_check(self.settings, **asked)

    def told(self, level: Level, area: str, **asked: Any) -> list[str]:
        """What `check` says of an area, at one level."""
        return [f.seen for f in self.check(**asked) if (f.level, f.area) == (level, area)]


def _run(dsn: str, ddl: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(ddl.encode())


@pytest.fixture
def world(databases: tuple[str, str]) -> World:
    made = World(*databases)
    made.on_source(SOURCE)
    made.on_registry(REGISTRY)
    return made


Role = Callable[..., str]


@pytest.fixture
def role(databases: tuple[str, str]) -> Iterator[Role]:
    """Make a role that may log in, and get a DSN as it; with it go its grants."""
    with ExitStack() as gone:

        def made(dsn: str, name: str, *grants: str) -> str:
            if name not in names:
                names.append(name)
                _run(dsn, f"CREATE ROLE {name} LOGIN")
                gone.callback(_run, dsn, f"DROP ROLE {name}")
            for other in databases:
                gone.callback(_run, other, f"DROP OWNED BY {name}")
            for grant in grants:
                _run(dsn, grant.replace("THE_ROLE", name))
            return dsn.replace("postgres@", f"{name}@")

        names: list[str] = []
        yield made
