"""The compare was run again in a second snapshot, after any backfill, and came back empty."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.ports import names
from reconciler.proofs.shown import Claim, Shown
from schemas.verdict import Proof, utc

NAME = "reread"
_LEFT = (
    "see the notes for what was not inserted, and why; where everything was, writers or a conflicting applier are at work:"
    " run the cutover again"
)


def needed_by(shown: Shown) -> frozenset[Claim]:
    # A second compare that found something is GAPS, with its keys; only one that never ran leaves us unable to tell.
    return frozenset({Claim.CREATES}) if shown.cutover and _unread(shown) else frozenset()


def look(shown: Shown) -> Iterable[Proof]:
    if not shown.cutover:
        yield Proof(name=NAME, held=None, seen="asked at a cutover only")
        return
    unread = _unread(shown)
    if unread or shown.reread_at is None:
        seen = f"the compare was not run again for {names(unread)}"
        yield Proof(name=NAME, held=False, seen=seen, try_="run the cutover again")
        return
    left = {name: told.remaining for name, told in shown.types.items() if told.remaining}
    seen = f"second snapshot at {utc(shown.reread_at)}: " + (
        ", ".join(f"{name} {count} left" for name, count in left.items()) if left else "nothing missing"
    )
    yield Proof(
        name=NAME,
        held=not left,
        seen=f"{seen}; {shown.writes}" if shown.writes else seen,
        try_=None if not left else _LEFT,
    )


def _unread(shown: Shown) -> list[str]:
    """Data types whose second compare never came."""
    return [name for name, told in shown.types.items() if shown.reread_at is None or told.remaining is None]
