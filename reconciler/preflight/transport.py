"""Whether what goes over the network can be read or altered on its way: passwords in clear, servers nobody verifies.

Looks at the settings alone. All is warned of and nothing refused: whether a network is trusted, its operator knows. What
leads to this machine itself, or over a Unix socket, needs no encryption.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from reconciler.preflight.finding import Finding, ok, warn
from schemas.dsn import Dsn
from schemas.settings import SchemaRegistrySettings, Settings

AREA = "transport"
#: libpq's modes that hold the server's certificate against something.
_VERIFYING = ("verify-ca", "verify-full")
_OFF = ("false", "0", "no", "f", "n")


def look(settings: Settings) -> Iterator[Finding]:
    found = [*_kafka(settings.event_log.kafka.plain()), *_registry(settings.event_log.schema_registry), *_databases(settings)]
    yield from found
    if not found:
        yield ok(AREA, "no password goes in clear, and every server elsewhere is verified")


# -- Kafka ------------------------------------------------------------------------------------------------------------


def _kafka(values: Mapping[str, str]) -> Iterator[Finding]:
    protocol = values.get("security.protocol", "plaintext").lower()
    away = [server for server in values["bootstrap.servers"].split(",") if not _local(_host(server))]
    if protocol.endswith("ssl"):
        yield from _unverified(values)
    elif protocol == "sasl_plaintext" and away:
        mechanism = values.get("sasl.mechanism", values.get("sasl.mechanisms", "GSSAPI")).upper()
        lost = "the password goes in clear" if mechanism == "PLAIN" else f"only the login ({mechanism}) is protected"
        yield warn(
            AREA,
            f"Kafka is spoken to without TLS (security.protocol: sasl_plaintext): {lost}, and anyone on the way can read and"
            " alter records",
            try_="security.protocol: sasl_ssl under event_log.kafka, and ssl.ca.location if the CA is your own",
        )
    elif away:
        yield warn(
            AREA,
            f"Kafka is spoken to without TLS ({protocol}) at {away[0].strip()}: anyone on the way can read and alter records",
            try_="security.protocol: ssl (or sasl_ssl) under event_log.kafka",
        )


def _unverified(values: Mapping[str, str]) -> Iterator[Finding]:
    if values.get("enable.ssl.certificate.verification", "true").strip().lower() in _OFF:
        yield warn(
            AREA,
            "Kafka's certificate is not verified (enable.ssl.certificate.verification: false): anyone on the way can pass for"
            " the broker",
            try_="remove that setting; name your own CA by ssl.ca.location",
        )
    if values.get("ssl.endpoint.identification.algorithm", "https").strip().lower() == "none":
        yield warn(
            AREA,
            "Kafka's certificate may be any host's (ssl.endpoint.identification.algorithm: none)",
            try_="remove that setting; the brokers' certificates must name the hosts that they advertise",
        )


# -- the schema registry ----------------------------------------------------------------------------------------------


def _registry(settings: SchemaRegistrySettings | None) -> Iterator[Finding]:
    if settings is None:
        return
    parts = urlsplit(settings.url)
    if parts.scheme == "https" or _local(parts.hostname or ""):
        return
    lost = "user and password go in clear" if settings.user is not None else "anyone on the way can alter what a record means"
    yield warn(
        AREA,
        f"the schema registry is asked over http: {lost}",
        try_="event_log.schema_registry.url: https://..., and its ca if it is your own",
    )


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


def _databases(settings: Settings) -> Iterator[Finding]:
    named: dict[str, Dsn | None] = {
        "source.dsn": settings.source.dsn,
        "source.primary": settings.source.primary,
        "source.origin": settings.source.origin,
        "registry.dsn": settings.registry.dsn,
        "ledger.dsn": settings.ledger.dsn,
    }
    for name, dsn in named.items():
        if dsn is not None:
            yield from _database(name, dsn)


def _database(name: str, dsn: Dsn) -> Iterator[Finding]:
    try:
        told = {key: str(value) for key, value in conninfo_to_dict(dsn.get_secret_value()).items() if value is not None}
    except psycopg.Error:
        return  # that it cannot be read is told where it is connected to
    hosts = [host for host in (told.get("host") or told.get("hostaddr") or os.environ.get("PGHOST", "")).split(",") if host]
    if all(_local(host) for host in hosts):
        return
    system = (told.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")) == "system"
    mode = told.get("sslmode") or os.environ.get("PGSSLMODE") or ("verify-full" if system else "prefer")
    if mode in _VERIFYING or (mode == "require" and _root(told)):
        return
    lost = {"disable": "nothing is encrypted", "allow": "nothing need be encrypted", "prefer": "nothing need be encrypted"}
    yield warn(
        AREA,
        f"{name} leads to {dsn.described} with sslmode {mode}: {lost.get(mode, 'it is encrypted')}, and anyone on the way can"
        " pass for the server",
        try_=f"sslmode=verify-full in {name}, and sslrootcert=FILE (or sslrootcert=system)",
    )


def _root(told: Mapping[str, str]) -> bool:
    """Whether there is a root certificate, which turns `require` into `verify-ca`."""
    named = told.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    return Path(named or "~/.postgresql/root.crt").expanduser().is_file()


def _host(server: str) -> str:
    """The host of `host:port` or `[address]:port`, with or without a protocol before it."""
    try:
        return urlsplit(f"//{server.strip().rpartition('://')[2]}").hostname or ""
    except ValueError:
        return server


def _local(host: str) -> bool:
    """Whether it is this machine by its name; no name is looked up."""
    if host == "" or host.startswith(("/", "@")) or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
