"""Answers in the owner's own chats: business connections, ways, automatic answers and what they were worth."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATES = ("waiting", "sending", "unheard", "sent", "failed", "uncertain", "cancelled", "retracting", "retracted")


def upgrade() -> None:
    with op.batch_alter_table("dialogs") as table:
        table.add_column(sa.Column("silent_until", sa.BigInteger(), nullable=True))
    op.create_table(
        "connections",
        sa.Column("connection_id", sa.String(length=128), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("rights", sa.JSON(), nullable=False),
        sa.Column("connected_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_connections")),
    )
    with op.batch_alter_table("drafts") as table:
        table.add_column(sa.Column("mode", sa.String(length=8), nullable=False, server_default="approve"))
        table.add_column(sa.Column("intent", sa.String(length=8), nullable=False, server_default="reply"))
        table.add_column(sa.Column("flags", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("wish", sa.String(length=8), nullable=True))
        table.add_column(sa.Column("undo_until", sa.BigInteger(), nullable=True))
    op.create_table(
        "comparisons",
        sa.Column("draft_id", sa.Integer(), nullable=False),
        sa.Column("dialog_id", sa.BigInteger(), nullable=False),
        sa.Column("likeness", sa.Float(), nullable=False),
        sa.Column("owner_message_ids", sa.JSON(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["draft_id"], ["drafts.id"], name=op.f("fk_comparisons_draft_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("draft_id", name=op.f("pk_comparisons")),
    )
    op.create_index(op.f("ix_comparisons_dialog_id"), "comparisons", ["dialog_id"], unique=False)
    op.create_index("ix_decisions_action_at", "decisions", ["action", "at"], unique=False)
    with op.batch_alter_table("outbox") as table:
        table.drop_constraint("state", type_="check")
        table.create_check_constraint("state", f"state IN {STATES}")
        table.add_column(sa.Column("way", sa.String(length=8), nullable=True))
        table.add_column(sa.Column("typing_at", sa.BigInteger(), nullable=True))
