"""What the bot says that is longer than a line."""

from __future__ import annotations

PRIVACY = """Privacy

This bot is run by one person, on their own machine, and helps them answer messages.

• What you write here is kept on that machine, so that it can be answered. It goes to no other service.
• An answer is proposed by a language model on that machine. A person approves it before it is sent, or has allowed it to answer you
by itself.
• Nothing you write here is used to train a model, unless you were asked and said yes.
• Ask here at any time, and what you wrote is deleted."""

HELP = """I write drafts in your voice. A contact gets one when you tap, or by itself where you said so.

When a contact writes you get a card:
Send: it goes as it stands.
Edit: type what should go instead, one bubble a line. Replying to the card does the same.
Another, Shorter, Warmer: one more proposal.
Skip: no answer.
Auto from now on: send this one, and let the next ones go by themselves.

Under an answer that went by itself:
Undo: it is deleted on both sides.
Stop auto here: from then on you decide.

/approve [id] sends the newest draft, or that one
/mode shows how contacts are answered; /mode @name off, shadow, approve or auto
/pause stops everything at once, /resume goes on
/digest says what happened while you were away
/status shows how things stand
/adapters lists what was learned, the active one marked
/rollback goes back to the adapter before
/retrain [full] learns from what is new; /retrain stop ends it
/cancel ends an edit
/privacy is what your contacts can read

When you write in a chat yourself, I am silent there for a while.
Anything else you write here, your twin answers."""

OWNER_COMMANDS = {
    "approve": "Send the newest draft, or the one with this id",
    "mode": "How contacts are answered",
    "pause": "Stop everything at once",
    "resume": "Go on",
    "digest": "What happened while you were away",
    "status": "How things stand",
    "adapters": "What was learned, and which is active",
    "retrain": "Learn from what is new",
    "rollback": "Back to the adapter before",
    "cancel": "End an edit",
    "help": "What I can do",
    "privacy": "What is kept, and where",
}
CONTACT_COMMANDS = {"privacy": "What is kept, and where"}
