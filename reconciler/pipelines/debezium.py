"""Debezium on Kafka Connect: its connector runs, reads our database, and the source offset it stored has passed the fence.

Connect stores the offset of the last record before which all were acknowledged, and a slot is decoded in the order of
commits: an offset past the fence belongs to a transaction that committed after it, so everything earlier is in the topics.
On a quiet database the offset stays short of the fence; with `fence.marker` a message in the WAL, no table touched, moves
it. A slot's `confirmed_flush_lsn` is its reader's last acknowledgement, no prefix of what is in the topics: told as bounded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from databases.connect import connect, renamed
from reconciler.identity import lsn_number
from reconciler.pipelines import application, lossy, publications
from reconciler.pipelines.connect import Connector, NotThereError
from reconciler.pipelines.contract import Asked, Passing
from reconciler.scene import Scene
from schemas.errors import FencepostError, UnavailableError
from schemas.settings import FenceSettings, Settings

POSTGRES = "io.debezium.connector.postgresql.PostgresConnector"
MARKER = "fencepost"
#: Debezium's own defaults, where a connector's configuration leaves them out.
DEFAULT_SLOT, DEFAULT_PUBLICATION = "debezium", "dbz_publication"
#: In a row: one answer that does not come is no reason to give up.
FAILURES = 3
_RESUME = "start or resume the connector"

_SLOT = """
SELECT s.active, s.confirmed_flush_lsn::text, s.database::text, current_database()::text, coalesce(s.wal_status, '')
  FROM pg_replication_slots s WHERE s.slot_name::text = %s"""


class _NotPassing(Exception):
    """The pipeline cannot pass the fence without somebody's help."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why, self.remedy = why, remedy


def passed(asked: Asked) -> Passing:
    """Ask Connect until the stored offset has passed the fence, at most `wait_s`."""
    fence = asked.settings.fence
    assert fence.connect
    assert fence.connector
    try:
        connector = Connector(fence.connect, fence.connector)
        config = connector.config()
        agree(fence, config, asked.scene.fence_at)
        if fence.marker:
            mark(asked.settings)
        seen = _follow(asked, connector)
    except _NotPassing as error:
        return Passing(seen="", fault=error.why, remedy=error.remedy)
    except FencepostError as error:
        return Passing(seen="", fault=str(error), remedy=error.hint or "fencepost check")
    unannounced = _unannounced(asked.scene, fence.publication or _word(config, "publication.name", DEFAULT_PUBLICATION))
    return Passing(seen=seen, unannounced=unannounced)


def standing(settings: Settings, source: psycopg.Connection[Any]) -> Passing:
    """How the connector stands now, for a look before the start: nothing is waited for, nothing written."""
    fence = settings.fence
    assert fence.connect
    assert fence.connector
    try:
        connector = Connector(fence.connect, fence.connector)
        agree(fence, connector.config(), source)
        status, (_, told) = connector.status(), position(connector.offsets())
    except _NotPassing as error:
        return Passing(seen="", fault=error.why, remedy=error.remedy)
    except FencepostError as error:
        return Passing(seen="", fault=str(error), remedy=error.hint)
    if not status.running:
        return Passing(seen="", fault=f"the connector {fence.connector!r} is not running: {status.described}", remedy=_RESUME)
    return Passing(seen=f"the connector {fence.connector!r} is running; {told}")


def dropping(settings: Settings) -> list[str]:
    """By which of its settings the connector may drop records, for a look before the start; nothing where nobody can say."""
    fence = settings.fence
    assert fence.connect
    assert fence.connector
    try:
        return list(lossy.dropping(Connector(fence.connect, fence.connector).config()))
    except FencepostError:
        return []


def bounded(asked: Asked) -> Passing:
    """Connect is not to be asked: what the slot says is told, and silence for `settle` bounds the rest."""
    settle = application.silence(asked)
    told = "fence.connect and fence.connector are not set, so the connector was not asked"
    slot = asked.settings.fence.slot
    if slot is not None:
        with renamed(f"look at the slot {slot!r}"):
            row = asked.scene.fence_at.execute(_SLOT, [slot]).fetchone()
        if row is None:
            return Passing(seen="", fault=f"the source has no replication slot {slot!r}", remedy="look at fence.slot")
        active, confirmed, *_ = row
        if not active:
            why = f"the replication slot {slot!r} is not being read; it was last confirmed at {confirmed}"
            return Passing(seen="", fault=why, remedy="start the connector")
        told += f"; its slot {slot} is confirmed up to {confirmed}, fence at {asked.lsn}"
    publication = asked.settings.fence.publication
    unannounced = _unannounced(asked.scene, publication) if publication is not None else {}
    return Passing(seen=f"bounded: waited {settle.total_seconds():g} s after the fence; {told}", unannounced=unannounced)


