"""Shapes that cross a border: settings, keys, events, ledger tables, reports. No network, no database work."""
