"""Source × registry × ledger -> verdict -> backfill. Never imports the consumer."""
