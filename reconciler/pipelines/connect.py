"""Kafka Connect's REST door, read only: a connector's status, its configuration, the source offsets it has stored.

Whatever answers there is a stranger: an answer is bounded in time and size, redirects and proxies are not followed, and
nothing it says is repeated unless it looks like what was asked for. A configuration holds passwords: only single settings
of it are looked at, none is printed but names of slot, publication and database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from reconciler import door
from schemas.errors import SettingsError, UnavailableError

ANSWER_WITHIN_S = 5.0
ANSWER_AT_MOST = 1 << 20
#: What Connect calls the states of connectors and tasks.
_STATE = re.compile(r"[A-Z_]{1,24}")
_HINT = "is fence.connect the URL of Kafka Connect's REST port, and fence.connector the connector's name?"


class NotThereError(UnavailableError):
    """Connect answers, and knows no such thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """States of a connector and of its tasks, as Connect words them."""

    connector: str
    tasks: tuple[str, ...]

    @property
    def running(self) -> bool:
        return self.connector == "RUNNING" and bool(self.tasks) and {*self.tasks} == {"RUNNING"}

    @property
    def changing(self) -> bool:
        """Whether it may run in a moment without anybody's help."""
        return not {self.connector, *self.tasks} & {"PAUSED", "STOPPED", "FAILED"}

    @property
    def described(self) -> str:
        return f"{self.connector}, {'tasks ' + ', '.join(self.tasks) if self.tasks else 'without a task'}"


@dataclass(frozen=True, slots=True)
class Connector:
    """One connector behind one door. Every method raises UnavailableError, within bounded time."""

    url: str
    name: str

    def __post_init__(self) -> None:
        if door.parts(self.url) is None:
            raise SettingsError("fence.connect is no URL", hint="use http://host:8083")

    @property
    def door(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"

    def status(self) -> Status:
        told = self._ask("status")
        connector, tasks = told.get("connector"), told.get("tasks")
        if not isinstance(connector, dict) or not isinstance(tasks, list) or not all(isinstance(t, dict) for t in tasks):
            raise self._garbage("status")
        states = [connector.get("state"), *(task.get("state") for task in tasks)]
        if not all(isinstance(state, str) and _STATE.fullmatch(state) for state in states):
            raise self._garbage("status")
        return Status(connector=states[0], tasks=tuple(states[1:]))

    def offsets(self) -> list[Mapping[str, Any]]:
        """The source offsets it has stored: every record before them was acknowledged by the broker."""
        try:
            told = self._ask("offsets").get("offsets")
        except NotThereError as error:
            raise NotThereError(f"{error} (offsets are told since Kafka Connect 3.5)", hint=_HINT) from None
        if not isinstance(told, list) or not all(isinstance(o, dict) for o in told):
            raise self._garbage("offsets")
        found = [o.get("offset") for o in told]
        if not all(o is None or isinstance(o, dict) for o in found):
            raise self._garbage("offsets")
        return [o for o in found if o is not None]

    def config(self) -> Mapping[str, Any]:
        return self._ask("config")

    def _ask(self, what: str) -> dict[str, Any]:
        with _renamed(f"cannot ask Kafka Connect at {self.door} for the {what} of connector {self.name!r}"):
            status, body = _get(self.url, f"/connectors/{quote(self.name, safe='')}/{what}")
        if status == HTTPStatus.NOT_FOUND:
            raise NotThereError(f"Kafka Connect at {self.door} knows no {what} of a connector {self.name!r}", hint=_HINT)
        if status != HTTPStatus.OK:
            raise UnavailableError(
                f"Kafka Connect at {self.door} answered {status} when asked for the {what} of connector {self.name!r}",
                hint=_HINT,
            )
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            raise self._garbage(what) from None
        if not isinstance(told, dict):
            raise self._garbage(what)
        return told

    def _garbage(self, what: str) -> UnavailableError:
        return UnavailableError(f"what answers at {self.door} does not tell the {what} as Kafka Connect does", hint=_HINT)


@contextmanager
def _renamed(what: str) -> Iterator[None]:
    try:
        yield
    except (door.SlowError, *door.FAILURES) as error:
        raise UnavailableError(f"{what}: {door.named(error, ANSWER_WITHIN_S)}", hint=_HINT) from None


def _get(url: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    target, headers = parts.path.rstrip("/") + path, {"Accept": "application/json"}
    return door.exchange("GET", parts, target, headers=headers, within_s=ANSWER_WITHIN_S, at_most=ANSWER_AT_MOST)
