"""Indexes for what is asked for every answer: an old store must not make a new answer slow.

"Did it arrive?" is asked again where that is open: the buttons of older questions do not say which try they ask about.
"""

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
    op.execute("UPDATE notices SET told_at = NULL WHERE outbox_id IN (SELECT id FROM outbox WHERE state = 'uncertain')")


def downgrade() -> None:
    op.drop_index("ix_outbox_dialog_id_channel_state", "outbox")
    for name in ("unshown", "undo_until", "card_message_id", "author_created_at"):
        op.drop_index(f"ix_drafts_{name}", "drafts")