def agree(fence: FenceSettings, config: Mapping[str, Any], source: psycopg.Connection[Any]) -> None:
    """The connector is one that reads this database through a slot that is being read now.

    LSNs of two servers compare as well as any numbers: another one's connector would pass every fence.
    """
    where = "look at fence.connector, and at the connector's configuration"
    if config.get("connector.class") not in (POSTGRES, POSTGRES.rpartition(".")[2], "PostgreSql"):
        raise _NotPassing(f"the connector {fence.connector!r} is no Debezium connector for PostgreSQL", where)
    slot = _word(config, "slot.name", DEFAULT_SLOT)
    for setting, wanted, has in (
        ("slot", fence.slot, slot),
        ("publication", fence.publication, _word(config, "publication.name", DEFAULT_PUBLICATION)),
    ):
        if wanted is not None and wanted != has:
            why = f"the connector {fence.connector!r} uses the {setting} {has!r}, fence.{setting} is {wanted!r}"
            raise _NotPassing(why, where)
    with renamed(f"look at the slot {slot!r}"):
        row = source.execute(_SLOT, [slot]).fetchone()
    if row is None:
        raise _NotPassing(f"the source has no replication slot {slot!r}, which the connector reads: another server's?", where)
    active, _, database, ours, wal_status = row
    if database != ours:
        raise _NotPassing(f"the slot {slot!r} is of database {database!r}, the source's is {ours!r}", where)
    if wal_status == "lost":
        raise _NotPassing(f"the slot {slot!r} is lost: WAL that Debezium had not read was removed", "see Debezium's manual")
    if not active:
        raise _NotPassing(f"the replication slot {slot!r} is not being read", _RESUME)


def mark(settings: Settings) -> None:
    """Write a message into the WAL of the server where the fence was taken. Raises FencepostError."""
    source = settings.source
    with (
        connect(source.writable, "the source", statement_timeout=source.statement_timeout) as connection,
        renamed("write fence.marker"),
    ):
        connection.execute("SELECT pg_logical_emit_message(true, %s, 'fence')", [MARKER])


def position(offsets: Sequence[Mapping[str, Any]]) -> tuple[int | None, str]:
    """Up to where all is acknowledged, and in words; None where that cannot be said.

    `lsn` is the place of the last record itself. Where there are several offsets, as after a change of `topic.prefix`,
    nothing tells which one is of today: the one furthest behind counts.
    """
    if not offsets:
        return None, "it has stored no offset yet"
    found = []
    for offset in offsets:
        lsn = offset.get("lsn")
        if not isinstance(lsn, int) or isinstance(lsn, bool) or not 0 <= lsn < 1 << 64:
            return None, "its stored offset has no lsn"
        # While the first snapshot is under way the LSN is the snapshot's: rows of before it are not all out.
        if offset.get("snapshot") not in (None, False, "false"):
            return None, "its first snapshot is under way, or nothing came after it yet"
        found.append(lsn)
    return min(found), f"its stored offset is {_text(min(found))}"


def _follow(asked: Asked, connector: Connector) -> str:
    target, deadline = lsn_number(asked.lsn), time.monotonic() + asked.wait_s
    failures = 0
    while True:
        late = time.monotonic() > deadline
        try:
            status = connector.status()
            at, told = position(connector.offsets())
            failures = 0
        except NotThereError:
            raise
        except UnavailableError:
            failures += 1
            if failures >= FAILURES or late:
                raise
            _pause(asked)
            continue
        if status.running and at is not None and at >= target:
            return f"connector {connector.name} is running, and {told}, past the fence at {asked.lsn}"
        if not status.running and (late or not status.changing):
            raise _NotPassing(f"the connector {connector.name!r} is not running: {status.described}", _RESUME)
        if late:
            why = f"the connector {connector.name!r} runs, but {told}, and the fence is at {asked.lsn}"
            raise _NotPassing(why, _moving(asked.settings.fence))
        asked.say.waiting(f"for the connector {connector.name} to pass the fence at {asked.lsn}: {told}")
        _pause(asked)


def _pause(asked: Asked) -> None:
    if asked.stop.wait(0.2):
        raise _NotPassing("we were told to stop before the connector had passed the fence", "run the command again")


def _moving(fence: FenceSettings) -> str:
    more = "wait longer with --wait"
    if fence.marker:
        return f"{more}; is the topic of WAL messages, PREFIX.message, there or may it be created?"
    moved_by = "set fence.marker: true, or give the connector a heartbeat.action.query"
    return f"on a quiet database nothing moves it: {moved_by}; else {more}"


def _unannounced(scene: Scene, publication: str) -> dict[str, str]:
    found = {}
    for subject in scene.subjects:
        if subject.data_type.event is not None:  # an outbox table carries it, of which the settings do not tell the name
            continue
        if (why := publications.lacking(scene.fence_at, subject.source, publication)) is not None:
            found[subject.name] = why
    return found


def _word(config: Mapping[str, Any], name: str, default: str) -> str:
    value = config.get(name)
    return value if isinstance(value, str) and value else default


def _text(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
