"""Every table. The newest schema in Python; `migrations/` is how a file gets there, and a test compares the two."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
)
from sqlalchemy.types import TypeDecorator

from twin.times import microseconds, since_1970


def to_column(at: datetime | None) -> int | None:
    return None if at is None else microseconds(at)


def from_column(count: int | None) -> datetime | None:
    return None if count is None else since_1970(count)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as integer microseconds since 1970: it sorts, it compares, it never loses its zone."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return to_column(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return from_column(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# One private chat: the contact's account id. `watermark` is the highest collected message id of the account channel.
dialogs = Table(
    "dialogs",
    metadata,
    Column("dialog_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, default=""),
    Column("username", Text),
    Column("mode", String(8)),  # off | shadow | approve | auto; NULL: the default mode of the settings
    Column("watermark", BigInteger, nullable=False, default=0),
    Column("collected_at", UtcDateTime),
    Column("excluded", Boolean, nullable=False, default=False),  # never requested, never trained on
    Column("undecodable_with", Text),  # the version of Telethon that cannot read what is new here
    Column("silent_until", UtcDateTime),  # the owner talks here himself: the twin holds its tongue until then
    CheckConstraint("mode IN ('off','shadow','approve','auto')", name="mode"),
)

# What a contact said to "may my twin learn from our chat?". Append-only; the newest row holds.
consents = Table(
    "consents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("dialog_id", BigInteger, ForeignKey("dialogs.dialog_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("event", String(8), nullable=False),  # asked | given | revoked
    Column("at", UtcDateTime, nullable=False),
    Column("words", Text, nullable=False, default=""),
    CheckConstraint("event IN ('asked','given','revoked')", name="event"),
)

# Telegram Business: the bot is connected to the owner's account. Connections of anybody else's account are never kept.
connections = Table(
    "connections",
    metadata,
    Column("connection_id", String(128), primary_key=True),
    Column("is_enabled", Boolean, nullable=False),
    Column("rights", JSON, nullable=False, default=dict),  # the true ones of the Bot API's BusinessBotRights
    Column("connected_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("channel", String(8), primary_key=True),  # account | bot
    Column("dialog_id", BigInteger, primary_key=True),
    Column("message_id", BigInteger, primary_key=True),
    Column("out", Boolean, nullable=False),
    Column("sent_at", UtcDateTime, nullable=False),
    Column("edited_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Column("text", Text, nullable=False, default=""),
    Column("kind", String(16), nullable=False, default="text"),
    Column("reply_to_id", BigInteger),
    Column("forwarded", Boolean, nullable=False, default=False),
    Column("via_bot", Boolean, nullable=False, default=False),
    Column("source", String(10), nullable=False),  # collected | imported | received | business | twin | owner
    Column("unattended", Boolean, nullable=False, server_default=false()),  # it went by itself: away, greeting, scheduled
    Column("thread_id", BigInteger),  # the topic of a chat with the bot
    Index("ix_messages_dialog_id_sent_at_message_id", "dialog_id", "sent_at", "message_id"),
    sqlite_with_rowid=False,
)

# An update is here, keyed by its id, before the poll that acknowledges it.
inbox = Table(
    "inbox",
    metadata,
    Column("update_id", BigInteger, primary_key=True, autoincrement=False),
    Column("payload", Text, nullable=False),  # the update's JSON; emptied when done
    Column("received_at", UtcDateTime, nullable=False),
    Column("done_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", Text),
    Column("outcome", Text),  # what its handler came to, as JSON, while its answer is under way; see bot/once.py
    Index("ix_inbox_done_at_update_id", "done_at", "update_id"),
)

# A dialog that waits for a draft: a burst moves `due_at` on, a failing engine moves it further.
replies_due = Table(
    "replies_due",
    metadata,
    Column("channel", String(8), primary_key=True),
    Column("dialog_id", BigInteger, primary_key=True),
    Column("due_at", UtcDateTime, nullable=False, index=True),
    Column("attempts", Integer, nullable=False, default=0),
    Column("failing_since", UtcDateTime),  # when the engine first failed on it
)

# Goes, or went, by itself: its card is shown at Telegram's pace. Words for SQLite, which takes a partial index only where a query has the
# same ones; the plus, of no use any more, is from when there was an index of all states.
PACED = "is_automatic = 1 AND +state IN ('approved', 'sending', 'sent')"
# The card of a draft that a newer message of the contact ended: it goes when the newer draft has one.
TO_REPLACE = "state = 'expired' AND reason = 'superseded' AND is_replaced = 0 AND card_message_id IS NOT NULL"
DRAFT_STATES = ("pending", "approved", "edited", "rejected", "expired", "sending", "sent", "failed")

drafts = Table(
    "drafts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("channel", String(8), nullable=False),
    Column("dialog_id", BigInteger, nullable=False, index=True),
    Column("answers_message_id", BigInteger, nullable=False),  # the contact's newest message when it was written
    Column("text", Text, nullable=False),  # a turn: bubbles joined by twin.turns.join_bubbles
    Column("adapter", Text),  # NULL: the base model
    Column("mean_logprob", Float),
    Column("state", String(10), nullable=False),
    Column("variant", Integer, nullable=False, default=1),  # 1, 2, 3: how often the owner asked for another
    Column("author", String(5), nullable=False, default="twin"),  # whose words: twin | owner
    Column("reason", Text),  # why it expired or failed, or why it has no words
    Column("another_due_at", UtcDateTime),  # the owner asked for another variant, to be written from then on
    Column("card_message_id", BigInteger),  # the card in the owner's chat with the bot
    Column("revision", Integer, nullable=False, default=1),  # counts changes that the card has to show
    Column("shown_revision", Integer, nullable=False, default=0),  # the one it does show
    Column("created_at", UtcDateTime, nullable=False),
    Column("settled_at", UtcDateTime),
    Column("mode", String(8), nullable=False, server_default="approve"),  # the contact's when it was written: approve | auto | shadow
    Column("intent", String(8), nullable=False, server_default="reply"),  # reply | rest: the owner lets such a message rest
    Column("flags", JSON, nullable=False, server_default="[]"),  # why it waits for the owner although the contact is on auto
    Column("wish", String(8)),  # what the variant asked for should be: another | shorter | warmer
    Column("undo_until", UtcDateTime),  # until then an automatic answer can be taken back
    Column("is_automatic", Boolean, nullable=False, server_default=false()),  # the twin, not the owner, let it go out
    Column("shown_at", UtcDateTime),  # since when the card shows what it shows, by Telegram's clock
    Column("is_replaced", Boolean, nullable=False, server_default=false()),  # the card made room for that of a newer draft
    Index("ix_drafts_pending", "dialog_id", sqlite_where=text("state = 'pending'")),  # few are, and for most their state changes twice
    Index("ix_drafts_author_created_at", "author", "created_at"),
    Index("ix_drafts_card_message_id", "card_message_id"),
    Index("ix_drafts_undo_until", "undo_until", sqlite_where=Column("undo_until").is_not(None)),
    Index("ix_drafts_unshown", "id", sqlite_where=text(f"shown_revision < revision AND NOT ({PACED})")),
    Index("ix_drafts_to_replace", "dialog_id", sqlite_where=text(TO_REPLACE)),
    Index("ix_drafts_unshown_paced", "card_message_id", "id", sqlite_where=text(f"shown_revision < revision AND {PACED}")),
    CheckConstraint(f"state IN {DRAFT_STATES}", name="state"),
)

IS_PENDING = drafts.c.state == literal_column("'pending'")  # found by its index, which a value bound to the statement is not

# What the owner did with a draft; append-only, teaches the next adapter.
decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("draft_id", Integer, ForeignKey("drafts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("action", String(10), nullable=False),  # send | edit | another | shorter | warmer | skip | undo | auto (by itself)
    Column("draft_text", Text, nullable=False),  # what was proposed at that moment
    Column("final_text", Text),  # what goes out, for send, edit and auto
    Column("at", UtcDateTime, nullable=False),
    Index("ix_decisions_action_at", "action", "at"),
)

# What an automatic or shadow draft was worth, by what the owner then really said: the twin's own report card.
comparisons = Table(
    "comparisons",
    metadata,
    Column("draft_id", Integer, ForeignKey("drafts.id", ondelete="CASCADE"), primary_key=True),
    Column("dialog_id", BigInteger, nullable=False, index=True),
    Column("likeness", Float, nullable=False),  # 0 to 1, see twin.shadow
    Column("owner_message_ids", JSON, nullable=False),  # of the draft's channel
    Column("at", UtcDateTime, nullable=False),
)

OUTBOX_STATES = ("waiting", "sending", "unheard", "sent", "failed", "uncertain", "cancelled", "retracting", "retracted")

# A send is here before it is tried; see twin.store.outbox for its states.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("draft_id", Integer, ForeignKey("drafts.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(8), nullable=False),
    Column("dialog_id", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),  # bubble number within the draft, from 0
    Column("text", Text, nullable=False),
    Column("random_id", BigInteger, nullable=False),  # MTProto's idempotency key
    Column("state", String(10), nullable=False),
    Column("not_before_at", UtcDateTime),
    Column("tried_at", UtcDateTime),
    Column("sent_message_id", BigInteger),
    Column("error", Text),
    Column("way", String(8)),  # bot | business | session: the one it was tried by
    Column("typing_at", UtcDateTime),  # "typing..." is shown from then until it goes
    Column("thread_id", BigInteger),  # the topic in which the contact asked
    Index("ux_outbox_draft_id_position", "draft_id", "position", unique=True),
    Index("ix_outbox_state_not_before_at", "state", "not_before_at"),
    Index("ix_outbox_dialog_id_channel_state", "dialog_id", "channel", "state"),
    CheckConstraint(f"state IN {OUTBOX_STATES}", name="state"),
)

# What a message in the owner's chat with the bot is about, so that an answer to it finds its draft after a restart.
prompts = Table(
    "prompts",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("draft_id", Integer, ForeignKey("drafts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),  # answered, cancelled or overtaken
)

# What the owner must be told, written down in the transaction that found it out.
notices = Table(
    "notices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("outbox_id", Integer, ForeignKey("outbox.id", ondelete="CASCADE")),  # "did it arrive?", with buttons
    Column("created_at", UtcDateTime, nullable=False),
    Column("told_at", UtcDateTime, index=True),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("kind", String(12), nullable=False),  # nightly | train
    Column("state", String(10), nullable=False),  # running | done | failed | cancelled
    Column("stage", String(16), nullable=False, default=""),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("detail", JSON, nullable=False, default=dict),
    Column("error", Text),
    Column("trigger", String(10), nullable=False, server_default="terminal"),  # schedule | owner | terminal
    Column("night_at", UtcDateTime, index=True),  # the instant that the schedule named
    Column("progress", JSON, nullable=False, server_default="{}"),  # see twin.cli.folder.Training
    Column("message_id", BigInteger),  # what follows it in the owner's chat with the bot
    Column("told", String(8), nullable=False, server_default=""),  # what that is: "" nothing yet | live | card | ended
    Column("stop_asked_at", UtcDateTime),  # somebody wants it to end; its process looks here
)

# LoRA weights for one base model, an immutable folder. At most one is active; none: the base model answers.
adapters = Table(
    "adapters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("path", Text, nullable=False),
    Column("base_model", Text, nullable=False),
    Column("parent", String(64)),
    Column("dataset_hash", String(64), nullable=False),
    Column("state", String(10), nullable=False),  # candidate | active | retired
    Column("metrics", JSON, nullable=False, default=dict),
    Column("created_at", UtcDateTime, nullable=False),
    Column("promoted_at", UtcDateTime),
    Index("ux_adapters_active", "state", unique=True, sqlite_where=Column("state") == "active"),
    CheckConstraint("state IN ('candidate','active','retired')", name="state"),
)

# Which private chats an adapter has learned from: what forgetting needs.
adapter_dialogs = Table(
    "adapter_dialogs",
    metadata,
    Column("adapter", String(64), ForeignKey("adapters.name", ondelete="CASCADE"), primary_key=True),
    Column("dialog_id", BigInteger, primary_key=True),
)

# Small facts of the bot that must survive a restart: the poll offset, whether an outage was told, ...
facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)
