"""Every transaction that was open at the fence, prepared ones too, has ended, and the pipeline has passed the fence."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.ports import names
from reconciler.proofs.shown import Claim, Shown
from schemas.verdict import Proof

NAME = "earlier_writers_ended"


def needed_by(shown: Shown) -> frozenset[Claim]:
    return frozenset({Claim.CREATES, Claim.DELETES}) if shown.cutover else frozenset()


def look(shown: Shown) -> Iterable[Proof]:
    fence = shown.fence
    if not shown.cutover:
        yield Proof(name=NAME, held=None, seen="asked at a cutover only")
        return
    if fence is None:
        yield Proof(name=NAME, held=False, seen="no fence was taken", try_="run the command again")
        return
    now = fence.at  # the source's clock, as the transactions' own times
    if fence.held:
        waited = fence.listed - len(fence.passed_over)
        seen = f"{waited} open transactions waited for ({fence.waited_s:.1f} s), all ended; fence at {fence.lsn}"
        if fence.passed_over:
            told = [f"{t.described(now)}: {t.why_not}" for t in fence.passed_over]
            seen += f"; not waited for: {names(told)}"
        yield Proof(name=NAME, held=True, seen=seen)
        return
    yield Proof(
        name=NAME,
        held=False,
        seen=f"still open after {fence.waited_s:.0f} s: {names([t.described(now) for t in fence.open_])}",
        try_="end or commit these transactions (pg_terminate_backend, COMMIT PREPARED), or wait longer with --wait",
    )
