"""The driver alone reads what the store reads."""

from __future__ import annotations

import random
from contextlib import closing

from factories import START, chat, me, random_chat, them

from twin.history import History
from twin.store import dialogs, messages, open_store


async def test_history_is_that_of_the_store(tmp_path):
    rows = [m for dialog_id in (1, 2) for m in random_chat(dialog_id, dialog_id=dialog_id)]
    rows += chat(*(them("at once", after=0) for _ in range(5)), me("later", via_bot=True), dialog_id=1, first_id=900)
    store = open_store(tmp_path / "twin.sqlite")
    try:
        async with store.begin() as connection:
            for dialog_id in (1, 2):
                await dialogs.save(connection, dialog_id, name="Ada", username=None)
            await messages.save(connection, random.Random(3).sample(rows, len(rows)))
            await messages.save(connection, chat(them("to the bot"), dialog_id=1, channel="bot"))
            await messages.mark_deleted(connection, "account", 1, [3, 4], START)
        async with store.connect() as connection:
            stored = await messages.history(connection, 1)
        with closing(History(tmp_path / "twin.sqlite")) as history:
            assert history.messages("account", 1) == [m for m in stored if m.channel == "account"]
            assert [type(m.out) for m in history.messages("account", 1)][:1] == [bool]
            assert [m.text for m in history.messages("bot", 1)] == ["to the bot"]
            assert history.messages("account", 3) == []
    finally:
        await store.dispose()
