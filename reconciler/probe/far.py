"""Learn integer keys that lie in islands far apart, from a guess that knows the islands: many of them in one statement.

As with rank jumps over a dense slice (`int_forms.ranks`), but what lies between two keys of the guess may be as wide as
int64. So the rows there are asked for as keys and not as offsets, and only so many of them.
"""

from __future__ import annotations

import numpy as np
from psycopg import sql

from reconciler.probe.arrays import int8s
from reconciler.probe.bits import Ints, runs
from reconciler.probe.int_forms import RANGES, GuessTooPoor, differing
from reconciler.probe.ints import LEAST, WALK, best_block
from reconciler.probe.reader import Plan, Reader
from schemas.errors import UnavailableError
from schemas.keys import INT64_MAX, IntKeys

#: Costs in the unit of `ints`: a hole asked about, which is a descent of the index; a key that was read and not known.
HOLE, READ = 3.0, 0.3


def worth(guess: IntKeys) -> bool:
    """Whether asking about each hole of this guess costs less than reading all its keys."""
    count = len(guess)
    return count > 0 and (len(runs(guess)[0]) + 1) * HOLE + count * WALK < count * READ


def learn_far(reader: Reader, guess: IntKeys, low: int, high: int | None, there: int | None) -> tuple[IntKeys, int]:
    """The keys of [low, high), and how many needles were used.

    `there` is a key of a row of any state that was seen there a moment ago: where the guess holds it, and its row meets the
    reader's condition, it is left out and must come back. Raises GuessTooPoor where reading all keys would cost less.
    """
    assert reader.table.unique
    needle = there if there is not None and there in guess and _meets(reader, there) else None
    handicapped = guess if needle is None else guess - IntKeys.of(np.array([needle], np.int64))
    if not len(handicapped):
        raise GuessTooPoor
    found = _learn(reader, handicapped, low, INT64_MAX if high is None else high - 1)
    if needle is not None and needle not in found:
        raise UnavailableError(
            f"cannot trust what {reader.table.qualified} answers: key {needle}, seen a moment ago in the same snapshot,"
            " was not found again between its neighbours"
        )
    # The same object again where nothing differed: set algebra on it is then free.
    return (guess if found == guess else found), int(needle is not None)


def _meets(reader: Reader, key: int) -> bool:
    """Whether the row of that key is one that the reader asks for: the first of a range may be out of scope."""
    at = np.array([key], np.int64)
    return reader.where is None or len(_some_keys_in(reader, at, at, 1)) == 1


def _learn(reader: Reader, guess: IntKeys, low: int, last: int) -> IntKeys:
    outside = _keys_in(reader, *_holes(guess, low, last), most=max(len(guess) // 4, 64))
    # From here on every row of the range is in `known`; what is not yet sure is that every key of `known` is a row.
    known = guess | outside
    column = known.column()
    block, _ = best_block(len(column), LEAST)
    firsts, lasts = column[::block], np.append(column[block - 1 :: block], column[-1:] if len(column) % block else column[:0])
    counts = np.full(len(firsts), block, np.int64)
    counts[-1] = len(column) - block * (len(firsts) - 1)
    bad = differing(reader, firsts, lasts, counts)
    if not len(bad):
        return known
    if int(counts[bad].sum()) * 4 > max(len(column), 4 * block):
        raise GuessTooPoor
    kept = np.ones(len(column), np.bool_)
    for at in bad.tolist():
        kept[at * block : (at + 1) * block] = False
    # A block that differs holds no key that is not in `known`, so no more than it was thought to hold.
    return IntKeys.from_sorted(column[kept]) | _keys_in(reader, firsts[bad], lasts[bad], most=int(counts[bad].sum()))


def _holes(guess: IntKeys, low: int, last: int) -> tuple[Ints, Ints]:
    """First and last integer of every hole of [low, last]."""
    starts, ends = runs(guess)
    firsts = [low, *(ends[ends < last] + 1).tolist()]
    lasts = [*(starts[starts > low] - 1).tolist(), last]
    if int(starts[0]) <= low:
        firsts = firsts[1:]
    if int(ends[-1]) >= last:
        lasts = lasts[:-1]
    return np.array(firsts, np.int64), np.array(lasts, np.int64)


def _keys_in(reader: Reader, firsts: Ints, lasts: Ints, *, most: int) -> IntKeys:
    """The keys of each range first…last, bounds included. Raises GuessTooPoor where they are more than `most`."""
    found = []
    for at in range(0, len(firsts), RANGES):
        some = slice(at, at + RANGES)
        found.append(_some_keys_in(reader, firsts[some], lasts[some], most + 1))
        most -= len(found[-1])
        if most < 0:
            raise GuessTooPoor
    return IntKeys.of(np.concatenate(found)) if found else IntKeys()


def _some_keys_in(reader: Reader, firsts: Ints, lasts: Ints, limit: int) -> Ints:
    query = reader.sql(
        "SELECT pg_catalog.count(*), pg_catalog.string_agg(pg_catalog.int8send(y.k), ''::bytea) FROM (SELECT x.k"
        " FROM ROWS FROM (pg_catalog.unnest(%b::int8[]), pg_catalog.unnest(%b::int8[])) AS r(f, l),"
        " LATERAL (SELECT {key}::int8 AS k FROM {table} WHERE {key} >= r.f AND {key} <= r.l{where} LIMIT {limit}) AS x"
        " LIMIT {limit}) AS y",
        limit=sql.Literal(limit),
    )
    count, data = reader.row(query, (int8s(firsts), int8s(lasts)), plan=Plan.INDEX)
    found = np.frombuffer(data or b"", ">i8").astype(np.int64)
    if len(found) != count:
        raise reader.incomplete(f"{len(found)} keys of {count} came")
    return found
