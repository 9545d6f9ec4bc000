"""Where Avro schemas come from: a schema registry over HTTP, or a folder of `<id>.avsc`.

An id that the source does not know is the record's fault (BadRecord); a source that is away, slow, redirects, or answers
nonsense is nobody's (UnavailableError): the record must then be read again later, not set aside. What an id means never
changes, so it is asked once, as long as it is remembered (`remembered`). A registry is asked within bounds (`sparing`).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from consumer.formats.contract import SchemaSource, UnknownSchema
from consumer.formats.remembered import Remembered
from consumer.formats.sparing import Allowance
from schemas.errors import BadRecord, SettingsError, UnavailableError
from schemas.settings import EventLogSettings, SchemaRegistrySettings

TOTAL_S = 10.0
MAX_ANSWER = 4 << 20
MAX_REFERENCES = 50
#: An unknown id may be registered yet; until then a flood of such records must not become a flood of requests.
UNKNOWN_S = 30.0
#: What is remembered: schemas, and the characters of their texts together; ids that were unknown.
KEPT_SCHEMAS, KEPT_TEXT, KEPT_UNKNOWN = 1000, 8 << 20, 10_000
_MISSING_CODES = {40401, 40402, 40403}
#: Registries number schemas with 32 bits and a sign; of a larger number one may answer that it has no such page.
MAX_ID = 2**31 - 1


def open_source(event_log: EventLogSettings, *, sparing: bool = True) -> SchemaSource:
    """As the settings say. Raises SettingsError where they say nothing. `sparing`: see `RegistrySource`."""
    if event_log.schema_registry is not None:
        return RegistrySource(event_log.schema_registry, sparing=sparing)
    if event_log.schemas is not None:
        return FolderSource(event_log.schemas)
    raise SettingsError(
        "Avro records need event_log.schema_registry or event_log.schemas", hint="set one of them in the settings"
    )


class FolderSource:
    """Schemas as files, one an id, for logs without a registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = Remembered[tuple[str, ...]](count=KEPT_SCHEMAS, weight=KEPT_TEXT)

    def schema(self, number: int, records: int = 1) -> tuple[str, ...]:
        found = self._known.get(number)
        if found is None:
            try:
                with open(f"{self.folder}/{number}.avsc", "rb") as file:  # noqa: PTH123 - a flood of ids asks for speed
                    data = file.read(MAX_ANSWER + 1)
            except FileNotFoundError:
                raise UnknownSchema(f"schema id {number} is unknown to the folder of schemas") from None
            except OSError as error:
                raise UnavailableError(f"cannot read schema {number} from {self.folder}: {error.strerror}") from error
            found = (_checked(data, number),)
            self._known.put(number, found, len(data))
        return found

    def close(self) -> None:
        self._known.clear()


