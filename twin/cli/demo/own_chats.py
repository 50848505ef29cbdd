"""The story goes on in the owner's own chats: the bot is connected to his account and answers as he, in every mode.

approve    a contact writes to the owner, the card comes, Send: the answer is the owner's, in his chat
auto       Auto from now on; the next message is answered by itself, or held back and put on a card; Undo takes it away again
takeover   the owner answers by hand: the card that waited is withdrawn, and nothing goes into that chat
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twin.cli.demo.sandbox import Found, Sandbox, wait_for
from twin.errors import TwinError
from twin.settings import Settings
from twin.turns import split_bubbles

ASKED = "hey you, how was the concert yesterday?"
MORE = "and what was the best song of the whole evening?"
SMALL_TALK = "that film was so funny, i laughed the whole way home"
BY_HAND = "wait, this one i answer myself"
RIGHTS = {"can_reply": True, "can_read_messages": True, "can_delete_sent_messages": True}
SECONDS = 120.0

Message = dict[str, Any]


class OwnChats:
    """Played in order; each scene raises TwinError if what it waits for does not come."""

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self.sandbox = sandbox
        self.settings = settings

    def play(self) -> dict[str, Any]:
        """What came of each scene."""
        sandbox = self.sandbox
        sandbox.post("/api/connect", {"account": sandbox.owner_id, "bot": sandbox.bot_id, "rights": RIGHTS})
        first, *others = sandbox.contact_ids
        approved = self.approve(first)
        return {"approve": approved, "auto": self.auto(first), "takeover": self.take_over(others[0] if others else first)}

    def approve(self, contact: int) -> bool:
        """Whether the contact got from the owner, word for word, what he let go."""
        asked = self.sandbox.send(contact, self.sandbox.owner_id, ASKED)
        card = self._card(asked, "Send", another=True)
        self._press(card, "Send")
        return self._arrived(contact, asked, self._text_of(card))

    def auto(self, contact: int) -> str:
        """ "taken back" or "held back": what became of the first answer that could go by itself."""
        asked = self.sandbox.send(contact, self.sandbox.owner_id, MORE)
        card = self._card(asked, "Auto from now on", another=True)
        self._press(card, "Auto from now on")
        self._press(self._card(asked, "Yes, auto"), "Yes, auto")
        self._arrived(contact, asked, self._text_of(card))
        asked = self.sandbox.send(contact, self.sandbox.owner_id, SMALL_TALK)
        card = self._wait(lambda: self._newest(asked, "Undo") or self._newest(asked, "Edit"), "An automatic answer")
        if "Undo" not in _buttons(card):
            return "held back"
        self._press(card, "Undo")
        self._wait(lambda: self._newest(asked, text="Taken back:"), "The undo")
        self._wait(lambda: not self._told(contact, asked) or None, "The undo in the contact's chat")
        return "taken back"

    def take_over(self, contact: int) -> bool:
        """Whether the card was withdrawn and nothing but the owner's own words went."""
        asked = self.sandbox.send(contact, self.sandbox.owner_id, ASKED)
        self._card(asked, "Edit")
        self.sandbox.send(self.sandbox.owner_id, contact, BY_HAND)
        self._wait(lambda: self._newest(asked, text="you wrote yourself"), "The end of the card")
        return self._told(contact, asked) == [BY_HAND]

    # --- looking and tapping ---

    def _card(self, asked: Message, button: str, *, another: bool = False) -> Message:
        """The owner's newest card since, once it has this button. `another`: ask for another variant if the draft has no words."""

        def look() -> Message | None:
            if found := self._newest(asked, button):
                return found
            empty = self._newest(asked, "Another") if another else None
            if empty:
                self._press(empty, "Another")
            return None

        return self._wait(look, f"A card with [{button}]")

    def _newest(self, asked: Message, button: str = "", *, text: str = "") -> Message | None:
        chat = self.sandbox.history(self.sandbox.owner_id, self.sandbox.bot_id)
        cards = [m for m in chat if m["uid"] > asked["uid"] and m["from"] == self.sandbox.bot_id and text in m["text"]]
        return next((card for card in reversed(cards) if not button or button in _buttons(card)), None)

    def _press(self, card: Message, button: str) -> None:
        self.sandbox.press(self.sandbox.owner_id, card["uid"], _buttons(card)[button])

    def _text_of(self, card: Message) -> list[str]:
        """The bubbles of a card's draft, from the store: a card may fold and number them."""
        from twin.cli.folder import transact
        from twin.store import cards

        draft = transact(self.settings, lambda connection: cards.by_card(connection, card["ids"][str(self.sandbox.bot_id)]))
        if draft is None:
            raise TwinError("A card of the story has no draft.")
        return split_bubbles(draft.text)

    def _arrived(self, contact: int, asked: Message, bubbles: list[str]) -> bool:
        return self._wait(lambda: self._told(contact, asked)[: len(bubbles)] == bubbles or None, "The answer")

    def _told(self, contact: int, asked: Message) -> list[str]:
        """What has come from the owner since, as the contact's Telegram has it."""
        chat = self.sandbox.history(contact, self.sandbox.owner_id)
        return [m["text"] for m in chat if m["uid"] > asked["uid"] and m["from"] == self.sandbox.owner_id]

    def _wait(self, look: Callable[[], Found | None], what: str) -> Found:
        return wait_for(look, seconds=SECONDS, what=what)


def _buttons(card: Message) -> dict[str, str]:
    return {button["text"]: button["callback_data"] for row in card["keyboard"] for button in row}
