"""Write numbered events into a log in memory, follow it, and read what the ledger says of their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from consumer import numbering, sequences
from consumer.catch_up import catch_up
from consumer.session import Session, opened
from consumer.streams.contract import Place
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas import sequence_ledger as tables
from schemas.audit_ledger import total
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, rows

#: Settle and grace together, in minutes.
GRACE_MIN = 11


def write(
    log: MemoryLog, numbers: Iterable[Any], partition: int = 0, op: str = "created", name: str = "job", topic: str = "jobs"
) -> None:
    for n in numbers:
        log.append(topic, json.dumps({"type": name, "id": 1, "op": op, "at": 1_700_000_000, "n": n}).encode(), partition)


def follow(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    """As the audit does: read up to the ends, judge."""
    catch_up(about, ledger, KEY_TYPES, streams=log.stream, deadline_s=0.3)


def lacking(ledger: Ledger, incarnation: int | None = None) -> list[tuple[int, int]]:
    """The ranges that are missing, settled."""
    return [
        (first, last)
        for row in rows(ledger, tables.sequence_hour)
        if incarnation in (None, row.incarnation)
        for first, last in sequences.unpacked(bytes(row.ranges)).tolist()
    ]


def totals(ledger: Ledger) -> dict[str, int]:
    return {row.name: row.value for row in rows(ledger, total) if row.subject == "jobs"}


def standing(ledger: Ledger) -> tuple[int, int, int | None]:
    (row,) = rows(ledger, tables.sequence)
    return row.floor, row.high, row.open


class Follower:
    """A session that follows some partitions, as one instance of several does."""

    def __init__(self, about: Settings, ledger: Ledger, log: MemoryLog, places: list[Place]) -> None:
        self.stack, self.args, self.places = ExitStack(), (about, ledger, log), places

    def __enter__(self) -> Session:
        about, ledger, log = self.args
        session = self.stack.enter_context(opened(about, ledger, KEY_TYPES, streams=log.stream))
        session.attach(self.places)
        session.start()
        return session

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def read(session: Session) -> None:
    while session.read(0.0).batches:
        pass
    session.flush()


def judge(about: Settings, ledger: Ledger, ended: Mapping[Place, int]) -> None:
    newest = max(row.incarnation for row in rows(ledger, tables.sequence_place))
    numbering.judge(ledger, newest, about.numberings(), ended)