def _checked(data: bytes, number: int) -> str:
    if len(data) > MAX_ANSWER:
        raise BadRecord(f"schema id {number} is longer than {MAX_ANSWER} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadRecord(f"schema id {number} is not UTF-8 text") from None


class RegistrySource:
    """A Confluent-compatible schema registry. `clock` tells seconds that only grow.

    `sparing`: a flood of unknown ids is not asked for one by one. Not so where an operator names each record.
    """

    def __init__(
        self,
        settings: SchemaRegistrySettings,
        *,
        sparing: bool = True,
        total_s: float = TOTAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._total_s, self._clock = settings, total_s, clock
        parts = urlsplit(settings.url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._tls = parts.scheme == "https"
        self._known = Remembered[tuple[str, ...]](count=KEPT_SCHEMAS, weight=KEPT_TEXT)
        self._unknown = Remembered[tuple[float, str]](count=KEPT_UNKNOWN, weight=KEPT_UNKNOWN)
        self._allowance = Allowance(clock) if sparing else None

    @property
    def place(self) -> str:
        return f"the schema registry at {self._host}{f':{self._port}' if self._port else ''}"

    def schema(self, number: int, records: int = 1) -> tuple[str, ...]:
        known = self._known.get(number)
        if known is not None:
            return known
        if number > MAX_ID:
            raise UnknownSchema(f"schema id {number} is unknown: no registry gives such a number")
        until, reason = self._unknown.get(number) or (0.0, "")
        if reason and self._clock() < until:
            raise UnknownSchema(reason)
        if self._allowance is not None and not self._allowance.may_ask(number, records):
            late = f"schema id {number} was not asked for yet: too many ids before it were unknown to {self.place}"
            raise UnknownSchema(reason or late)
        return self._asked(number)

    def _asked(self, number: int) -> tuple[str, ...]:
        began = self._clock()
        try:
            found = tuple(self._resolved(f"/schemas/ids/{number}", f"schema id {number}", [MAX_REFERENCES]))
        except BadRecord as error:
            if isinstance(error, UnknownSchema):
                self._unknown.put(number, (self._clock() + UNKNOWN_S, str(error)))
            if self._allowance is not None:
                self._allowance.spend(self._clock() - began)
            raise
        self._known.put(number, found, sum(map(len, found)))
        return found

    def close(self) -> None:
        self._known.clear()
        self._unknown.clear()

    def _resolved(self, path: str, what: str, budget: list[int]) -> list[str]:
        """The schema's text, after those it refers to."""
        answer = self._ask(path, what)
        kind, text, references = answer.get("schemaType") or "AVRO", answer.get("schema"), answer.get("references") or []
        if not (isinstance(kind, str) and isinstance(text, str) and isinstance(references, list)):
            raise UnavailableError(f"{self.place} told no text for {what}")
        if kind != "AVRO":
            raise BadRecord(f"{what} is no Avro schema")
        texts: list[str] = []
        for reference in references:
            budget[0] -= 1
            if budget[0] < 0:
                raise BadRecord(f"{what} refers to more than {MAX_REFERENCES} other schemas")
            subject, version = _pointed(reference)
            if subject is None:
                raise UnavailableError(f"{self.place} told a reference of {what} without subject and version")
            place = f"/subjects/{quote(subject, safe='')}/versions/{version}"
            texts += [found for found in self._resolved(place, f"a reference of {what}", budget) if found not in texts]
        return [*texts, text]

    def _ask(self, path: str, what: str) -> dict[str, Any]:
        status, body = self._get(path)
        if status == 404:
            if _error_code(body) in _MISSING_CODES:
                raise UnknownSchema(f"{what} is unknown to {self.place}")
            raise UnavailableError(
                f"{self.place} has no such page: is its URL right?", hint="event_log.schema_registry.url, path included"
            )
        if status in (401, 403):
            raise UnavailableError(f"{self.place} refuses us (HTTP {status})", hint="event_log.schema_registry.user, password")
        if status != 200:
            raise UnavailableError(f"{self.place} answers HTTP {status}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise UnavailableError(f"{self.place} does not answer as a schema registry")
        return answer

    def _get(self, path: str) -> tuple[int, bytes]:
        """One request without redirects or proxies, cut off when its time is up, however the time was spent."""
        connection = self._connection()
        cut = threading.Timer(self._total_s, _shut, [connection])
        cut.daemon = True
        cut.start()
        try:
            connection.request("GET", self._path + path, headers=self._headers())
            response = connection.getresponse()
            body = response.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{self.place} cannot be reached: {_why(error)}") from None
        finally:
            cut.cancel()
            connection.close()
        if len(body) > MAX_ANSWER and response.status == 200 and body.lstrip()[:1] == b"{":
            # A registry that answers, with a schema that nobody could use. Of any other page it is the page that is wrong.
            raise BadRecord(f"the schema registry's answer is longer than {MAX_ANSWER} bytes")
        return response.status, body

    def _connection(self) -> http.client.HTTPConnection:
        timeout = self._total_s / 2
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        ca = None if self._settings.ca is None else str(self._settings.ca)
        try:
            context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise SettingsError(f"event_log.schema_registry.ca cannot be used: {error.strerror}") from None
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=context)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if self._settings.user is not None:
            secret = self._settings.password.get_secret_value() if self._settings.password else ""
            pair = base64.b64encode(f"{self._settings.user}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        return headers


def _pointed(reference: object) -> tuple[str | None, int]:
    """Where a reference leads; None where it leads nowhere."""
    if not isinstance(reference, dict):
        return None, 0
    subject, version = reference.get("subject"), reference.get("version")
    if type(subject) is not str or type(version) is not int:
        return None, 0
    try:
        subject.encode()
    except UnicodeEncodeError:
        return None, 0
    return subject, version


def _shut(connection: http.client.HTTPConnection) -> None:
    """Wake up whoever waits on the socket: closing it would not."""
    sock: Any = connection.sock
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None)
    return text if isinstance(text, str) else type(error).__name__


def _error_code(body: bytes) -> int:
    try:
        code = json.loads(body).get("error_code")
    except (ValueError, AttributeError, RecursionError):
        return 0
    return code if type(code) is int else 0
