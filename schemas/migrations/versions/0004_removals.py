"""Orphans that were removed from the registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "removal",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("target", postgresql.JSONB(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("action", postgresql.JSONB(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.Column("restored", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("removal_run_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "data_type", "batch", name=op.f("removal_pkey")),
    )
