"""The audit between cutovers: what one look sees, what it judges, what is kept of it, and how it is told."""
