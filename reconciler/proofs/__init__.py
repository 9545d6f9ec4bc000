"""Every proof is a file of this folder: what is asked, what was seen, held or not, what to try, which claims need it.

A proof module has `NAME`, `needed_by(shown) -> set[Claim]` and `look(shown) -> Iterable[Proof]`. Adding a proof is adding a
file and its name to `ORDER`; a test holds that every file is listed. A proof only reads what the run showed (`Shown`); it
asks no server itself, and it is never reported as held without something that was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol, cast

from reconciler.proofs.shown import Claim, Shown
from schemas.verdict import Proof

__all__ = ["ORDER", "Claim", "Shown", "judge", "withheld"]

#: As reports print them.
ORDER = (
    "identity",
    "earlier_writers_ended",
    "snapshot",
    "visible",
    "window",
    "control",
    "reread",
    "log_identity",
    "log_drained",
    "decoded",
    "log_unbroken",
    "world",
)


class ProofModule(Protocol):
    NAME: str

    def needed_by(self, shown: Shown) -> frozenset[Claim]: ...
    def look(self, shown: Shown) -> Iterable[Proof]: ...


def module(name: str) -> ProofModule:
    return cast(ProofModule, import_module(f"reconciler.proofs.{name}"))


def judge(shown: Shown) -> list[Proof]:
    """All proofs, in order."""
    return [proof for name in ORDER for proof in module(name).look(shown)]


def withheld(shown: Shown, proofs: Iterable[Proof], claim: Claim, data_type: str) -> list[Proof]:
    """The proofs that take this claim away from this data type: those that failed, and those that were not asked."""
    return [
        proof
        for proof in proofs
        if proof.held is not True and proof.data_type in (None, data_type) and claim in module(proof.name).needed_by(shown)
    ]
