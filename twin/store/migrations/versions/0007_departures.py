"""What may go next is found in the order in which it goes, so that a full outbox costs no more than an empty one."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_outbox_state", "outbox")
    op.create_index("ix_outbox_state_not_before_at", "outbox", ["state", "not_before_at"])


def downgrade() -> None:
    op.drop_index("ix_outbox_state_not_before_at", "outbox")
    op.create_index("ix_outbox_state", "outbox", ["state"])
