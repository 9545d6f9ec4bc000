"""The first ledger: positions, segments, holes, quarantine, identities, runs, backfills, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_type",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("data_type_pkey")),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("timeline", sa.Integer(), nullable=False),
        sa.Column("database_oid", sa.BigInteger(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("lsn", sa.Text(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("identity_pkey")),
    )
    op.create_index(op.f("identity_side_id_idx"), "identity", ["side", "id"], unique=False)
    op.create_table(
        "incarnation",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("incarnation_pkey")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("rank", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("lease_pkey")),
        sa.UniqueConstraint("name", "epoch", name=op.f("lease_name_epoch_key")),
    )
    op.create_table(
        "mark",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("server_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("oldest_open", sa.DateTime(timezone=True), nullable=True),
        sa.Column("highest", sa.LargeBinary(), nullable=True),
        sa.Column("lsn", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run", "data_type", name=op.f("mark_pkey")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.SmallInteger(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("run_pkey")),
        sa.UniqueConstraint("number", name=op.f("run_number_key")),
    )
    op.create_index(op.f("run_started_at_idx"), "run", ["started_at"], unique=False)
    op.create_table(
        "backfill",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("target", postgresql.JSONB(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("planned", sa.LargeBinary(), nullable=False),
        sa.Column("inserted", sa.LargeBinary(), nullable=False),
        sa.Column("removed", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("backfill_run_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "data_type", "batch", name=op.f("backfill_pkey")),
    )
    op.create_table(
        "coverage",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["incarnation"], ["incarnation.id"], name=op.f("coverage_incarnation_fkey")),
        sa.PrimaryKeyConstraint("incarnation", "data_type", "topic", "partition", name=op.f("coverage_pkey")),
    )
    op.create_table(
        "gap",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("gap_run_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "data_type", "class", "cause", "chunk", name=op.f("gap_pkey")),
    )
    op.create_table(
        "hole",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("from_offset", sa.BigInteger(), nullable=False),
        sa.Column("to_offset", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=True),
        sa.Column("to_us", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("settled_reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["incarnation"], ["incarnation.id"], name=op.f("hole_incarnation_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("hole_pkey")),
    )
    op.create_index(op.f("hole_incarnation_topic_partition_idx"), "hole", ["incarnation", "topic", "partition"], unique=False)
    op.create_table(
        "position",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("topic_id", sa.Text(), nullable=True),
        sa.Column("start_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("leader_epoch", sa.Integer(), nullable=True),
        sa.Column("event_us", sa.BigInteger(), nullable=True),
        sa.Column("anchor_offset", sa.BigInteger(), nullable=True),
        sa.Column("anchor_hash", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["incarnation"], ["incarnation.id"], name=op.f("position_incarnation_fkey")),
        sa.PrimaryKeyConstraint("incarnation", "topic", "partition", name=op.f("position_pkey")),
    )
    op.create_table(
        "proof",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=True),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("try", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("proof_run_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "number", name=op.f("proof_pkey")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("settled_reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["incarnation"], ["incarnation.id"], name=op.f("quarantine_incarnation_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("quarantine_pkey")),
    )
    op.create_index(
        op.f("quarantine_incarnation_topic_partition_offset_idx"),
        "quarantine",
        ["incarnation", "topic", "partition", "offset"],
        unique=False,
    )
    op.create_index(op.f("quarantine_state_idx"), "quarantine", ["state"], unique=False)
    op.create_table(
        "segment",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("first_number", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=True),
        sa.Column("last_us", sa.BigInteger(), nullable=True),
        sa.Column("offsets", postgresql.JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["incarnation"], ["incarnation.id"], name=op.f("segment_incarnation_fkey")),
        sa.PrimaryKeyConstraint("incarnation", "data_type", "first_number", name=op.f("segment_pkey")),
    )
    op.create_table(
        "segment_keys",
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("first_number", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("low", sa.LargeBinary(), nullable=False),
        sa.Column("high", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incarnation", "data_type", "first_number"],
            ["segment.incarnation", "segment.data_type", "segment.first_number"],
            name=op.f("segment_keys_incarnation_data_type_first_number_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("incarnation", "data_type", "first_number", "said", "chunk", name=op.f("segment_keys_pkey")),
    )
