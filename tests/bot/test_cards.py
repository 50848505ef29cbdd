"""Cards: what they show, and that they always fit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiogram.types import InlineKeyboardMarkup
from auto_rows import drafted, wrote
from bot_scene import BEN, EVE, opened

from bot.buttons import DoubtTap, SilenceTap, Tap, doubt_keyboard
from bot.cards import CardView, newest_words, render, shown_name
from bot.mode_menu import ModeTap
from twin.caution import describe
from twin.drafting import MAX_DRAFT, fit_draft
from twin.nearest import PastReply
from twin.sending import KEPT, TAKEN_BACK
from twin.store.drafts import Draft
from twin.store.outbox import Bubble
from twin.turns import Message, join_bubbles
from twin.utf16 import length

NOW = datetime(2026, 11, 21, 4, tzinfo=UTC)
DRAFT = Draft(
    id=12, channel="bot", dialog_id=7, answers_message_id=3, text="not much\nyou?", adapter="ada-3", mean_logprob=-1.0, state="pending",
    variant=1, author="twin", reason=None, another_due_at=None, card_message_id=None, revision=1, shown_revision=0, created_at=NOW,
    settled_at=None, mode="approve", intent="reply", flags=[], wish=None, undo_until=None,
)  # fmt: skip
FAMILY, FLAG, ARABIC, ZALGO = "👨‍👩‍👧‍👦", "🏳️‍🌈", "مرحبا كيف حالك ", "z̷̧̛͈͙̦̿͐̑"


def view(*words: str, **draft: Any) -> CardView:
    said = [Message("bot", 7, i + 1, False, NOW, text) for i, text in enumerate(words or ("hey",))]
    return CardView(DRAFT._replace(**draft), "Ada", said, [], False, 3)


def bubble(text: str, state: str, *, position: int = 0) -> Bubble:
    return Bubble(position + 1, 12, "bot", 7, position, text, 1, state, None, None, None, None, None, None)  # type: ignore[arg-type]


def buttons(keyboard: InlineKeyboardMarkup | None) -> list[str]:
    return [button.text for row in keyboard.inline_keyboard for button in row] if keyboard else []


def entities(content: dict[str, Any]) -> dict[str, str]:
    """What each kind of entity covers, cut out as Telegram does: in UTF-16 units."""
    units = content["text"].encode("utf-16-le")
    return {e.type: units[2 * e.offset : 2 * (e.offset + e.length)].decode("utf-16-le") for e in content["entities"]}


def test_a_card_reads_from_top_to_bottom() -> None:
    content = render(view("hey", "what are you up to?", variant=2)).content()
    assert content["text"] == (
        "Ada · to the bot\nhey\nwhat are you up to?\nDraft:\n• not much\n• you?\n\nDraft 12 · adapter ada-3 · variant 2 of 3"
    )
    assert content["parse_mode"] is None
    assert entities(content)["blockquote"] == "hey\nwhat are you up to?"
    assert entities(content)["italic"] == "Draft 12 · adapter ada-3 · variant 2 of 3"
    assert [e.type for e in content["entities"]] == ["bold", "blockquote", "bold", "italic"]


@pytest.mark.parametrize("words", ["x" * 5000, FAMILY * 700, ARABIC * 400, FLAG * 900, ZALGO * 500, "😀\n" * 3000, "", " "])
@pytest.mark.parametrize("text", ["y" * 9000, FAMILY * 900, ARABIC * 500, "a\n" * 4000, ""])
@pytest.mark.parametrize("state", ["pending", "sent", "failed"])
def test_a_card_fits_whatever_it_holds(words: str, text: str, state: str) -> None:
    sent = [bubble(text, "sent")] if text and state == "sent" else []
    shown = replace(view(words, "and the newest", text=fit_draft(text), state=state, reason=ARABIC * 20), name=FAMILY * 60, sent=sent)
    content = render(shown).content()
    assert 0 < length(content["text"]) <= 4096
    end = max(e.offset + e.length for e in content["entities"])
    assert end <= length(content["text"])
    assert all(e.length > 0 for e in content["entities"])
    assert "and the newest" in content["text"]
    content["text"].encode("utf-8")  # no half of an emoji


def test_a_draft_is_shown_whole_however_long_their_words_are() -> None:
    text = fit_draft("one two three " * 600)
    assert length(text) <= MAX_DRAFT
    assert text in render(view("x" * 4096, "y" * 4096, text=text)).content()["text"]


def test_long_words_are_folded_and_lose_the_oldest_first() -> None:
    content = render(view(*[f"message {i} " + "w" * 200 for i in range(60)])).content()
    folded = entities(content)["expandable_blockquote"]
    assert folded.startswith("…\nmessage ")
    assert "message 59" in folded
    assert "message 0 " not in folded


def test_the_newest_words_are_kept_even_if_they_must_be_cut() -> None:
    assert newest_words(["a" * 50, "b" * 50], 20) == "…\n" + "b" * 17 + "…"
    assert newest_words(["b" * 50], 20) == "b" * 17 + "…"
    assert newest_words(["old", "new"], 100) == "old\nnew"
    assert newest_words(["o" * 50, "new"], 20) == "…\nnew"


@pytest.mark.parametrize(
    ("draft", "labels", "said"),
    [
        ({}, ["Send", "Edit", "Skip", "Another", "Shorter", "Warmer", "Auto from now on"], "Draft:"),
        ({"text": ""}, ["Edit", "Skip", "Another"], "No words came."),
        ({"variant": 3}, ["Send", "Edit", "Skip", "Auto from now on"], "variant 3 of 3"),
        ({"another_due_at": NOW}, ["Send", "Edit", "Skip", "Auto from now on"], "writing another"),
        ({"author": "owner"}, ["Send", "Edit", "Skip", "Another", "Shorter", "Warmer", "Auto from now on"], "Your words, not sent yet:"),
        ({"state": "approved"}, [], "Sending:"),
        ({"state": "sent"}, [], "Sent:"),
        ({"state": "failed", "reason": "they have blocked the bot"}, [], "Not sent, they have blocked the bot:"),
        ({"state": "rejected"}, [], "Skipped:"),
        ({"state": "expired", "reason": "superseded"}, [], "Superseded by a newer message:"),
        ({"state": "expired", "reason": "timed out"}, [], "Expired, nobody decided on it:"),
        ({"state": "expired", "reason": "switched off"}, [], "Withdrawn, the mode was changed:"),
    ],
)
def test_each_state_has_its_words_and_buttons(draft: dict[str, Any], labels: list[str], said: str) -> None:
    card = render(view(**draft))
    assert buttons(card.keyboard) == labels
    assert said in card.content()["text"]


def test_what_was_not_sent_is_struck_through() -> None:
    assert entities(render(view(state="rejected")).content())["strikethrough"] == "• not much\n• you?"
    assert "strikethrough" not in entities(render(view(state="sent")).content())


def test_a_right_to_left_name_is_kept_apart_from_its_neighbours() -> None:
    assert shown_name("עדה") == "\u2068עדה\u2069"
    assert shown_name("Ada") == "Ada"
    assert shown_name("  \n ") == "no name"


def test_callback_data_fits_64_bytes_at_its_longest() -> None:
    longest = 2**53
    packed = [
        Tap(action="another", draft_id=longest, variant=9).pack(),
        DoubtTap(outbox_id=longest, tried=9_999_999_999_999, arrived=True).pack(),
        ModeTap(action="default", dialog_id=longest, page=999, mode="approve").pack(),
        SilenceTap(begin=False).pack(),
    ]
    assert max(len(data.encode()) for data in packed) <= 64
    assert buttons(doubt_keyboard(bubble("one", "uncertain"))) == ["Send again", "It arrived"]


def test_lines_within_a_bubble_are_set_in() -> None:
    assert (
        "Draft:\n• first\n    still first\n• second" in render(view(text=join_bubbles(["first\nstill first", "second"]))).content()["text"]
    )


# --- why it looks like that ---------------------------------------------------------------------------------------------------


def past(words: str, reply: str) -> PastReply:
    return PastReply(words, reply, datetime(2025, 5, 3, 12, tzinfo=UTC), 0.8)


def test_a_card_says_by_which_way_they_wrote() -> None:
    assert render(view(channel="account")).content()["text"].startswith("Ada · in your chat\nhey\n")
    assert render(view()).content()["text"].startswith("Ada · to the bot\nhey\n")


def test_past_replies_are_folded_under_the_draft() -> None:
    shown = replace(view(), past=[past("up to anything?", "not much\nyou?"), past("busy?", "always")])
    content = render(shown).content()
    assert entities(content)["expandable_blockquote"] == (
        "You wrote before:\n03 May 2025: up to anything?\nYou: not much / you?\n03 May 2025: busy?\nYou: always"
    )
    assert content["text"].endswith("You: always\nDraft 12 · adapter ada-3")
    sent = replace(shown, draft=DRAFT._replace(state="sent"))
    assert "You wrote before" not in render(sent).content()["text"]


def test_what_was_held_back_says_so_before_its_words() -> None:
    text = render(view(mode="auto", flags=["money", "unsure"])).content()["text"]
    assert f"hey\nHeld back: {describe('money')}; {describe('unsure')}.\nDraft:\n" in text
    assert "Held back" not in render(view(mode="auto", flags=["money"], state="sent")).content()["text"]


def test_better_no_answer_is_a_card_of_its_own() -> None:
    rest = view("ok", text="", intent="rest", reason="you usually let such a message rest (7 of 9)", adapter=None)
    card = render(rest)
    assert card.content()["text"] == ("Ada · to the bot\nok\nNo answer: you usually let such a message rest (7 of 9)\n\nDraft 12")
    assert buttons(card.keyboard) == ["Leave it", "Write anyway", "Edit"]
    assert "Left without an answer." in render(replace(rest, draft=rest.draft._replace(state="rejected"))).content()["text"]
    written = replace(rest, draft=rest.draft._replace(text="good", variant=2))
    assert "Draft:\ngood" in render(written).content()["text"]


def test_an_automatic_answer_has_undo_while_there_is_time() -> None:
    sent = replace(view(mode="auto", state="sent", undo_until=NOW + timedelta(seconds=20), is_automatic=True), is_auto=True)
    assert "Answered by itself:" in render(sent).content()["text"]
    assert buttons(render(sent).keyboard) == ["Undo", "Stop auto here", "Pause all"]
    over = replace(sent, draft=sent.draft._replace(undo_until=None))
    assert buttons(render(over).keyboard) == ["Stop auto here", "Pause all"]
    assert buttons(render(replace(over, is_auto=False)).keyboard) == []
    assert buttons(render(replace(sent, silent_since=NOW)).keyboard) == ["Undo", "Stop auto here", "Resume"]
    assert "Answering by itself:" in render(replace(sent, draft=sent.draft._replace(state="sending"))).content()["text"]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["retracted", "cancelled"], "Taken back:"),
        (["retracting", "cancelled"], "Taking it back:"),
        (["sending", "cancelled"], "Taking it back:"),
        (["retracted", "uncertain"], "Perhaps not all of it is taken back:"),
    ],
)
def test_undo_says_how_far_it_came(states: list[str], said: str) -> None:
    bubbles = [bubble(f"bubble {i}", state, position=i) for i, state in enumerate(states)]
    content = render(replace(view(state="expired", reason=TAKEN_BACK, is_automatic=True), sent=bubbles, is_auto=True)).content()
    assert said in content["text"]
    assert entities(content)["strikethrough"] == "• bubble 0\n• bubble 1"
    assert "could not be taken back" in render(replace(view(state="sent", reason=KEPT), sent=bubbles)).content()["text"]


def test_while_all_is_paused_a_card_says_so_and_offers_to_go_on() -> None:
    card = render(replace(view(), silent_since=NOW))
    assert card.content()["text"].endswith(" · all is paused")
    assert buttons(card.keyboard)[-1] == "Resume"
    assert "Goes when you resume:" in render(replace(view(state="approved"), silent_since=NOW)).content()["text"]


def test_what_was_cancelled_before_does_not_hide_the_draft() -> None:
    assert "• not much\n• you?" in render(replace(view(), sent=[bubble("other", "cancelled")])).content()["text"]


def test_a_contact_on_auto_is_not_offered_auto() -> None:
    assert "Auto from now on" not in buttons(render(replace(view(), is_auto=True)).keyboard)


def test_rows_fit_a_phone() -> None:
    keyboards = [render(view()).keyboard, render(view(intent="rest", text="")).keyboard]
    rows = [row for keyboard in keyboards if keyboard for row in keyboard.inline_keyboard]
    assert all(len(row) <= 3 and sum(len(button.text) for button in row) <= 24 for row in rows)


@pytest.mark.parametrize("alphabet", ["x", FAMILY, ARABIC, FLAG, ZALGO])
@pytest.mark.parametrize("state", ["pending", "expired", "failed", "sent"])
def test_a_card_fits_with_everything_at_its_longest(alphabet: str, state: str) -> None:
    long = alphabet * 5000
    draft = {
        "text": fit_draft(long), "state": state, "mode": "auto", "variant": 3, "adapter": "a" * 64, "reason": long[:4000],
        "wish": "shorter",
        "flags": ["money", "codes", "health", "promises", "injection", "private", "unsure", "limit", "quiet", "paused", long[:600]],
        "another_due_at": NOW, "id": 2**31, "is_automatic": True,
    }  # fmt: skip
    sent = [bubble(long[:4000], "sent")] if state == "sent" else []
    full = replace(view(long, long, "and the newest", **draft), name=long, past=[past(long, long)] * 2, sent=sent, silent_since=NOW)
    content = render(full).content()
    assert length(content["text"]) <= 4096
    assert max(e.offset + e.length for e in content["entities"]) <= length(content["text"])
    assert all(e.length > 0 for e in content["entities"])
    assert f"Draft {2**31}" in content["text"].split("\n")[-1]
    content["text"].encode("utf-8")
    if state == "pending":
        assert fit_draft(long) in content["text"]


def test_a_right_to_left_past_reply_is_kept_apart_from_its_date() -> None:
    assert "03 May 2025: \u2068" + ARABIC.strip() + "\u2069" in render(replace(view(), past=[past(ARABIC, "ok")])).content()["text"]


async def test_a_card_tells_two_of_one_name_apart(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello", name="Ada Lovelace")
        await wrote(scene, "hello", dialog_id=BEN, name="Ada Lovelace")
        await wrote(scene, "hello", dialog_id=EVE, name="\u202eEve\x1b[31m\n")
        await drafted(scene, "hi", dialog_id=BEN)
        await drafted(scene, "hey", dialog_id=EVE)
        await scene.start()
        assert (await scene.hear("Draft 1")).text.startswith("Ada Lovelace (@ada) · to the bot")
        assert (await scene.hear("Draft 2")).text.startswith("Eve · to the bot")


@pytest.mark.parametrize("name", ["", "\u200b", "\u202e\0"])
def test_a_contact_without_a_name_is_no_name(name: str) -> None:
    assert render(replace(view(), name=name)).content()["text"].startswith("no name · to the bot")
