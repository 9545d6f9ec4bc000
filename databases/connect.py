"""Open connections to PostgreSQL with everything that could change an answer pinned, and rename its errors.

`search_path` is pg_catalog alone, so no object of a stranger's schema shadows a function or table; the session is in UTC
and UTF-8; statements are never prepared, so that a transaction-mode pooler may stand in between (`databases.session`): there
each transaction is pinned for itself. No error shows a DSN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from databases.session import Session
from schemas.errors import CatalogError, FencepostError, SettingsError, UnavailableError
from schemas.settings import Dsn

CONNECT_TIMEOUT_S = 8
LACKING_GRANT = "grants.sql lists what each role needs; `fencepost check` tells what is lacking"

_SHAPES = "use postgresql://user:password@host:5432/database, or key=value pairs"
#: libpq's words for a value that no server was asked with. They may quote it, so they are not told.
_MISREAD = ("invalid integer value", "invalid port number", "Servname not supported", 'value: "')

#: What could change an answer, and the only value it may have.
_PINNED = {
    "search_path": "pg_catalog",
    "timezone": "'UTC'",
    "datestyle": "'ISO, YMD'",
    "intervalstyle": "'iso_8601'",
    "extra_float_digits": "3",
    "bytea_output": "'hex'",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "row_security": "off",
}


def connect(
    dsn: Dsn,
    what: str,
    *,
    autocommit: bool = True,
    statement_timeout: timedelta | None = None,
    lock_timeout: timedelta | None = None,
    idle_timeout: timedelta | None = None,
    read_only: bool = False,
) -> psycopg.Connection[Any]:
    """Connect to `what` ("the source", "the registry", "the ledger").

    Raises UnavailableError, or SettingsError for a connection string that cannot be read. `row_security = off` makes the
    server raise an error, instead of hiding rows, where a policy would filter what we read. `idle_timeout`: how long a
    transaction may say nothing.
    """
    if not dsn.get_secret_value().strip():  # libpq would go by PGHOST and the like, or by what it thinks usual
        raise SettingsError(f"the connection string of {what} is empty", hint=_SHAPES)
    try:
        connection = Session.connect(
            dsn.get_secret_value(),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_S,
            client_encoding="UTF8",
            application_name="fencepost",
            keepalives_idle=30,
        )
    except psycopg.ProgrammingError:
        raise SettingsError(f"the connection string of {what} cannot be read", hint=_SHAPES) from None
    except (psycopg.Error, UnicodeError) as error:
        if any(marker in str(error) for marker in _MISREAD):
            raise SettingsError(f"the connection string of {what} cannot be used", hint=_SHAPES) from None
        raise UnavailableError(
            f"cannot connect to {what} ({dsn.described.strip('()')}): {_server_words(error)}", hint=_connecting(error).hint
        ) from None
    try:
        timeouts = (
            ("statement_timeout", statement_timeout),
            ("lock_timeout", lock_timeout),
            ("idle_in_transaction_session_timeout", idle_timeout),
        )
        wanted = _PINNED | {name: f"{_milliseconds(value)}" for name, value in timeouts if value is not None}
        if connection.is_pooled():
            more = {"transaction_read_only": "on"} if read_only else {}
            with connection.transaction():  # which a pool in statement mode would refuse in the midst of something else
                pass
            connection.pin_every_transaction(_set("SET LOCAL", wanted | more))
        else:
            more = {"default_transaction_read_only": "on"} if read_only else {}
            connection.execute(_set("SET", wanted | {"default_transaction_deferrable": "off"} | more))
        connection.autocommit = autocommit
    except psycopg.Error as error:
        connection.close()
        raise UnavailableError(
            f"cannot use {what} ({dsn.described.strip('()')}): {_server_words(error)}", hint=remedy(error)
        ) from None
    return connection


def _set(how: str, values: dict[str, str]) -> bytes:
    return "; ".join(f"{how} {name} = {value}" for name, value in values.items()).encode()


def _milliseconds(value: timedelta) -> int:
    """As the server's timeouts take them: 0 would turn one off, and more than 31 bits are refused."""
    return min(max(1, int(value / timedelta(milliseconds=1))), (1 << 31) - 1)


@contextmanager
def renamed(what: str) -> Iterator[None]:
    """Rename the driver's errors at this door. `what` says what was being done: "read public.jobs"."""
    try:
        yield
    except FencepostError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise CatalogError(f"cannot {what}: {_server_words(error)}", hint=LACKING_GRANT) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise CatalogError(f"cannot {what}: {_server_words(error)}") from None
    except psycopg.Error as error:
        raise UnavailableError(f"cannot {what}: {_server_words(error)}", hint=remedy(error)) from None


def _ended(setting: str) -> str:
    return f"ALTER ROLE … SET {setting} = 0 for our role: a snapshot rests while the other side is read"


#: Limits of a role or database that ended our session. Those of source.* are ours, and bound every run all the same.
_ENDED = {
    "25P03": _ended("idle_in_transaction_session_timeout"),
    "25P04": _ended("transaction_timeout"),
    "57P05": _ended("idle_session_timeout"),
}


#: What to do about words of a server, or of a pooler in its place, that have no code of their own.
_REMEDIES = {
    "conflict with recovery": "the standby lets go of rows that its primary's VACUUM removed, and of whoever still reads them:"
    " hot_standby_feedback = on there, or a higher max_standby_streaming_delay; then run again",
    "statement pooling mode": "name the server itself, or a pool in transaction or session mode",
    "query_wait_timeout": "the pooler had no server session left for us: raise its default_pool_size, or lower source.slices",
}


