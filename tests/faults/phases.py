"""The moments of a cutover at which a fault can strike."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """A moment of a cutover, by the statement that begins it: which wire, what words, for the how-manieth time."""

    FENCE = ("source", "pg_prepared_xacts", 1)  #: who is open is about to be listed
    WAITING = ("source", "SELECT virtualtransaction FROM pg_locks", 2)  #: who was open is looked at again
    LOG = ("ledger", "INSERT INTO fencepost.segment", 1)  #: the first events are about to be stored
    SNAPSHOT = ("source", "pg_export_snapshot", 1)  #: tables are locked, the snapshot is about to be taken
    SLICES = ("source", "SET TRANSACTION SNAPSHOT", 1)  #: the snapshot stands, the second slice is about to join it
    COMPARE = ("registry", "pg_export_snapshot", 1)  #: the source's snapshot stands, the registry's is about to
    INSERT = ("registry", 'INSERT INTO "public"."item_registry"', 1)
    AGAIN = ("source", "pg_export_snapshot", 2)  #: the second compare's snapshot is about to be taken
    VERDICT = ("ledger", "UPDATE fencepost.run SET", 1)  #: the verdict is about to be stored
