"""The stand as fixtures: real servers, started once per run and only when a test asks for them.

The ladder: with Java 17, Maven and the PostgreSQL builds everything runs; where a part is missing, the tests that need
it are skipped by name and a line at the end says what did not run. With CI=true a missing part is a failure: a check
that quietly stopped checking is worse than a red one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

from databases.ledger import Ledger
from schemas.settings import Dsn
from tests import order
from tests.stack import alertmanager, faketime, jars, prometheus
from tests.stack.alertmanager import Alertmanager
from tests.stack.connect import Connect, Connector, Format
from tests.stack.kafka import Kafka
from tests.stack.pgbouncer import PgBouncer
from tests.stack.pgbouncer import binary as pgbouncer_binary
from tests.stack.postgres import MAJORS, Major, Postgres, binaries
from tests.stack.processes import MissingPartError
from tests.stack.prometheus import Prometheus
from tests.stack.registry import SchemaRegistry

#: a test that asks for one of these, however indirectly, gets the mark `parts`
SERVERS = {
    "kafka", "schema_registry", "postgres", "postgres16", "postgres15", "connect", "stand_folder", "promtool", "amtool",
    "pgbouncer",
}  # fmt: skip
MISSING = "missing part: "
STAND = "fencepost-stand-"
PLENTY = 8 << 30  #: bytes of memory; the servers of a worker leave half a gigabyte on their disk
NUMBERS = itertools.count(1)
KEPT_LOGS = pytest.StashKey[list[Path]]()


class DebeziumFactory(Protocol):
    """Start a connector on the shared Connect worker; it is deleted, with slot and publication, when the test ends."""

    def __call__(
        self, dsn: str, tables: list[str], *, format: Format = ..., settings: dict[str, str] | None = ...
    ) -> Connector: ...


# -- the ladder -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Turn a missing part into a skip, or into a failure where CI says that everything must be there."""
    try:
        yield
    except MissingPartError as error:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"{MISSING}{error} (CI=true: nothing may be skipped)", pytrace=False)
        pytest.skip(f"{MISSING}{error}")


def pytest_configure(config: pytest.Config) -> None:
    # A shared machine is slow by fits: a time limit per example would only make checks flaky.
    hypothesis.settings.register_profile("fencepost", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    # `make fuzz`: other examples every time. Tests that set a number of their own ask `examples` of `formats/making.py`.
    deep = int(os.environ.get("FUZZ_EXAMPLES", "20000"))
    hypothesis.settings.register_profile("deep", hypothesis.settings.get_profile("fencepost"), max_examples=deep, database=None)
    hypothesis.settings.load_profile(config.getoption("--hypothesis-profile", default=None) or "fencepost")
    # By default SIGTERM ends Python on the spot, fixtures are not torn down, and servers stay behind.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("SIGTERM", returncode=143))
    # A shell's background job ignores SIGINT, and so would the commands that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before `-m` is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.parts)
    order.longest_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return order.scheduler(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)  # xdist's: what a worker keeps to itself, its end tells
def pytest_testnodedown(node: Any) -> None:
    kept = getattr(node, "workeroutput", {}).get("kept_logs")
    if kept is not None:
        node.config.stash.setdefault(KEPT_LOGS, []).append(Path(kept))


def pytest_report_header() -> str:
    return "stand: " + ", ".join(f"{part} {'yes' if there else 'MISSING'}" for part, there in _rungs())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    found = [match[1] for reason in reasons if (match := re.search(rf"{MISSING}([^:]+)", reason))]
    for part, tests in sorted(Counter(found).items()):
        terminalreporter.write_line(f"NOT RUN for want of {part}: {tests} tests", yellow=True)
    for kept in terminalreporter.config.stash.get(KEPT_LOGS, []):
        terminalreporter.write_line(f"the servers' logs are kept in {kept}")


def _rungs() -> Iterator[tuple[str, bool]]:
    yield f"Java {jars.JAVA_AT_LEAST}+", _there(jars.java)
    yield "Maven or cached jars", shutil.which("mvn") is not None or jars.cache_folder().exists()
    for major in MAJORS:
        yield f"PostgreSQL {major}", _there(partial(binaries, major))
    yield "Prometheus", _there(partial(prometheus.binary, "promtool"))
    yield "Alertmanager", _there(alertmanager.binary)
    yield "PgBouncer", _there(pgbouncer_binary)
    yield "libfaketime", _there(faketime.library)


def _there(look: Callable[[], object]) -> bool:
    try:
        look()
    except MissingPartError:
        return False
    return True


# -- servers, one of each per run -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stand_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Logs and data of all servers. Outside pytest's own folders, which are closed to the user PostgreSQL runs as."""
    folder = Path(tempfile.mkdtemp(prefix=f"{STAND}{os.getpid()}-", dir=_memory()))
    folder.chmod(0o711)
    yield folder
    if request.session.testsfailed:  # the logs may tell why; the data only take room
        kept = Path(tempfile.mkdtemp(prefix="fencepost-logs-"))
        shutil.copytree(folder, kept, symlinks=True, ignore=shutil.ignore_patterns("data"), dirs_exist_ok=True)
        request.config.stash[KEPT_LOGS] = [kept]
        if (told := getattr(request.config, "workeroutput", None)) is not None:
            told["kept_logs"] = str(kept)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest) -> None:
    """A virtual machine may stand still for seconds, the tests and their servers with it. Of a test with servers, a backfill
    in this process, which its server ends after five seconds of silence, is given a minute, and so is a broker to answer in.
    Commands that are processes of their own go by what is usual, and so do tests in which nobody is there to answer."""
    if request.node.get_closest_marker("parts") is None:
        return
    from consumer.streams import kafka
    from reconciler.backfill import writer

    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.setattr(kafka, "ASK_WITHIN_S", 60.0)
    patch.setattr(kafka, "TOPIC_IDS_WITHIN_S", 60.0)
    usual = f"idle_in_transaction_session_timeout = '{writer._IDLE}'".encode()
    assert writer._BEGIN.count(usual) == 1
    patch.setattr(writer, "_BEGIN", writer._BEGIN.replace(usual, b"idle_in_transaction_session_timeout = '1min'"))


