"""The owner's live session: in by getDifference, out with a random_id."""

from __future__ import annotations

from pathlib import Path

from bot_scene import until
from live_scene import live


async def test_a_contact_writes_and_the_approved_draft_goes_as_the_owner(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello Olga")
        card = await scene.card("hello Olga")
        scene.tap(card, "Send")
        await until(lambda: scene.received_by() == ["answer 1"])
        await scene.idle()
        await scene.current()
        assert await scene.words() == [("hello Olga", False, "collected"), ("answer 1", True, "twin")]
        assert [(b["state"], b["way"]) for b in await scene.rows("outbox")] == [("sent", "session")]
        assert (await scene.rows("dialogs"))[0]["silent_until"] is None
