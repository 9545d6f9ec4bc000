"""The forms in which a database tells where its integer keys differ from a guess, each exact in itself.

ranks   w-th key at or after f is l, and every row outside the guess is known: then exactly the guess lies in f…l.
        Needs a unique key: with a duplicate, a missing key and a repeated one would cancel out.
pushed  the guess travels as bits; rows outside it come back, and a count proves those inside. Unique as well.
words   one bit per integer of the range comes back. Duplicates do no harm.
packed  the keys come back. Duplicates do no harm.
"""

from __future__ import annotations

import numpy as np
from psycopg import sql
from pyroaring import BitMap64

from reconciler.probe.arrays import int8s
from reconciler.probe.bits import Ints, Words, aligned, blocks, steps, words_of
from reconciler.probe.reader import Plan, Reader
from schemas.keys import IntKeys

#: Ranges asked about in one statement; their keys must fit a client's hands too.
RANGES, REACH = 10_000, 1 << 20
#: Integers per counted block of the pushed form.
PUSHED_BLOCK = 4096
#: Keys of a rank jump's block from where on smaller ones do not pay.
_SMALL = 512
#: So many keys are read at once: another statement would cost more.
_READ = 4 * _SMALL

#: The words that begin at each of some integers.
_WORDS = (
    "SELECT pg_catalog.count(*), pg_catalog.string_agg(pg_catalog.int8send(coalesce(x.w, 0)), ''::bytea ORDER BY r.i)"
    " FROM ROWS FROM (pg_catalog.unnest(%b::int8[])) WITH ORDINALITY AS r(b, i), LATERAL"
    " (SELECT pg_catalog.bit_or(1::int8 << ({key} - r.b)::int4) AS w FROM {table}"
    " WHERE {key} >= r.b AND {key} <= r.b + 63{where}) AS x"
)
#: The keys of each range, as offsets from its first.
_PACKED = (
    "SELECT pg_catalog.count(*), pg_catalog.string_agg(pg_catalog.int4send(r.i::int4)"
    " || pg_catalog.int4send(pg_catalog.octet_length(x.o)), ''::bytea) FILTER (WHERE x.o IS NOT NULL),"
    " pg_catalog.string_agg(x.o, ''::bytea)"
    " FROM ROWS FROM (pg_catalog.unnest(%b::int8[]), pg_catalog.unnest(%b::int8[])) WITH ORDINALITY AS r(f, l, i),"
    " LATERAL (SELECT pg_catalog.string_agg(pg_catalog.int4send(({key} - r.f)::int4), ''::bytea) AS o FROM {table}"
    " WHERE {key} >= r.f AND {key} <= r.l{where}) AS x"
)
#: Which ranges do not have exactly their n-th row at their end.
_DIFFERING = (
    "SELECT pg_catalog.count(*), pg_catalog.string_agg(pg_catalog.int4send(r.i::int4), ''::bytea)"
    " FILTER (WHERE x.k IS DISTINCT FROM r.l)"
    " FROM ROWS FROM (pg_catalog.unnest(%b::int8[]), pg_catalog.unnest(%b::int8[]), pg_catalog.unnest(%b::int8[]))"
    " WITH ORDINALITY AS r(f, l, n, i) LEFT JOIN LATERAL (SELECT {key} AS k FROM {table}"
    " WHERE {key} >= r.f{upper}{where} ORDER BY {key} OFFSET r.n - 1 LIMIT 1) AS x ON true"
)


class GuessTooPoor(Exception):
    """So many blocks differ that reading them one by one would cost more than another form."""


def words(reader: Reader, firsts: Ints) -> Words:
    """The words that begin at `firsts`."""
    count, data = reader.row(reader.once("words", lambda: reader.sql(_WORDS)), (int8s(firsts),), plan=Plan.INDEX)
    if count != len(firsts) or len(data or b"") != 8 * count:
        raise reader.incomplete(f"{count} words of {len(firsts)} came")
    return np.frombuffer(data or b"", ">u8").astype(np.uint64)


def all_words(reader: Reader, low: int, high: int) -> Words:
    return words(reader, steps(low, high, 64))


def packed(reader: Reader, firsts: Ints, lasts: Ints) -> IntKeys:
    """The keys of each range first…last, bounds included. Each range spans less than 2**31."""
    found = IntKeys()
    for part in _portions(firsts, lasts):
        found = found | _packed(reader, firsts[part], lasts[part])
    return found


def _portions(firsts: Ints, lasts: Ints) -> list[slice]:
    """Cut ranges into statements of bounded size."""
    if not len(firsts):
        return []
    reach = np.cumsum(lasts - firsts + 1)
    out, at = [], 0
    while at < len(firsts):
        base = reach[at - 1] if at else 0
        end = min(max(int(np.searchsorted(reach, base + REACH, side="right")), at + 1), at + RANGES)
        out.append(slice(at, end))
        at = end
    return out


