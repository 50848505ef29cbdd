"""A chat is read back in the order of its index, without sorting. Of the states of drafts only one is asked for again and again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_messages_dialog_id_sent_at", "messages")
    op.create_index("ix_messages_dialog_id_sent_at_message_id", "messages", ["dialog_id", "sent_at", "message_id"])
    op.drop_index("ix_drafts_state", "drafts")
    op.create_index("ix_drafts_pending", "drafts", ["dialog_id"], sqlite_where=sa.text("state = 'pending'"))


def downgrade() -> None:
    op.drop_index("ix_drafts_pending", "drafts")
    op.create_index("ix_drafts_state", "drafts", ["state"])
    op.drop_index("ix_messages_dialog_id_sent_at_message_id", "messages")
    op.create_index("ix_messages_dialog_id_sent_at", "messages", ["dialog_id", "sent_at"])
