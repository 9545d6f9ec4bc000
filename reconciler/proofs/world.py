"""What that verdict was about is what is looked at now. Asked by `recheck` alone; other runs have no earlier verdict."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import ALL, Claim, Shown
from schemas.verdict import Proof

NAME = "world"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    if shown.moved is None:
        return
    yield Proof(
        name=NAME,
        held=not shown.moved,
        seen="; ".join(shown.moved) or "servers, tables, keys, scope and accepted states are those that were judged",
        try_="that verdict is about another world: ask for a new one, fencepost cutover" if shown.moved else None,
    )
