"""Nothing hides rows from us: row-level security, grants, partitions, twin tables. The scope is printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.proofs.shown import ALL, Claim, Shown
from schemas.verdict import Proof

NAME = "visible"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    for name, told in shown.types.items():
        if told.hidden:
            seen, held = "; ".join(told.hidden), False
        else:
            seen, held = "; ".join(told.visible), bool(told.visible)
        yield Proof(
            name=NAME,
            data_type=name,
            held=held,
            seen=seen or "the catalog was not looked at",
            try_=None if held else _remedy(told.hidden),
        )


def _remedy(hidden: Sequence[str]) -> str:
    """Rows without a key are hidden by nothing that a grant would change."""
    keyless = [words for words in hidden if "have no key" in words]
    told = ["give those rows a key, or delete them, and make the key NOT NULL"] if keyless else []
    if len(keyless) < len(hidden) or not keyless:
        told.append("give our role BYPASSRLS or the missing grant, or name the table that is meant")
    return "; ".join(told)
