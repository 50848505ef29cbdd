"""Indexes for what is asked for every answer: an old store must not make a new answer slow."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_drafts_author_created_at", "drafts", ["author", "created_at"])
    op.create_index("ix_drafts_card_message_id", "drafts", ["card_message_id"])
    op.create_index("ix_drafts_undo_until", "drafts", ["undo_until"], sqlite_where=sa.text("undo_until IS NOT NULL"))
    op.create_index("ix_drafts_unshown", "drafts", ["id"], sqlite_where=sa.text("shown_revision < revision"))
    op.create_index("ix_outbox_dialog_id_channel_state", "outbox", ["dialog_id", "channel", "state"])


def downgrade() -> None:
    op.drop_index("ix_outbox_dialog_id_channel_state", "outbox")
    for name in ("unshown", "undo_until", "card_message_id", "author_created_at"):
        op.drop_index(f"ix_drafts_{name}", "drafts")
