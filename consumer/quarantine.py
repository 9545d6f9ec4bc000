"""The records that could not be read: list them, show one, and settle them: read them again, or accept their loss.

Records are set aside by `consumer.aside`. Nothing here touches positions.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from consumer.formats.contract import Decoder
from consumer.ledger import append, lock_type
from consumer.routes import opened_decoders
from consumer.segments import Segment, fold_batches
from consumer.session import kafka
from consumer.settlement import Settlement, with_reason
from consumer.streams.contract import EventStream, Place, StreamFactory
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import LedgerError
from schemas.events import RawBatch
from schemas.keys import KeySet, KeyType
from schemas.ledger import Said, Settled
from schemas.settings import Settings

quarantine = tables.quarantine
ASK_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """One quarantined record. `value` holds its first bytes only."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    size: int
    state: str
    at: datetime
    value: bytes | None = None
    settled_at: datetime | None = None
    settled_by: str | None = None
    settled_reason: str | None = None

    @property
    def place(self) -> Place:
        return (self.topic, self.partition)


def list_(ledger: Ledger, *, state: str | None = Settled.OPEN, limit: int = 100) -> list[SetAside]:
    """The oldest first; `state=None` lists all."""
    query = sa.select(quarantine).order_by(quarantine.c.id).limit(limit)
    if state is not None:
        query = query.where(quarantine.c.state == state)
    with ledger.begin("read the quarantine") as db:
        return [_aside(row) for row in db.execute(query)]


def count(ledger: Ledger, *, state: str | None = Settled.OPEN) -> int:
    query = sa.select(sa.func.count()).select_from(quarantine)
    if state is not None:
        query = query.where(quarantine.c.state == state)
    with ledger.begin("read the quarantine") as db:
        return int(db.execute(query).scalar_one())


def show(ledger: Ledger, number: int) -> SetAside:
    """One record. Raises LedgerError where there is none of this id."""
    return _chosen(ledger, [number])[0]


def accept(ledger: Ledger, ids: Sequence[int], *, reason: str, by: str) -> Settlement:
    """Take the loss of these records, by name and reason."""
    why = with_reason(reason)
    chosen = _chosen(ledger, ids)
    open_ = [record.id for record in chosen if record.state == Settled.OPEN]
    with ledger.begin("accept quarantined records") as db:
        # Two operators at once: the second is told, and the first one's reason stands.
        ours = set(_settle(db, open_, Settled.ACCEPTED, by, why))
    already = {r.id: f"it is already {r.state if r.state != Settled.OPEN else 'settled'}" for r in chosen}
    return Settlement(
        settled=tuple(r.id for r in chosen if r.id in ours),
        failed={number: words for number, words in already.items() if number not in ours},
    )


def read_again(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    ids: Sequence[int],
    *,
    by: str,
    streams: StreamFactory | None = None,
    decoders: Mapping[str, Decoder] | None = None,
) -> Settlement:
    """Read these records again from the log; what they announce is appended, and they are resolved."""
    chosen = _chosen(ledger, ids)
    failed = {r.id: f"it is already {r.state}" for r in chosen if r.state != Settled.OPEN}
    wanted = [r for r in chosen if r.id not in failed]
    known = sorted({topic for t in settings.data_types.values() for topic in t.topics})
    failed |= {r.id: f"no data type reads the topic {r.topic!r} any more" for r in wanted if r.topic not in known}
    wanted = [r for r in wanted if r.id not in failed]
    if wanted:
        topics = sorted({r.topic for r in wanted})
        with opened_decoders(settings, key_types, topics, decoders, sparing=False) as decode:
            failed |= _again(ledger, key_types, streams or kafka(settings), decode, wanted, by)
    return Settlement(settled=tuple(i for i in ids if i not in failed), failed=failed)


# -- reading again ----------------------------------------------------------------------------------------------------


def _again(
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    open_stream: StreamFactory,
    decoders: Mapping[str, Decoder],
    wanted: Sequence[SetAside],
    by: str,
) -> dict[int, str]:
    failed: dict[int, str] = {}
    changed = _recreated_since(ledger, wanted)
    for record in wanted:
        if record.id in changed:
            failed[record.id] = "its topic was recreated since: another record may stand at this offset"
            continue
        stamped = [record.topic] if decoders[record.topic].needs_timestamps else []
        with closing(open_stream(stamped)) as stream:
            raw = _fetch(stream, record)
        if raw is None:
            failed[record.id] = "the log does not hold it any more; accept its loss instead"
            continue
        if not _same(record, raw):
            failed[record.id] = "another record stands at its offset now; accept its loss instead"
            continue
        decoded = decoders[record.topic].decode(raw)
        if decoded.unreadable:
            failed[record.id] = decoded.unreadable[0].reason
            continue
        segments = [fold_batches(key_types[batch.data_type], [batch]) for batch in decoded.batches if len(batch)]
        with ledger.begin("resolve a quarantined record") as db:
            if not _settle(db, (record.id,), Settled.RESOLVED, by, "read again"):
                failed[record.id] = "it was settled by somebody else meanwhile"
                continue
            for segment in sorted(segments, key=lambda s: s.data_type):
                key_type = key_types[segment.data_type]
                lock_type(db, segment.data_type, ledger.schema)  # nobody may speak of the key between look and word
                append(db, _incarnation(db), doubted(db, segment, key_type), key_type, ledger.schema)
    return failed


