"""Who may write the source tables: asked at the fence, to know whom to wait for, and at the end, to say who still could.

Told is what the catalogs show: grants, memberships, owners, functions that lend rights, logins, limits, locks. What
pg_hba.conf lets in, and what a trigger refuses, is not seen; so a role is never said to be kept out by less than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from databases.connect import renamed
from reconciler.ports import names

#: A row reaches a table through its partitions and what it is a partition of, through views and rules, and through a key
#: that a foreign key cascades into it: `ways`. Nor does a role need a grant on any of them where it may call, or set off by
#: a trigger, a SECURITY DEFINER function whose owner has one: `lenders`.
WRITERS = """
WITH RECURSIVE above(oid) AS (
  SELECT unnest(%(tables)s::oid[]) UNION SELECT i.inhparent FROM pg_inherits i JOIN above ON i.inhrelid = above.oid
), below(oid) AS (
  SELECT unnest(%(tables)s::oid[]) UNION SELECT i.inhrelid FROM pg_inherits i JOIN below ON i.inhparent = below.oid
), written AS (SELECT oid FROM above UNION SELECT oid FROM below),
steps(reached, from_) AS (
  SELECT d.refobjid, r.ev_class FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
  UNION ALL SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND confupdtype = 'c'
), ways(oid) AS (
  SELECT oid FROM written UNION SELECT s.from_ FROM steps s JOIN ways ON s.reached = ways.oid
), granted AS MATERIALIZED (
  SELECT r.oid FROM pg_roles r WHERE EXISTS (
    SELECT FROM ways w
     WHERE has_table_privilege(r.oid, w.oid, 'INSERT, UPDATE') OR has_any_column_privilege(r.oid, w.oid, 'INSERT, UPDATE')
        OR (w.oid NOT IN (SELECT oid FROM written) AND has_table_privilege(r.oid, w.oid, 'DELETE')))
), lenders AS MATERIALIZED (
  SELECT p.oid, p.prorettype = 'trigger'::regtype AS by_trigger FROM pg_proc p
   WHERE p.prosecdef AND EXISTS (SELECT FROM granted g WHERE pg_has_role(p.proowner, g.oid, 'MEMBER'))
), writers AS MATERIALIZED (
  SELECT oid FROM granted
  UNION
  SELECT r.oid FROM pg_roles r JOIN lenders f ON NOT f.by_trigger AND has_function_privilege(r.oid, f.oid, 'EXECUTE')
  UNION
  SELECT r.oid FROM lenders f JOIN pg_trigger t ON t.tgfoid = f.oid
    JOIN pg_roles r ON has_table_privilege(r.oid, t.tgrelid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                    OR has_any_column_privilege(r.oid, t.tgrelid, 'INSERT, UPDATE')
)"""

#: Roles that can log in and have a way, or could give themselves one. A superuser is held by no connection limit.
_ROLES = f"""{WRITERS}
SELECT r.rolname::text, r.rolsuper,
       EXISTS (SELECT FROM granted g WHERE pg_has_role(r.oid, g.oid, 'MEMBER')),
       EXISTS (SELECT FROM writers w WHERE pg_has_role(r.oid, w.oid, 'MEMBER')),
       r.rolsuper OR (r.rolconnlimit <> 0 AND has_database_privilege(r.oid, d.oid, 'CONNECT')),
       (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usesysid = r.oid AND a.pid <> pg_backend_pid()),
       (SELECT lower(v.value) IN ('on', 'true', 'yes', '1', 't', 'y') FROM pg_db_role_setting s, unnest(s.setconfig) c,
               LATERAL (SELECT split_part(c, '=', 2) AS value, split_part(c, '=', 1) AS name) v
         WHERE v.name = 'default_transaction_read_only' AND s.setdatabase IN (0, d.oid) AND s.setrole IN (0, r.oid)
         ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1)
  FROM pg_roles r, pg_database d
 WHERE d.datname = current_database() AND r.rolcanlogin
   AND (r.rolsuper OR EXISTS (SELECT FROM writers w WHERE pg_has_role(r.oid, w.oid, 'MEMBER'))
        OR EXISTS (SELECT FROM written t JOIN pg_class c ON c.oid = t.oid WHERE pg_has_role(r.oid, c.relowner, 'MEMBER')))
 ORDER BY 1"""  # noqa: S608 - both halves are constants
_DATABASE = """
SELECT pg_is_in_recovery(), d.datallowconn, d.datconnlimit
  FROM pg_database d WHERE d.datname = current_database()"""
#: Whoever holds such a lock on a table keeps every writer of it waiting; one who holds it itself may write.
_LOCKS = """
WITH RECURSIVE below(root, oid) AS (
  SELECT t, t FROM unnest(%(tables)s::oid[]) t
  UNION SELECT b.root, i.inhrelid FROM pg_inherits i JOIN below b ON i.inhparent = b.oid
), parts AS (SELECT oid FROM below b JOIN pg_class c USING (oid) WHERE c.relkind <> 'p')
SELECT l.pid FROM pg_locks l JOIN parts p ON p.oid = l.relation
 WHERE l.locktype = 'relation' AND l.granted AND l.pid IS NOT NULL
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
 GROUP BY l.pid HAVING count(DISTINCT l.relation) = (SELECT count(*) FROM parts) ORDER BY 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role that can log in, and what it may do to the source tables."""

    name: str
    superuser: bool
    granted: bool  #: itself, or as a role that it may become
    has_way: bool  #: with those that only a function lends the right to
    may_connect: bool  #: anew
    sessions: int
    starts_read_only: bool | None  #: by a setting of role or database; None: no such setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether rows can still be created, as far as the catalogs tell."""

    in_recovery: bool
    connects: bool  #: anybody may connect anew
    limit: int  #: of connections to the database; negative: none
    locked_by: tuple[int, ...]  #: who holds all source tables against writers
    roles: tuple[Role, ...]

    @property
    def described(self) -> str:
        if self.in_recovery:
            return "the server where the source's rows are created is in recovery and refuses every write"
        told = [*self._locks(), *self._writers(), *self._doors(), *self._above()]
        return "; ".join([*told, "pg_hba.conf and triggers were not looked at", "CLEAR is as of this snapshot"])

    def _locks(self) -> list[str]:
        if not self.locked_by:
            return []
        return [f"pid {self.locked_by[0]} holds the source tables locked: until it ends every other writer waits"]

    def _writers(self) -> list[str]:
        able = [role for role in self.roles if role.has_way and not role.superuser]
        inside = [role for role in able if self._may_enter(role) or role.sessions]
        named = names([role.name for role in self.roles if role.superuser])
        superusers = f"superusers ({named})" if named else "superusers"
        if inside:
            told = [f"the source still accepts writes of {names([self._told(role) for role in inside])}, and of {superusers}"]
        else:
            told = [f"the source still accepts writes of {superusers}, and of no other role that may log in"]
        if kept := [role.name for role in able if role not in inside]:
            told.append(f"{names(kept)} may write, but cannot connect and have no session")
        return told

    def _may_enter(self, role: Role) -> bool:
        return role.may_connect and self.connects and self.limit != 0

    def _told(self, role: Role) -> str:
        more = []
        if not role.granted:
            more.append("through a function or trigger with another's rights")
        if role.starts_read_only:
            more.append("starts read-only, which a session may override")
        if not self._may_enter(role):
            more.append("cannot connect anew")
        if role.sessions:
            more.append(f"{role.sessions} sessions")
        return f"{role.name} ({', '.join(more)})" if more else role.name

    def _doors(self) -> list[str]:
        if not self.connects:
            return ["the database takes no new connections"]
        return ["the database takes no new connections but superusers'"] if self.limit == 0 else []

    def _above(self) -> list[str]:
        owners = [role.name for role in self.roles if not role.superuser and not role.has_way]
        return [f"owners could grant themselves the right: {names(owners)}"] if owners else []


def standing(connection: psycopg.Connection[Any], tables: Sequence[int]) -> Standing:
    """`tables` are the oids of the source tables where rows are created."""
    asked = {"tables": list(tables)}
    with renamed("ask the source who may still write"):
        row = connection.execute(_DATABASE).fetchone()
        assert row
        in_recovery, connects, limit = row
        locks = connection.execute(_LOCKS, asked).fetchall()
        found = connection.execute(_ROLES, asked).fetchall()
    roles = [
        Role(name=n, superuser=s, granted=g, has_way=w, may_connect=c, sessions=count, starts_read_only=r)
        for n, s, g, w, c, count, r in found
    ]
    return Standing(
        in_recovery=in_recovery,
        connects=connects,
        limit=limit,
        locked_by=tuple(pid for (pid,) in locks),
        roles=tuple(roles),
    )
