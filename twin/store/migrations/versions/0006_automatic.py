"""Whether an answer went by itself is a column of its draft, and the cards that wait to be shown are found by it: a desk with thousands
of answers behind it must not look at each of them for the next card.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PACED = "is_automatic = 1 AND +state IN ('approved', 'sending', 'sent')"
LAST_WORD = """SELECT action FROM decisions WHERE draft_id = drafts.id AND action IN ('send', 'edit', 'auto') ORDER BY id DESC LIMIT 1"""


def upgrade() -> None:
    op.add_column("drafts", sa.Column("is_automatic", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(f"UPDATE drafts SET is_automatic = 1 WHERE ({LAST_WORD}) = 'auto'")
    op.drop_index("ix_drafts_unshown", "drafts")
    op.create_index("ix_drafts_unshown", "drafts", ["id"], sqlite_where=sa.text(f"shown_revision < revision AND NOT ({PACED})"))
    columns = ["card_message_id", "id"]
    op.create_index("ix_drafts_unshown_paced", "drafts", columns, sqlite_where=sa.text(f"shown_revision < revision AND {PACED}"))


def downgrade() -> None:
    op.drop_index("ix_drafts_unshown_paced", "drafts")
    op.drop_index("ix_drafts_unshown", "drafts")
    op.create_index("ix_drafts_unshown", "drafts", ["id"], sqlite_where=sa.text("shown_revision < revision"))
    op.drop_column("drafts", "is_automatic")
