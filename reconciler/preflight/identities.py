"""Who is who: the servers against what the ledger recorded and against each other, so that none stands for another."""

from __future__ import annotations

from collections.abc import Iterator

from databases.ledger import Ledger
from reconciler import identity
from reconciler.preflight.finding import Finding, fail, ok, warn
from reconciler.preflight.ground import Ground, Subject, elsewhere
from schemas.errors import FencepostError
from schemas.settings import Settings


def look(ground: Ground) -> Iterator[Finding]:
    """Who is who; and that no two of them are one by mistake."""
    met: dict[str, identity.Identity] = {}
    for what, connection in ground.servers:
        side = _side(ground.settings, what)
        try:
            now = met[what] = identity.identify(connection, side)
        except FencepostError as error:
            grant = "GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO our role"
            yield fail("identity", f"{what} does not tell who it is: {error}", try_=grant)
            continue
        yield ok("identity", f"{what} is {now.described}")
        if what != "the source's primary" and ground.ledger is not None:
            yield from _recorded(ground.ledger, now)
    yield from _related(ground.settings, met)
    for subject in ground.subjects:
        yield from _same_table(subject, met)


def _side(settings: Settings, what: str) -> str:
    """As runs record it: of a copy, the rows are its origin's."""
    if what == "the registry":
        return "registry"
    return "copy" if settings.source.kind == "copy" and what == "the source" else "source"


def _recorded(ledger: Ledger, now: identity.Identity) -> Iterator[Finding]:
    try:
        before = identity.recorded(ledger, now.side) if ledger.exists() else None
    except FencepostError:
        return  # the ledger's own check tells
    told = identity.contradiction(before, now)
    if told:
        yield fail("identity", told, try_="connect to the recorded server, or start a ledger of its own for this one")


def _related(settings: Settings, met: dict[str, identity.Identity]) -> Iterator[Finding]:
    source, other = met.get("the source"), met.get(elsewhere(settings))
    if source is None or other is None:
        return
    if settings.source.kind == "standby" and source.system != other.system:
        yield fail("identity", f"the source (system {source.system}) is no standby of its primary ({other.system})")
    elif settings.source.kind == "standby" and source.timeline != other.timeline:
        yield warn(
            "identity",
            f"the source follows timeline {source.timeline}, its primary is on {other.timeline}",
            try_="see whether the standby still follows; after a promotion its last checkpoint may be older",
        )
    elif settings.source.kind == "copy" and (source.system, source.database_oid) == (other.system, other.database_oid):
        yield fail("identity", "the source and its origin are the same database, so it is proved against itself")


def _same_table(subject: Subject, met: dict[str, identity.Identity]) -> Iterator[Finding]:
    source, registry = met.get("the source"), met.get("the registry")
    if source is None or registry is None or subject.source is None or subject.registry is None:
        return
    same_database = (source.system, source.database_oid) == (registry.system, registry.database_oid)
    if same_database and subject.source.oid == subject.registry.oid:
        yield fail(
            "identity",
            f"source and registry are one table, {subject.source.relation.shown}: against itself it is always whole",
            subject.name,
            try_="look at source.dsn, registry.dsn and both 'table' settings",
        )
