"""A small world for the tracker: settings over a broker or a log in memory, events as JSON, and the ledger read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from consumer.catch_up import catch_up
from consumer.ledger import lock_number
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas import sequence_ledger as numbers_of
from schemas.announced import Announced, fold
from schemas.keys import IntKey, KeyType
from schemas.ledger import Said
from schemas.log_state import LogState
from schemas.settings import Settings

KEY_TYPES: Mapping[str, KeyType] = {"job": IntKey(), "upload": IntKey()}


def settings(
    dsn: str,
    *,
    bootstrap: str = "memory:1",
    group: str = "fencepost",
    types: Mapping[str, Sequence[str]] | None = None,
    sequence: str | None = None,
    **more: Any,
) -> Settings:
    """Settings whose data types (name -> topics) read JSON events `{"type", "id", "op", "at"}`."""
    types = types or {"job": ["jobs"]}
    return Settings(
        source={"dsn": dsn},
        registry={"dsn": dsn},
        event_log={"kafka": {"bootstrap.servers": bootstrap, "group.id": group, "session.timeout.ms": 6000}},
        data_types={
            name: {
                "topics": list(topics),
                "format": "json",
                "match": {"type": name},
                "event": {"key": "id", "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"}
                | ({"sequence": sequence, "numbering": "all"} if sequence else {}),
                "source": {"table": f"public.{name}s", "key": "id"},
                "registry": {"table": f"public.{name}_registry", "key": "record_id"},
            }
            for name, topics in types.items()
        },
        **more,
    )


def event(key: object, op: str = "created", at: int | None = 1_700_000_000, name: str = "job") -> bytes:
    return json.dumps({"type": name, "id": key, "op": op, "at": at}).encode()


def fill(log: MemoryLog, topic: str, keys: Iterable[int], partition: int = 0, **of: Any) -> None:
    for key in keys:
        log.append(topic, event(key, **of), partition)


def words(ledger: Ledger, name: str = "job", *, ordered: bool = False) -> Announced:
    """What the ledger says of all keys, folded as a reader does."""
    key_type = KEY_TYPES[name]
    with ledger.begin() as db:
        rows = db.execute(
            sa.select(tables.segment_keys, tables.segment.c.first_us, tables.segment.c.last_us)
            .join(
                tables.segment,
                sa.and_(
                    tables.segment.c.incarnation == tables.segment_keys.c.incarnation,
                    tables.segment.c.data_type == tables.segment_keys.c.data_type,
                    tables.segment.c.first_number == tables.segment_keys.c.first_number,
                ),
            )
            .where(tables.segment.c.data_type == name)
        ).all()
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        of = found.setdefault(
            row.first_number,
            {"first_us": row.first_us, "last_us": row.last_us, **{str(s): key_type.empty() for s in Said}},
        )
        of[row.said] = of[row.said] | key_type.parse(bytes(row.keys))
    return fold(key_type, [Announced(**found[n]) for n in sorted(found)], ordered=ordered)


def credited(ledger: Ledger, name: str = "job") -> set[int]:
    return {int(k) for k in words(ledger, name).credited}


def numbers(ledger: Ledger, name: str = "job") -> list[tuple[int, int]]:
    s = tables.segment
    with ledger.begin() as db:
        rows = db.execute(sa.select(s.c.first_number, s.c.last_number).where(s.c.data_type == name).order_by(s.c.first_number))
        return [(first, last) for first, last in rows]


def gapless(spans: Sequence[tuple[int, int]]) -> bool:
    return all(b[0] == a[1] + 1 for a, b in pairwise(spans)) and (not spans or spans[0][0] == 1)


def rows(ledger: Ledger, table: sa.Table) -> list[Any]:
    with ledger.begin() as db:
        return list(db.execute(sa.select(table)).all())


def positions(ledger: Ledger) -> dict[tuple[str, int], int]:
    newest = max((r.incarnation for r in rows(ledger, tables.position)), default=0)
    return {(r.topic, r.partition): r.next_offset for r in rows(ledger, tables.position) if r.incarnation == newest}


def age(ledger: Ledger, minutes: int) -> None:
    """As if so much time had passed since the numbers of events in the ledger were read and judged."""
    s, p, x = numbers_of.sequence_seen.c, numbers_of.sequence_place.c, numbers_of.sequence.c
    by = sa.text(f"interval '{minutes} minutes'")
    with ledger.begin() as db:
        # Nobody may judge meanwhile: half of the times would be those of before.
        for name in db.execute(sa.select(numbers_of.sequence.c.numbering)).scalars().all():
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_number("sequence", ledger.schema, name))))
        db.execute(sa.update(numbers_of.sequence_seen).values(at=s.at - by))
        db.execute(sa.update(numbers_of.sequence_place).values(since=p.since - by, ended_at=p.ended_at - by))
        db.execute(sa.update(numbers_of.sequence).values(begun_at=x.begun_at - by))


def caught_up(about: Settings, ledger: Ledger, log: MemoryLog, **options: object) -> LogState:
    """What `catch_up` tells, over a log in memory."""
    return catch_up(about, ledger, KEY_TYPES, **({"streams": log.stream, "deadline_s": 0.3} | options))  # type: ignore[arg-type]
