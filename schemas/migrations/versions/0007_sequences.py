"""The numbers of events: read, judged, missing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sequence_seen",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("numbering", sa.Text(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("sequence_seen_pkey")),
    )
    op.create_index(
        op.f("sequence_seen_incarnation_numbering_block_idx"), "sequence_seen", ["incarnation", "numbering", "block"]
    )
    op.create_table(
        "sequence_place",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("incarnation", "topic", "partition", name=op.f("sequence_place_pkey")),
    )
    op.create_table(
        "sequence",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("numbering", sa.Text(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open", sa.BigInteger(), nullable=True),
        sa.Column("open_ranges", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("incarnation", "numbering", name=op.f("sequence_pkey")),
    )
    op.create_table(
        "sequence_hour",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("numbering", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.Column("ranges", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("incarnation", "numbering", "hour", name=op.f("sequence_hour_pkey")),
    )
