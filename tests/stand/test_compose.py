"""docker-compose.yml against the code and the settings it feeds: read, never run, for a build has no daemon."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from schemas.settings import Settings, load
from tests.stack import alertmanager, connect, jars, kafka, prometheus, registry
from tests.stack.postgres import Postgres

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONNECTOR: dict[str, str] = json.loads((ROOT / "docker/connector.json").read_text())
#: what listens inside each container
PORTS = {"source": 5432, "target": 5432, "kafka": 9092, "registry": 8080, "connect": 8083, "audit": 9464}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(ROOT / "docker/fencepost.yaml", {})


def script(name: str) -> str:
    return (ROOT / "docker" / name).read_text()


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("source", "postgres:18"),
        ("target", "postgres:18"),
        ("kafka", f"apache/kafka:{kafka.VERSION}"),
        ("registry", f"quay.io/apicurio/apicurio-registry:{registry.VERSION}"),
        ("connect", f"quay.io/debezium/connect:{connect.VERSION}"),
        ("connector", f"quay.io/debezium/connect:{connect.VERSION}"),
        ("prometheus", f"prom/prometheus:v{prometheus.VERSION}"),
        ("alertmanager", f"prom/alertmanager:v{alertmanager.VERSION}"),
    ],
)
def test_the_image_is_the_version_the_tests_run_against(service: str, image: str) -> None:
    assert SERVICES[service]["image"] == image


def test_every_image_is_pinned() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w./-]+:v?\d+[\w.]*", service["image"]), service["image"]


def test_the_installed_parts_are_the_versions_that_are_named(promtool: object, amtool: object) -> None:
    for line, version in (
        ([prometheus.binary("prometheus"), "--version"], prometheus.VERSION),
        ([alertmanager.binary(), "--version"], alertmanager.VERSION),
    ):
        done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
        assert f"version {version}" in done.stdout + done.stderr


def test_our_image_carries_our_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["tracker"]["image"] == f"fencepost:{version}"


def test_the_broker_of_connects_jars_is_the_broker() -> None:
    assert jars.pinned("connect", "kafka.version") == kafka.VERSION


# -- ports and mounts -------------------------------------------------------------------------------------------------


def test_every_published_port_is_on_loopback_and_published_once() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_every_mounted_file_exists() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = {mount for mount in mounts if mount.startswith("./")}
    assert files
    assert [file for file in sorted(files) if not (ROOT / file).is_file()] == []
    assert {mount for mount in mounts if not mount.startswith("./")} == set(COMPOSE["volumes"])


def test_every_service_waited_for_exists() -> None:
    wanted = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert wanted <= set(SERVICES)


def test_a_service_waited_for_until_healthy_says_when_it_is() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[name], name


# -- what the services are told ---------------------------------------------------------------------------------------


def test_the_settings_name_services_at_the_ports_they_listen_on(settings: Settings) -> None:
    urls = [settings.source.dsn, settings.registry.dsn, settings.ledger_dsn]
    addresses = [urlsplit(url.get_secret_value()) for url in urls]
    assert settings.event_log.schema_registry is not None
    addresses += [urlsplit(settings.event_log.schema_registry.url), urlsplit(f"//{settings.event_log.kafka.servers}")]
    addresses += [urlsplit(settings.fence.connect or "")]
    assert {address.hostname for address in addresses} <= set(PORTS)
    assert all(address.port in (None, PORTS[address.hostname or ""]) for address in addresses)


def test_prometheus_asks_where_the_audit_answers(settings: Settings) -> None:
    (job,) = yaml.safe_load(script("prometheus.yml"))["scrape_configs"]
    port = settings.audit.listen.rpartition(":")[2]
    assert job["static_configs"] == [{"targets": [f"audit:{port}"]}]
    assert SERVICES["audit"]["expose"] == [port]
    assert "ports" not in SERVICES["audit"]


def test_the_connector_announces_the_topics_that_are_tracked(settings: Settings) -> None:
    announced = {f"{CONNECTOR['topic.prefix']}.{table}" for table in CONNECTOR["table.include.list"].split(",")}
    assert {topic for data_type in settings.data_types.values() for topic in data_type.topics} == announced
    assert {data_type.source.table for data_type in settings.data_types.values()} == set(
        CONNECTOR["table.include.list"].split(",")
    )


def test_the_fence_watches_this_connector(settings: Settings) -> None:
    put = SERVICES["connector"]["entrypoint"][-1]
    assert put == f"{settings.fence.connect}/connectors/{settings.fence.connector}/config"
    assert settings.fence.slot == CONNECTOR["slot.name"]
    assert settings.fence.publication == CONNECTOR["publication.name"]


def test_the_connector_is_set_up_as_the_one_the_tests_run() -> None:
    """All but names and addresses: what is proved on the stand must hold for what we hand to users."""
    ours = {**connect.source_settings(), **connect.converter_settings("debezium-avro", "http://registry:8080")}
    del ours["poll.interval.ms"], ours["slot.drop.on.stop"], ours["field.name.adjustment.mode"]
    theirs = {name: value for name, value in CONNECTOR.items() if name in ours}
    expected = ours | {"publication.autocreate.mode": "disabled"}
    for side in ("key", "value"):
        expected[f"{side}.converter.apicurio.registry.url"] = "http://registry:8080/apis/registry/v2"
    assert theirs == expected


def test_the_scripts_make_the_roles_tables_and_publication_in_use(settings: Settings) -> None:
    source, target = script("source.sql"), script("target.sql")
    for data_type in settings.data_types.values():
        assert f"CREATE TABLE {data_type.source.table} " in source
        assert f"CREATE TABLE {data_type.registry.table} " in target
    assert f"CREATE PUBLICATION {CONNECTOR['publication.name']} " in source
    users = {"source.sql": [settings.source.dsn], "target.sql": [settings.registry.dsn, settings.ledger_dsn]}
    for name, urls in users.items():
        for url in urls:
            parts = urlsplit(url.get_secret_value())
            assert re.search(rf"CREATE ROLE {parts.username} LOGIN PASSWORD '{parts.password}';", script(name))
    assert f"CREATE ROLE {CONNECTOR['database.user']} LOGIN REPLICATION" in source


def test_the_reader_may_only_read() -> None:
    grants = re.findall(r"GRANT (.+?) ON \S+ TO fencepost_reader", script("source.sql"))
    assert grants == ["SELECT"]


# -- the packages of the image ----------------------------------------------------------------------------------------


def test_every_room_is_packaged_and_copied_into_the_image() -> None:
    rooms = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"bench", "tests"}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"{room}*" for room in rooms} <= set(packages)
    copied = set(script("Dockerfile.dockerignore").splitlines())
    assert {f"!{room}" for room in rooms} <= copied


@pytest.mark.parametrize("lock", ["requirements.lock", "docker/requirements.lock"])
def test_a_lock_names_no_index_and_hashes_everything(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert re.findall(r"https?://|--index-url|--find-links|file:", text) == []
    pinned = re.findall(r"^[a-z0-9-]+(?:\[.*\])?==", text, re.M)
    unhashed = re.findall(r"^[^#\s].*[^\\]\n(?!    --hash)", text, re.M)
    assert pinned
    assert unhashed == []


def test_the_image_installs_what_the_tests_ran_with() -> None:
    def versions(lock: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==[^ ;\\]+", (ROOT / lock).read_text(), re.M))

    assert versions("docker/requirements.lock") <= versions("requirements.lock")


def test_the_scripts_run_on_a_fresh_server(own_postgres: Callable[..., Postgres]) -> None:
    server = own_postgres()
    for name, database in (("source.sql", "app"), ("target.sql", "tracking")):
        with psycopg.connect(server.create_database(database), autocommit=True) as db:
            db.execute(script(name))
