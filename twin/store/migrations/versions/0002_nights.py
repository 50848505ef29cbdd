"""Runs know their night, how far they are, and what tells the owner of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("trigger", sa.String(length=10), nullable=False, server_default="terminal"))
        table.add_column(sa.Column("night_at", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("progress", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("message_id", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("told", sa.String(length=8), nullable=False, server_default=""))
    op.create_index(op.f("ix_runs_night_at"), "runs", ["night_at"], unique=False)
    op.execute("UPDATE runs SET told = 'ended'")  # of what is over nobody wants to hear again