def _memory() -> Path | None:
    """A folder in memory where there is plenty, else None: on a disk a database takes thrice the processor time to make."""
    memory = Path("/dev/shm")
    for left in memory.glob(f"{STAND}*"):  # by a run that was killed: nothing but a reboot would give the memory back
        pid = left.name.removeprefix(STAND).split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
    try:
        free = shutil.disk_usage(memory).free
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return memory if found and min(free, int(found[1]) * 1024) >= PLENTY else None


@pytest.fixture(scope="session")
def kafka(stand_folder: Path) -> Iterator[Kafka]:
    """The broker all tests share: use topics of your own, and never stop it (see `own_kafka`)."""
    # Nobody kills it, so nobody has to be quick to give it up: it may stand still with the machine.
    with needed(), Kafka(stand_folder / "kafka", {"broker.session.timeout.ms": "60000"}) as broker:
        yield broker


@pytest.fixture(scope="session")
def schema_registry(stand_folder: Path) -> Iterator[SchemaRegistry]:
    with needed(), SchemaRegistry(stand_folder / "registry") as registry:
        yield registry


@pytest.fixture(scope="session")
def postgres(stand_folder: Path) -> Iterator[Postgres]:
    """PostgreSQL 18, shared: use databases of your own, and never stop it (see `own_postgres`)."""
    with _shared_postgres(stand_folder, 18) as server:
        yield server


@pytest.fixture(scope="session")
def postgres16(stand_folder: Path) -> Iterator[Postgres]:
    with _shared_postgres(stand_folder, 16) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15(stand_folder: Path) -> Iterator[Postgres]:
    with _shared_postgres(stand_folder, 15) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres, stand_folder: Path) -> Iterator[PgBouncer]:
    """A pooler in transaction mode before the shared PostgreSQL 18."""
    with needed(), PgBouncer(stand_folder / "pgbouncer", postgres) as pooler:
        yield pooler


@pytest.fixture(scope="session", params=[f"postgres{major}" for major in MAJORS])
def postgres_any(request: pytest.FixtureRequest, stand_folder: Path) -> Postgres:
    """The test runs once on each major version."""
    server: Postgres = request.getfixturevalue(request.param.replace("postgres18", "postgres"))
    return server


@pytest.fixture(scope="session")
def connect(kafka: Kafka, schema_registry: SchemaRegistry, stand_folder: Path) -> Iterator[Connect]:
    """The Connect worker all tests share."""
    with needed(), Connect(stand_folder / "connect", kafka, schema_registry) as worker:
        yield worker


@contextlib.contextmanager
def _shared_postgres(folder: Path, major: Major) -> Iterator[Postgres]:
    # Autovacuum comes when it likes: it would take a transaction id, and give the planner other figures, in mid-test.
    with needed(), Postgres(folder / f"postgres{major}", major, settings={"autovacuum": "off"}) as server:
        yield server


# -- servers of a test's own, to be stopped, killed and paused --------------------------------------------------------


@pytest.fixture
def own_kafka(stand_folder: Path) -> Iterator[Callable[..., Kafka]]:
    """Start a broker for this test alone: `own_kafka()`, or `own_kafka({"log.retention.ms": "1000"})`."""
    with contextlib.ExitStack() as running:

        def started(settings: dict[str, str] | None = None) -> Kafka:
            with needed():
                return running.enter_context(Kafka(stand_folder / f"kafka-{next(NUMBERS)}", settings))

        yield started