def remedy(error: psycopg.Error) -> str | None:
    """What to do about an error of a server that was reached."""
    return _ENDED.get(error.sqlstate or "") or next((hint for words, hint in _REMEDIES.items() if words in str(error)), None)


def _server_words(error: BaseException) -> str:
    """The server's primary message; libpq's own words only where they cannot hold the connection string."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return str(primary) if primary else _connecting(error).words or type(error).__name__


@dataclass(frozen=True)
class _Refusal:
    """A way in which a connection fails: what libpq says of it, what we say, what to try."""

    marker: str
    words: str
    hint: str


_UP = "is the server up, and are host and port right?"
_KNOWN = "are user and password right? in a URL the signs @ : / % of a password are percent-encoded"
_FEWER = "or lower source.slices"
_FILES = "are sslrootcert, sslcert and sslkey in the connection string right, and may we read them?"
_OPTIONS = "is 'options' in the connection string right, and PGOPTIONS?"
_ATTRIBUTES = "is target_session_attrs in the connection string right, and PGTARGETSESSIONATTRS?"
_NO_POSTGRES = "what answers there is no PostgreSQL server"
_REFUSALS = (
    _Refusal("Connection refused", "connection refused", _UP),
    _Refusal("timeout expired", "timeout expired", f"{_UP} does a firewall stand between?"),
    _Refusal("connection timeout", "connection timeout", f"{_UP} does a firewall stand between?"),
    _Refusal("could not translate host name", "could not translate host name", "is the host's name right?"),
    _Refusal("Name or service not known", "name or service not known", "is the host's name right?"),
    _Refusal("No route to host", "no route to host", _UP),
    _Refusal("Network is unreachable", "network is unreachable", _UP),
    _Refusal("password authentication failed", "password authentication failed", _KNOWN),
    _Refusal("no password supplied", "it asks for a password, and none is given", _KNOWN),
    _Refusal("no pg_hba.conf entry", "no pg_hba.conf entry allows it", "allow our host, user and database in pg_hba.conf"),
    _Refusal("does not support SSL", "it does not support SSL", "is sslmode in the connection string right?"),
    _Refusal("certificate verify failed", "its certificate was not accepted", "is sslrootcert in the connection string right?"),
    _Refusal("invalid response to SSL negotiation", _NO_POSTGRES, "are host and port right?"),
    _Refusal("expected authentication request", _NO_POSTGRES, "are host and port right?"),
    _Refusal("too many clients", "too many clients already", f"raise max_connections, {_FEWER}"),
    _Refusal("connection slots are reserved", "too many clients already", f"raise max_connections, {_FEWER}"),
    _Refusal("connection is closed", "the connection was lost", _UP),
    _Refusal("closed the connection unexpectedly", "closed the connection unexpectedly", _UP),
    _Refusal("too many connections for role", "too many connections for our role", f"raise its CONNECTION LIMIT, {_FEWER}"),
    _Refusal("too many connections for database", "too many connections for it", f"raise its CONNECTION LIMIT, {_FEWER}"),
    _Refusal("no more connections allowed", "its pooler takes no more clients", "raise max_client_conn there"),
    _Refusal("root certificate file", "the file of its sslrootcert cannot be read", _FILES),
    _Refusal("certificate file", "the file of a certificate cannot be read", _FILES),
    _Refusal("private key file", "the file of a private key cannot be read", _FILES),
    _Refusal("definition of service", "no service of that name is defined", "is PGSERVICEFILE, or ~/.pg_service.conf, right?"),
    _Refusal("service file", "the service file cannot be read", "is PGSERVICEFILE, or ~/.pg_service.conf, right?"),
    _Refusal("invalid command-line argument", "it does not know an option", _OPTIONS),
    _Refusal("requires a value", "it does not know an option", _OPTIONS),
    _Refusal("unrecognized configuration parameter", "it does not know an option", _OPTIONS),
    _Refusal("invalid value for parameter", "it does not take the value of an option", _OPTIONS),
    _Refusal("permission denied to set parameter", "our role may not set an option", _OPTIONS),
    _Refusal("not permitted to log in", "our role may not log in", "ALTER ROLE … LOGIN"),
    _Refusal("permission denied for database", "our role may not connect to that database", "GRANT CONNECT ON DATABASE"),
    _Refusal("not currently accepting connections", "that database takes no connections", "is datallowconn of it off?"),
    _Refusal("authentication failed", "authentication failed", _KNOWN),
    _Refusal("starting up", "it is starting up", "wait until it has started, and run again"),
    _Refusal("shutting down", "it is shutting down", _UP),
    _Refusal("in recovery mode", "it recovers from a crash", "wait until it has recovered, and run again"),
    _Refusal("not accepting connections", "it is starting up, or a standby that takes no queries", "is hot_standby on there?"),
    _Refusal("hot standby mode", "it is not the kind of server that target_session_attrs wants", _ATTRIBUTES),
    _Refusal("session is", "it is not the kind of server that target_session_attrs wants", _ATTRIBUTES),
    _Refusal("no such database", "its pooler knows no such database", "is the database right?"),
    _Refusal("no such user", "its pooler knows no such user", "is the user right?"),
    _Refusal("No such file or directory", "there is no such socket", _UP),
    _Refusal("does not exist", "does not exist", "are user and database right?"),
)
_UNKNOWN = _Refusal("", "", "are host, port, user and database right, and is the server up?")


def _connecting(error: BaseException) -> _Refusal:
    text = str(error).lower()
    return next((refusal for refusal in _REFUSALS if refusal.marker.lower() in text), _UNKNOWN)
