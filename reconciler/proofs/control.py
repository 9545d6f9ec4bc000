"""Needles: keys known to be present were left out of the pushed sets and came back; the log speaks of these very rows."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.ports import names
from reconciler.proofs.shown import ALL, Claim, Shown, TypeShown
from schemas.verdict import Proof

NAME = "control"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    for name, told in shown.types.items():
        yield _of(name, told)


def _of(name: str, told: TypeShown) -> Proof:
    needles = told.needles
    if needles.lost:
        seen = f"{len(needles.lost)} of {needles.pushed} needles did not come back: {names(needles.lost)}"
        return Proof(name=NAME, data_type=name, held=False, seen=seen, try_="do not cut over; report this as a bug")
    if told.rows == 0 and not needles.outside and not told.empty_allowed:
        return Proof(
            name=NAME,
            data_type=name,
            held=False,
            seen="no source row was seen: 0 of 0 proves nothing",
            try_="check source.table and scope; where zero rows are right, say `empty: allowed` for this data type",
        )
    if needles.newest and not needles.newest_found:
        return Proof(
            name=NAME,
            data_type=name,
            held=False,
            seen=f"none of the {needles.newest} newest announced creations is a row of the source",
            try_="check that the topic and the source belong together, and that the source is not an old copy",
        )
    if told.rows and not needles.pushed:
        return Proof(name=NAME, data_type=name, held=False, seen="no needle could be pushed", try_="report this as a bug")
    seen = f"{needles.pushed} {'needle' if needles.pushed == 1 else 'needles'} left out of what was pushed, all came back"
    if needles.newest:
        seen += f"; {needles.newest_found} of the {needles.newest} newest announced creations are source rows"
    if told.rows == 0:
        seen = "no source rows, and the data type says `empty: allowed`"
        if needles.outside:
            seen = "no source row lies in the window, and a row of the table that lies outside was found"
    return Proof(name=NAME, data_type=name, held=True, seen=seen)
