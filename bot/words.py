"""What the bot says that is longer than a line."""

from __future__ import annotations

PRIVACY = """Privacy

This bot is run by one person, on their own machine, and helps them answer messages.

• What you write here is kept on that machine, so that it can be answered. It goes to no other service.
• An answer is proposed by a language model on that machine; a person approves it before it is sent.
• Nothing you write here is used to train a model, unless you were asked and said yes.
• Ask here at any time, and what you wrote is deleted."""

HELP = """I write drafts in your voice; nothing leaves without your tap.

When a contact writes to me you get a card:
Send: it goes as it stands.
Edit: type what should go instead, one bubble a line. Replying to the card does the same.
Another: one more proposal.
Skip: no answer.

/approve [id] sends the newest draft, or that one
/mode shows who gets drafts; /mode @name off, or approve
/status shows how things stand
/adapters lists what was learned, the active one marked
/rollback goes back to the adapter before
/retrain [full] learns from what is new; /retrain stop ends it
/cancel ends an edit
/privacy is what your contacts can read

Anything else you write here, your twin answers."""

OWNER_COMMANDS = {
    "approve": "Send the newest draft, or the one with this id",
    "mode": "Who gets drafts",
    "status": "How things stand",
    "adapters": "What was learned, and which is active",
    "retrain": "Learn from what is new",
    "rollback": "Back to the adapter before",
    "cancel": "End an edit",
    "help": "What I can do",
    "privacy": "What is kept, and where",
}
CONTACT_COMMANDS = {"privacy": "What is kept, and where"}
