"""What an update came to is kept with it until it is finished. A card knows since when it shows what it shows, and makes room for a newer
one; those that stand in the owner's chat already stay. A message that went by itself is told from one
that the owner typed. A chat that Telethon cannot read is left until another version of it comes. A topic is
answered in."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dialogs", sa.Column("undecodable_with", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("unattended", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("messages", sa.Column("thread_id", sa.BigInteger(), nullable=True))
    op.add_column("outbox", sa.Column("thread_id", sa.BigInteger(), nullable=True))
    op.add_column("inbox", sa.Column("outcome", sa.Text(), nullable=True))
    op.drop_column("prompts", "answer_message_id")
    op.add_column("drafts", sa.Column("shown_at", sa.BigInteger(), nullable=True))
    op.add_column("drafts", sa.Column("is_replaced", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE drafts SET is_replaced = 1 WHERE card_message_id IS NOT NULL AND state = 'expired'")
    to_replace = sa.text("state = 'expired' AND reason = 'superseded' AND is_replaced = 0 AND card_message_id IS NOT NULL")
    op.create_index("ix_drafts_to_replace", "drafts", ["dialog_id"], sqlite_where=to_replace)


def downgrade() -> None:
    op.drop_index("ix_drafts_to_replace", "drafts")
    op.drop_column("drafts", "is_replaced")
    op.drop_column("drafts", "shown_at")
    op.add_column("prompts", sa.Column("answer_message_id", sa.BigInteger(), nullable=True))
    op.drop_column("inbox", "outcome")
    op.drop_column("outbox", "thread_id")
    op.drop_column("messages", "thread_id")
    op.drop_column("messages", "unattended")
    op.drop_column("dialogs", "undecodable_with")
