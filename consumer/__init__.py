"""The tracker: follows the event log into the ledger. Never imports the reconciler."""
