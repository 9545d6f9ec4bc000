"""Full passes, and the ranges they verified."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweep",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("bound", postgresql.JSONB(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("verified", sa.BigInteger(), nullable=True),
        sa.Column("found", sa.BigInteger(), nullable=True),
        sa.Column("fixed", sa.BigInteger(), nullable=True),
        sa.Column("oldest_missing", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", "data_type", name=op.f("sweep_pkey")),
    )
    op.create_index(op.f("sweep_data_type_id_idx"), "sweep", ["data_type", "id"], unique=False)
    op.create_table(
        "verified_range",
        sa.Column("sweep", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("low", sa.LargeBinary(), nullable=True),
        sa.Column("high", sa.LargeBinary(), nullable=True),
        sa.Column("buckets", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lsn", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("registered", sa.BigInteger(), nullable=False),
        sa.Column("announced", sa.BigInteger(), nullable=False),
        sa.Column("needles", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("missing", sa.LargeBinary(), nullable=False),
        sa.Column("surplus", sa.LargeBinary(), nullable=False),
        sa.Column("stale", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep", "data_type"],
            ["sweep.id", "sweep.data_type"],
            name=op.f("verified_range_sweep_data_type_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sweep", "data_type", "number", name=op.f("verified_range_pkey")),
    )
