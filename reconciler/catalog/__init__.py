"""What the databases really have, for the names the settings write: tables, keys, types, grants, indexes, partitions.

All by catalog queries with parameters, inside the caller's transaction; no name from the settings ever becomes SQL.
What cannot be compared exactly is a CatalogError that says which thing, what came, and what was probably meant.
"""

from reconciler.catalog.kinds import key_kinds, key_types, matched, remember_kinds, remembered_kinds, type_of
from reconciler.catalog.lookup import relation
from reconciler.catalog.relation import Column, Index, Leaf, Relation
from reconciler.catalog.tables import KINDS, Facts, columns_exist, facts, resolve, scope_of
from schemas.names import shown

__all__ = [
    "KINDS",
    "Column",
    "Facts",
    "Index",
    "Leaf",
    "Relation",
    "columns_exist",
    "facts",
    "key_kinds",
    "key_types",
    "matched",
    "relation",
    "remember_kinds",
    "remembered_kinds",
    "resolve",
    "scope_of",
    "shown",
    "type_of",
]
