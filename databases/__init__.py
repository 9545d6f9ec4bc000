"""Doors to PostgreSQL: pinned connections to source and registry, the ledger's engine and migrations.

Both `consumer` and `reconciler` come through here; it imports `schemas` alone.
"""
