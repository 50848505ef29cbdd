"""The question for the owner's own words, and the note by which his answer finds its draft, also after a restart."""

from __future__ import annotations

from aiogram import Bot
from aiogram.types import ForceReply
from aiogram.utils.formatting import Bold, Code, Text

from bot.cards import MAX_TEXT, shown_name
from bot.context import Twin, utc_now
from twin.contacts import label
from twin.store import prompts
from twin.store.drafts import Draft
from twin.turns import split_bubbles
from twin.utf16 import cut


async def ask_for_words(bot: Bot, twin: Twin, draft: Draft) -> None:
    """Asked again, it is one more question about the same draft: an answer to any of them counts, and closes them all."""
    async with twin.store.connect() as connection:
        name = shown_name(await label(connection, draft.dialog_id))
    parts: list[Text | str] = ["What should ", Bold(name), " get instead? One bubble a line. /cancel leaves the draft as it is."]
    words = "\n".join(split_bubbles(draft.text))
    if words:
        parts += ["\n\n", Code(cut(words, MAX_TEXT - 300))]
    hint = ForceReply(input_field_placeholder=cut(f"Your words to {name}", 64))
    question = await bot.send_message(twin.owner_id, **Text(*parts).as_kwargs(), reply_markup=hint)
    async with twin.store.begin() as connection:
        await prompts.add(connection, question.message_id, draft.id, utc_now())