@pytest.fixture
def own_postgres(stand_folder: Path) -> Iterator[Callable[..., Postgres]]:
    """Start a PostgreSQL for this test alone: `own_postgres()`, or `own_postgres(16, locale="C.UTF-8")`."""
    with contextlib.ExitStack() as running:

        def started(major: Major = 18, **options: Any) -> Postgres:
            folder = stand_folder / f"postgres{major}-{next(NUMBERS)}"
            with needed():
                return running.enter_context(Postgres(folder, major, **options))

        yield started


@pytest.fixture
def own_prometheus(stand_folder: Path) -> Iterator[Callable[..., Prometheus]]:
    """Start a Prometheus: `own_prometheus({"fencepost": "127.0.0.1:9464"}, rules=text)`."""
    with contextlib.ExitStack() as running:

        def started(targets: dict[str, str], **options: Any) -> Prometheus:
            with needed():
                return running.enter_context(Prometheus(stand_folder / f"prometheus-{next(NUMBERS)}", targets, **options))

        yield started


@pytest.fixture
def own_alertmanager(stand_folder: Path) -> Iterator[Callable[..., Alertmanager]]:
    """Start an Alertmanager with these settings."""
    with contextlib.ExitStack() as running:

        def started(config: dict[str, Any]) -> Alertmanager:
            with needed():
                return running.enter_context(Alertmanager(stand_folder / f"alertmanager-{next(NUMBERS)}", config))

        yield started


@pytest.fixture
def promtool(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`promtool("check", "rules", "rules.yaml")`, in the test's own folder."""
    with needed():
        prometheus.binary("promtool")
    return partial(prometheus.promtool, folder=tmp_path)


@pytest.fixture
def amtool(tmp_path: Path) -> Callable[[str], str]:
    """Why Alertmanager refuses this configuration; empty where it takes it."""
    with needed():
        alertmanager.amtool()
    return partial(alertmanager.refused, tmp_path)


@pytest.fixture
def debezium(connect: Connect) -> Iterator[DebeziumFactory]:
    """Start Debezium on tables: `debezium(dsn, ["public.orders"], format="debezium-avro")`."""
    with contextlib.ExitStack() as running:

        def started(
            dsn: str, tables: list[str], *, format: Format = "debezium-json", settings: dict[str, str] | None = None
        ) -> Connector:
            connector = Connector(f"c{next(NUMBERS)}", connect, dsn, tables, format=format, settings=settings)
            return running.enter_context(connector)

        yield started


# -- names and databases of a test's own ------------------------------------------------------------------------------


@pytest.fixture
def topic_name() -> str:
    """A topic name nobody else uses on the shared broker; the topic itself is yours to create."""
    return f"topic-{os.getpid()}-{next(NUMBERS)}"


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The DSN of a fresh database on PostgreSQL 18."""
    with _database(postgres, "db") as dsn:
        yield dsn


@pytest.fixture
def database_any(postgres_any: Postgres) -> Iterator[str]:
    """The DSN of a fresh database, once on each major version."""
    with _database(postgres_any, "db") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def with_a_ledger(postgres: Postgres) -> str:
    """The name of a database to be copied: that takes a fifth of the time that making a ledger takes."""
    ledger = Ledger(Dsn(postgres.create_database("with_a_ledger")), "fencepost")
    ledger.upgrade()
    ledger.close()
    return "with_a_ledger"


@pytest.fixture
def ledger_database(postgres: Postgres, with_a_ledger: str) -> Iterator[str]:
    """The DSN of a fresh database on PostgreSQL 18 with an empty ledger in schema `fencepost`."""
    with _database(postgres, "ledger", with_a_ledger) as dsn:
        yield dsn


@pytest.fixture
def databases(postgres: Postgres) -> Iterator[tuple[str, str]]:
    """The DSNs of a fresh source and a fresh target on PostgreSQL 18."""
    with _database(postgres, "source") as source, _database(postgres, "target") as target:
        yield source, target


@pytest.fixture
def databases_with_ledger(postgres: Postgres, ledger_database: str) -> Iterator[tuple[str, str]]:
    """The same with an empty ledger in the target."""
    with _database(postgres, "source") as source:
        yield source, ledger_database


@contextlib.contextmanager
def _database(server: Postgres, role: str, template: str | None = None) -> Iterator[str]:
    name = f"{role}_{next(NUMBERS)}"
    dsn = server.create_database(name, template=template)
    try:
        yield dsn
    finally:
        server.drop_database(name)
