"""The story: a contact writes, a card appears, the owner decides, bubbles arrive."""

from pathlib import Path

from bot_scene import ADA, OWNER, labels, opened, until


async def test_a_message_becomes_a_card_and_send_delivers_its_bubbles(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["not much\nyou?"]
        scene.writes("hey, what are you up to tonight?")
        card = await scene.card("hey, what")
        assert labels(card) == ["Send", "Edit", "Another", "Skip"]
        assert "Ada Lovelace" in card.text
        assert "not much\nyou?" in card.text
        assert scene.seen_by(ADA) == []
        scene.tap(card, "Send")
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["not much", "you?"]
        assert labels(card) == []
        await scene.idle()
        assert scene.from_bot(OWNER) == [card]
        sent = [row for row in await scene.rows("messages") if row["out"]]
        assert [(row["text"], row["source"], row["channel"]) for row in sent] == [("not much", "twin", "bot"), ("you?", "twin", "bot")]