def _packed(reader: Reader, firsts: Ints, lasts: Ints) -> IntKeys:
    query = reader.once("packed", lambda: reader.sql(_PACKED))
    count, heads, data = reader.row(query, (int8s(firsts), int8s(lasts)), plan=Plan.INDEX)
    pairs = np.frombuffer(heads or b"", ">i4").reshape(-1, 2).astype(np.int64)
    if count != len(firsts) or pairs[:, 1].sum() != len(data or b""):
        raise reader.incomplete(f"{count} ranges of {len(firsts)} came")
    offsets = np.frombuffer(data or b"", ">i4").astype(np.int64)
    return IntKeys.of(np.repeat(firsts[pairs[:, 0] - 1], pairs[:, 1] // 4) + offsets)


def ranks(reader: Reader, guess: IntKeys, gaps: tuple[Ints, Ints] | None, width: int) -> tuple[IntKeys, int]:
    """The keys of a slice by rank jumps over blocks of `width` guessed keys, and how many blocks differed.

    `gaps`: first and last of each run of the slice's integers that the guess does not hold; none where it holds all.
    Raises GuessTooPoor where a quarter of all keys lie in blocks that differ, however small.
    """
    assert reader.table.unique
    outside = IntKeys() if gaps is None else packed(reader, *gaps)
    # From here on every row of the range is in `known`; what is not yet sure is that every key of `known` is a row.
    known = guess | outside if len(outside) else guess
    found = blocks(known, width)
    while True:
        bad = differing(reader, *found)
        firsts, lasts, counts = (column[bad] for column in found)
        if not len(firsts):
            return known, 0
        if width <= _SMALL and counts.sum() * 4 > max(len(known), 4 * _SMALL):
            raise GuessTooPoor
        if width <= _SMALL or counts.sum() <= _READ:
            break
        # Jump again, in smaller blocks, each within a block that differed: to read a key costs several times what it costs
        # to walk over it.
        width = _SMALL
        found = _split(known, firsts, lasts, width)
    return (known - _ranges(firsts, lasts)) | packed(reader, firsts, lasts), len(firsts)


def _split(known: IntKeys, firsts: Ints, lasts: Ints, width: int) -> tuple[Ints, Ints, Ints]:
    """Smaller blocks of the same ranges. None reaches from one range into the next: between them lie other keys."""
    parts = [known.cut(first, last + 1) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
    first, last, count = zip(*[blocks(part, width) for part in parts], strict=True)
    return np.concatenate(first), np.concatenate(last), np.concatenate(count)


def _ranges(firsts: Ints, lasts: Ints) -> IntKeys:
    bits = BitMap64()
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        bits |= IntKeys.range(first, last + 1).bits
    return IntKeys(bits)


def differing(reader: Reader, firsts: Ints, lasts: Ints, counts: Ints) -> Ints:
    """Which blocks do not hold exactly `counts` rows between first and last."""
    if not len(firsts):
        return firsts
    query = reader.once("differing", lambda: _differing(reader))
    count, bad = reader.row(query, (int8s(firsts), int8s(lasts), int8s(counts)), plan=Plan.INDEX)
    if count != len(firsts):
        raise reader.incomplete(f"{count} blocks of {len(firsts)} came")
    return np.sort(np.frombuffer(bad or b"", ">i4").astype(np.int64)) - 1


def _differing(reader: Reader) -> sql.Composed:
    # With a condition the walk to the w-th row could cross the whole table, so it needs an upper bound; without one, the
    # bound would only double the price of each index entry.
    upper = reader.sql(" AND {key} <= r.l") if reader.where is not None else reader.sql("")
    return reader.sql(_DIFFERING, upper=upper)


def pushed(reader: Reader, guess: IntKeys, low: int, high: int) -> tuple[IntKeys, int]:
    """The keys of [low, high), multiples of the block, by pushing the guess's bits; and how many blocks differed."""
    assert reader.table.unique
    assert aligned(low, high, PUSHED_BLOCK) == (low, high)
    query = reader.sql(
        "SELECT b, x.n, x.o FROM pg_catalog.generate_series(%(low)b::int8, %(last)b::int8, {step}) AS b, LATERAL"
        " (SELECT pg_catalog.count(*)::int8 AS n, pg_catalog.string_agg(pg_catalog.int2send(({key} - b)::int2), ''::bytea)"
        " FILTER (WHERE pg_catalog.get_bit(%(bits)b::bytea, ({key} - %(low)b::int8)::int4) = 0) AS o"
        " FROM {table} WHERE {key} >= b AND {key} <= b + {reach}{where}) AS x",
        step=sql.Literal(PUSHED_BLOCK),
        reach=sql.Literal(PUSHED_BLOCK - 1),
    )
    bits = words_of(guess, low, high)
    rows = reader.rows(query, {"low": low, "last": high - 1, "bits": bits.tobytes()}, plan=Plan.INDEX)
    if len(rows) != (high - low) // PUSHED_BLOCK:
        raise reader.incomplete(f"{len(rows)} blocks of {(high - low) // PUSHED_BLOCK} came")
    rows.sort()
    firsts, held = (np.array([row[at] for row in rows], np.int64) for at in (0, 1))
    sizes = np.array([len(row[2] or b"") // 2 for row in rows], np.int64)
    offsets = np.frombuffer(b"".join(row[2] or b"" for row in rows), ">i2").astype(np.int64)
    known = guess | IntKeys.of(np.repeat(firsts, sizes) + offsets)
    wanted = np.bitwise_count(bits).reshape(len(rows), -1).sum(axis=1, dtype=np.int64)
    bad = np.flatnonzero(held - sizes != wanted)
    if len(bad) * 4 > len(rows) > 4:
        raise GuessTooPoor
    lasts = firsts[bad] + (PUSHED_BLOCK - 1)
    return (known - _ranges(firsts[bad], lasts)) | packed(reader, firsts[bad], lasts), len(bad)