def _same(record: SetAside, raw: RawBatch) -> bool:
    """Whether it is the record that was set aside: a topic made anew has the same offsets again."""
    value = raw.values[0]
    if value is None or record.value is None:
        return value is None and record.value is None
    return len(value) == record.size and value[: len(record.value)] == record.value


def _fetch(stream: EventStream, record: SetAside) -> RawBatch | None:
    """The one record at this offset. Raises SettingsError where its topic is gone."""
    stream.shape([record.topic])
    span = stream.spans([record.place])[record.place]
    if not span.start <= record.offset < span.high:
        return None
    stream.assign({record.place: record.offset})
    deadline = time.monotonic() + ASK_WITHIN_S
    while time.monotonic() < deadline:
        reading = stream.read(1, 0.2)
        for raw in reading.batches:
            if int(raw.offsets[0]) != record.offset:
                return None  # compacted away
            return RawBatch(
                topic=raw.topic,
                partition=raw.partition,
                offsets=raw.offsets[:1],
                values=raw.values[:1],
                timestamps=None if raw.timestamps is None else raw.timestamps[:1],
            )
        if reading.ends or reading.broken or reading.corrupt:
            return None
    return None


def doubted(db: sa.Connection, segment: Segment, key_type: KeyType) -> Segment:
    """The segment, with every key on which the ledger says otherwise already made unsure.

    A record read again is older than its number: appended plainly, a creation would follow the deletion that came after
    it, and be believed.
    """
    said, keys = segment.said, tables.segment_keys
    every: KeySet = said.created | said.deleted | said.recreated | said.unsure
    rows = db.execute(
        sa.select(keys.c.said, keys.c["keys"]).where(
            keys.c.incarnation == _incarnation(db),
            keys.c.data_type == segment.data_type,
            keys.c.low <= key_type.bound(every.max()),
            keys.c.high >= key_type.bound(every.min()),
        )
    )
    contested = nothing = key_type.empty()
    agreeing = {Said.CREATED: said.created, Said.RECREATED: said.created, Said.DELETED: said.deleted}
    for word, data in rows:
        found = key_type.parse(bytes(data)) & every
        contested = contested | (found - agreeing.get(word, nothing))
    if not len(contested):
        return segment
    return replace(
        segment,
        said=replace(
            said,
            created=said.created - contested,
            deleted=said.deleted - contested,
            recreated=said.recreated - contested,
            unsure=said.unsure | contested,
        ),
    )


def _incarnation(db: sa.Connection) -> int:
    return int(db.execute(sa.select(sa.func.max(tables.incarnation.c.id))).scalar_one())


def _recreated_since(ledger: Ledger, wanted: Collection[SetAside]) -> set[int]:
    h, q = tables.hole, quarantine
    with ledger.begin("look for recreated topics") as db:
        newest = _incarnation(db)
        later = sa.exists().where(
            h.c.topic == q.c.topic, h.c.partition == q.c.partition, h.c.kind == "recreated", h.c.at > q.c.at
        )
        query = sa.select(q.c.id).where(q.c.id.in_([r.id for r in wanted]), sa.or_(later, q.c.incarnation != newest))
        return set(db.execute(query).scalars())


# -- rows -------------------------------------------------------------------------------------------------------------


def _chosen(ledger: Ledger, ids: Sequence[int]) -> list[SetAside]:
    with ledger.begin("read the quarantine") as db:
        rows = db.execute(sa.select(quarantine).where(quarantine.c.id.in_(ids)).order_by(quarantine.c.id))
        found = {row.id: _aside(row) for row in rows}
    for number in ids:
        if number not in found:
            raise LedgerError(
                f"there is no quarantined record {number}", hint="`fencepost quarantine list` shows the open ones"
            )
    return [found[number] for number in dict.fromkeys(ids)]


def _settle(db: sa.Connection, ids: Sequence[int], state: Settled, by: str, reason: str) -> list[int]:
    """Those of the records that were open until now."""
    values: dict[str, object] = {"state": state, "settled_by": by, "settled_reason": reason}
    if state is Settled.RESOLVED:
        values["value"] = None  # kept bytes go with the question they were kept for; a lost record's still name its keys
    settled = (
        sa.update(quarantine)
        .where(quarantine.c.id.in_(ids), quarantine.c.state == Settled.OPEN)
        .values(settled_at=sa.func.clock_timestamp(), **values)
        .returning(quarantine.c.id)
    )
    return list(db.execute(settled).scalars())


def _aside(row: sa.Row[tuple[object, ...]]) -> SetAside:
    r = row._mapping
    return SetAside(
        id=r["id"], topic=r["topic"], partition=r["partition"], offset=r["offset"], reason=r["reason"], size=r["size"],
        state=r["state"], at=r["at"], value=None if r["value"] is None else bytes(r["value"]),
        settled_at=r["settled_at"], settled_by=r["settled_by"], settled_reason=r["settled_reason"],
    )  # fmt: skip
