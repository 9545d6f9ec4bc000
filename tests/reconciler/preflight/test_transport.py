"""`check` on what the network may read or alter: warned of in plain words with a remedy, and never of this machine itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.preflight import Level, transport
from reconciler.preflight.finding import Finding
from schemas.settings import Settings

LOCAL = "postgresql://u:hunter2@localhost/app"
SAFE = "postgresql://u:hunter2@db.example/app?sslmode=verify-full"


def settings(kafka: dict[str, Any] | None = None, schemas: dict[str, Any] | None = None, **dsns: str) -> Settings:
    job = {
        "topics": ["jobs"],
        "format": "json",
        "event": {"key": "id"},
        "source": {"table": "public.jobs", "key": "id"},
        "registry": {"table": "public.r", "key": "job_id"},
    }
    values: dict[str, Any] = {
        "source": {"dsn": dsns.get("source", LOCAL)},
        "registry": {"dsn": dsns.get("registry", LOCAL)},
        "event_log": {"kafka": {"bootstrap.servers": "localhost:9092", "group.id": "g"} | (kafka or {})},
        "data_types": {"job": job},
    }
    if schemas is not None:
        values["event_log"]["schema_registry"] = schemas
    if "ledger" in dsns:
        values["ledger"] = {"dsn": dsns["ledger"]}
    return Settings.model_validate(values)


def warned(about: Settings) -> list[str]:
    found = list(transport.look(about))
    assert "hunter2" not in repr(found)
    assert all(finding.area == "transport" and finding.level in (Level.OK, Level.WARN) for finding in found)
    assert all(finding.try_ for finding in found if finding.level is Level.WARN)
    return [finding.seen for finding in found if finding.level is Level.WARN]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGHOST", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_on_one_machine_nothing_is_warned_of() -> None:
    (told,) = transport.look(settings(schemas={"url": "http://127.0.0.1:8081", "user": "u", "password": "hunter2"}))
    assert isinstance(told, Finding)
    assert told.level is Level.OK
    for server in ("[::1]:9092", "127.0.0.9:1,localhost:2", "PLAINTEXT://localhost:9092", "kafka.localhost:9092"):
        assert warned(settings({"bootstrap.servers": server, "security.protocol": "sasl_plaintext"})) == []


AWAY = {"bootstrap.servers": "localhost:9092,kafka.example:9092"}


@pytest.mark.parametrize(
    ("kafka", "words"),
    [
        ({}, "without TLS (plaintext) at kafka.example:9092"),
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.password": "hunter2"}, "goes in clear"),
        ({"security.protocol": "sasl_plaintext", "sasl.mechanisms": "SCRAM-SHA-512"}, "only the login (SCRAM-SHA-512)"),
        ({"security.protocol": "ssl", "enable.ssl.certificate.verification": False}, "is not verified"),
        ({"security.protocol": "SASL_SSL", "ssl.endpoint.identification.algorithm": "none"}, "any host's"),
    ],
)  # fmt: skip
def test_kafka_that_can_be_read_or_passed_for_is_warned_of(kafka: dict[str, Any], words: str) -> None:
    """Failure mode S27."""
    (seen,) = warned(settings(AWAY | kafka))
    assert words in seen


def test_kafka_over_verified_tls_is_fine() -> None:
    assert warned(settings(AWAY | {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN"})) == []


def test_a_schema_registry_over_http_is_warned_of() -> None:
    (seen,) = warned(settings(schemas={"url": "http://registry.example", "user": "u", "password": "hunter2"}))
    assert "user and password go in clear" in seen
    (seen,) = warned(settings(schemas={"url": "http://registry.example"}))
    assert "alter what a record means" in seen
    assert warned(settings(schemas={"url": "https://registry.example", "user": "u", "password": "hunter2"})) == []


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://u:hunter2@db.example/app", "sslmode prefer: nothing need be encrypted"),
        ("postgresql://u:hunter2@db.example/app?sslmode=disable", "sslmode disable: nothing is encrypted"),
        ("postgresql://u:hunter2@db.example/app?sslmode=require", "sslmode require: it is encrypted"),
        ("host=db.example user=u password=hunter2 sslmode=allow", "sslmode allow"),
        ("host=/tmp,db.example user=u password=hunter2", "sslmode prefer"),
        ("host=db.example user=u password=hunter2 sslmode=require sslrootcert=/nowhere", "sslmode require"),
    ],
)
@pytest.mark.parametrize("side", ["source", "registry", "ledger"])
def test_a_database_elsewhere_that_nobody_verifies_is_warned_of(side: str, dsn: str, words: str) -> None:
    one: dict[str, Any] = {side: dsn}
    (seen,) = warned(settings(**one))
    assert seen.startswith(f"{side}.dsn leads to u@")
    assert words in seen


@pytest.mark.parametrize(
    "dsn",
    [
        SAFE,
        "host=db.example sslmode=verify-ca",
        "host=db.example sslrootcert=system",
        "host=/var/run/postgresql",
        "user=u dbname=app",
        "postgresql://[::1]/app",
        "hostaddr=127.0.0.1",
    ],
)
def test_a_database_that_is_verified_or_here_is_fine(dsn: str) -> None:
    assert warned(settings(source=dsn, registry=dsn)) == []


def test_the_environment_counts_as_it_does_for_libpq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert len(warned(settings(source="dbname=app", registry=LOCAL))) == 1
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert warned(settings(source="dbname=app", registry=LOCAL)) == []
    monkeypatch.setenv("PGSSLMODE", "require")
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").touch()
    assert warned(settings(source="dbname=app", registry=LOCAL)) == []
