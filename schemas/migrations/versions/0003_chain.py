"""What a run was about, and the end of the chain of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("world", postgresql.JSONB(), nullable=True))
    chain = op.create_table(
        "chain",
        sa.Column("id", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("chain_pkey")),
    )
    # As values, not as text: the tables name no schema, and are translated to the one in the settings.
    run = sa.Table("run", sa.MetaData(), sa.Column("number", sa.BigInteger()), sa.Column("digest", sa.Text()))
    last = sa.select(run.c.number, run.c.digest).where(run.c.number.is_not(None)).order_by(run.c.number.desc()).limit(1)
    op.execute(sa.insert(chain).from_select(["number", "digest"], last))
