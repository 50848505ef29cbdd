"""The same message by all three ways a chat comes in: what the bot is sent, what is collected, what an export holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from aiogram.types import Message as BotMessage
from export_files import ADA, message
from telethon.tl import types as tl

from bot.incoming import to_account_message, to_message
from trainer.export_messages import to_exported
from trainer.telegram_messages import to_message as collected
from twin.turns import Message, bubble_text

AT = datetime(2023, 11, 14, 22, 14, 20, tzinfo=UTC)
FILE = {"file_id": "f", "file_unique_id": "u"}
PHOTO = [{**FILE, "width": 1, "height": 1}]
PLACE = {"latitude": 1.0, "longitude": 2.0}
GEO = tl.GeoPoint(2.0, 1.0, 0)
NO_FILE = "(File not included. Change data exporting settings to download.)"


def words(text: str) -> tl.TextWithEntities:
    return tl.TextWithEntities(text, [])


def file(*attributes: Any) -> tl.MessageMediaDocument:
    return tl.MessageMediaDocument(document=tl.Document(1, 1, b"", AT, "x/y", 1, 1, list(attributes)))


def poll(question: str) -> tl.MessageMediaPoll:
    return tl.MessageMediaPoll(tl.Poll(1, words(question), [], 0), tl.PollResults())


class Case(NamedTuple):
    """One kind of media by the three ways, without a caption; `export` None: an export has nothing of it but its id."""

    kind: str
    text: str
    bot: dict[str, Any]
    account: Any
    export: dict[str, Any] | None


STICKER = {**FILE, "type": "regular", "width": 1, "height": 1, "is_animated": False, "is_video": False, "emoji": "😂"}
VIDEO = {**FILE, "width": 1, "height": 1, "duration": 1}
BOT_POLL = {
    "id": "1",
    "question": "pizza or sushi?",
    "options": [],
    "total_voter_count": 0,
    "is_closed": False,
    "is_anonymous": True,
    "type": "regular",
    "allows_multiple_answers": False,
    "allows_revoting": False,
    "members_only": False,
}
CASES = [
    Case("photo", "", {"photo": PHOTO}, tl.MessageMediaPhoto(photo=tl.PhotoEmpty(1)), {"photo": NO_FILE}),
    Case(
        "sticker",
        "😂",
        {"sticker": STICKER},
        file(tl.DocumentAttributeImageSize(1, 1), tl.DocumentAttributeSticker("😂", tl.InputStickerSetEmpty())),
        {"file": NO_FILE, "media_type": "sticker", "sticker_emoji": "😂"},
    ),
    Case(
        "sticker",
        "",
        {"sticker": {**STICKER, "emoji": None}},
        file(tl.DocumentAttributeSticker("", tl.InputStickerSetEmpty())),
        {"file": NO_FILE, "media_type": "sticker"},
    ),
    Case(
        "poll",
        "pizza or sushi?",
        {"poll": BOT_POLL},
        poll("pizza or sushi?"),
        {"poll": {"question": "pizza or sushi?", "closed": False, "total_voters": 0, "answers": []}},
    ),
    *[
        Case("dice", emoji, {"dice": {"emoji": emoji, "value": 3}}, tl.MessageMediaDice(3, emoji), {"text": emoji})
        for emoji in ("🎲", "🎯", "🏀", "⚽", "🎳", "🎰")
    ],
    Case(
        "contact",
        "",
        {"contact": {"phone_number": "+1 002", "first_name": "Cleo"}},
        tl.MessageMediaContact("+1 002", "Cleo", "", "", 0),
        {"contact_information": {"first_name": "Cleo", "last_name": "", "phone_number": "+1 002"}},
    ),
    Case("location", "", {"location": PLACE}, tl.MessageMediaGeo(GEO), {"location_information": PLACE}),
    Case(
        "location",
        "",
        {"location": {**PLACE, "live_period": 60}},
        tl.MessageMediaGeoLive(GEO, 60),
        {"live_location_period_seconds": 60, "location_information": PLACE},
    ),
    Case(
        "venue",
        "",
        {"venue": {"location": PLACE, "title": "Cafe", "address": "Here"}, "location": PLACE},
        tl.MessageMediaVenue(GEO, "Cafe", "Here", "", "", ""),
        {"place_name": "Cafe", "address": "Here", "location_information": PLACE},
    ),
    Case(
        "voice",
        "",
        {"voice": {**FILE, "duration": 3}},
        file(tl.DocumentAttributeAudio(3, voice=True)),
        {"file": NO_FILE, "media_type": "voice_message", "duration_seconds": 3},
    ),
    Case(
        "voice",
        "",
        {"voice": {**FILE, "duration": 3}},
        tl.MessageMediaDocument(voice=True, ttl_seconds=60),
        {"file": "(File expired)", "media_type": "voice_message", "self_destruct_period_seconds": 60},
    ),
    Case(
        "video_note",
        "",
        {"video_note": {**FILE, "length": 1, "duration": 1}},
        tl.MessageMediaDocument(round=True, ttl_seconds=60),
        {"file": "(File expired)", "media_type": "video_message", "self_destruct_period_seconds": 60},
    ),
    Case(
        "audio",
        "",
        {"audio": {**FILE, "duration": 3}},
        file(tl.DocumentAttributeAudio(3, title="Song")),
        {"file": NO_FILE, "media_type": "audio_file", "performer": "x"},
    ),
    Case(
        "video_note",
        "",
        {"video_note": {**FILE, "length": 1, "duration": 1}},
        file(tl.DocumentAttributeVideo(1, 1, 1, round_message=True)),
        {"file": NO_FILE, "media_type": "video_message"},
    ),
    Case("video", "", {"video": VIDEO}, file(tl.DocumentAttributeVideo(1, 1, 1)), {"file": NO_FILE, "media_type": "video_file"}),
    Case(
        "animation",
        "",
        {"animation": VIDEO, "document": FILE},
        file(tl.DocumentAttributeVideo(1, 1, 1), tl.DocumentAttributeAnimated()),
        {"file": NO_FILE, "media_type": "animation"},
    ),
    Case(
        "document",
        "",
        {"document": {**FILE, "file_name": "paper.pdf"}},
        file(tl.DocumentAttributeFilename("paper.pdf")),
        {"file": NO_FILE, "file_name": "paper.pdf", "mime_type": "application/pdf"},
    ),
    Case("story", "", {"story": {"chat": {"id": 1, "type": "private"}, "id": 1}}, tl.MessageMediaStory(tl.PeerUser(1), 1), None),
    Case(
        "game",
        "",
        {"game": {"title": "Chess", "description": "", "photo": []}},
        tl.MessageMediaGame(tl.Game(1, 1, "chess", "Chess", "", tl.PhotoEmpty(1))),
        {"game_title": "Chess", "game_description": "", "game_link": ""},
    ),
    Case(
        "invoice",
        "",
        {"invoice": {"title": "x", "description": "y", "start_parameter": "", "currency": "EUR", "total_amount": 1}},
        tl.MessageMediaInvoice("x", "y", "EUR", 1, ""),
        {"invoice_information": {"title": "x", "amount": 1}},
    ),
    Case(
        "giveaway",
        "",
        {"giveaway": {"chats": [], "winners_selection_date": 1_700_000_000, "winner_count": 1}},
        tl.MessageMediaGiveaway([1], 1, AT),
        {"giveaway_information": {"quantity": 1}},
    ),
    Case(
        "paid_media",
        "",
        {"paid_media": {"star_count": 5, "paid_media": []}},
        tl.MessageMediaPaidMedia(5, []),
        {"paid_stars_amount": 5},
    ),
    Case(
        "todo",
        "",
        {"checklist": {"title": "x", "tasks": []}},
        tl.MessageMediaToDo(tl.TodoList(words("x"), [])),
        {"todo_list": {"title": "x", "answers": []}},
    ),
    Case(
        "photo",
        "",
        {"live_photo": {**FILE, "width": 1, "height": 1, "duration": 1}, "photo": PHOTO},
        tl.MessageMediaPhoto(photo=tl.PhotoEmpty(1)),
        {"photo": NO_FILE},
    ),
]


def by_the_bot(fields: dict[str, Any]) -> BotMessage:
    person = {"id": ADA, "first_name": "Ada"}
    raw = {"message_id": 1, "date": int(AT.timestamp()), "from": {"is_bot": False, **person}, "chat": {"type": "private", **person}}
    return BotMessage.model_validate(raw | fields)


def three(case: Case, caption: str = "") -> list[Message]:
    """What becomes of it: through the bot, through a connection, collected, imported."""
    live = by_the_bot(case.bot | ({"caption": caption} if caption else {}))
    connected = to_account_message(live, 1)
    assert connected
    mtproto = tl.Message(1, tl.PeerUser(ADA), AT, caption, media=case.account)
    found = [to_message(live), connected, collected(mtproto, ADA)]
    if case.export is not None:
        exported = to_exported(
            message(1, text=case.export.get("text", caption), **{k: v for k, v in case.export.items() if k != "text"}), ADA, sender=ADA
        )
        assert exported
        found.append(exported.message)
    assert all(found)
    return [one for one in found if one]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.text}".strip())
def test_media_have_the_same_kind_and_words_by_all_ways(case: Case) -> None:
    found = three(case)
    assert {(one.kind, one.text, one.out, one.via_bot) for one in found} == {(case.kind, case.text, False, False)}
    assert len({bubble_text(one) for one in found}) == 1


@pytest.mark.parametrize("case", [case for case in CASES if case.kind != "dice"], ids=lambda case: case.kind)
def test_a_caption_is_the_text_by_all_ways(case: Case) -> None:
    assert {(one.kind, one.text) for one in three(case, "look")} == {(case.kind, "look")}


def test_a_gift_is_nobodys_words() -> None:
    sticker = {**STICKER, "type": "custom_emoji"}
    gift = {"gift": {"gift": {"id": "1", "sticker": sticker, "star_count": 5}, "text": "for you"}}
    action = tl.MessageActionGiftStars("EUR", 1, 5)
    service = tl.MessageService(1, tl.PeerUser(ADA), AT, action)
    exported = to_exported(message(1, type="service", action="send_star_gift", actor_id=f"user{ADA}"), ADA, sender=ADA)
    assert exported
    kept = [to_message(by_the_bot(gift)), collected(service, ADA), exported.message]
    assert [(one.kind, one.text) for one in kept if one] == [("service", "")] * 3


def test_a_text_with_a_dice_in_it_is_a_text() -> None:
    exported = to_exported(message(1, text="🎲 tonight?"), ADA, sender=ADA)
    assert exported
    assert (exported.message.kind, exported.message.text) == ("text", "🎲 tonight?")


def test_what_telegram_sends_while_the_owner_is_away_is_marked_by_both_ways() -> None:
    away = by_the_bot({"text": "I am out", "is_from_offline": True})
    mtproto = tl.Message(1, tl.PeerUser(ADA), AT, "I am out", offline=True)
    found = collected(mtproto, ADA)
    assert found
    assert to_message(away).unattended
    assert found.unattended


@pytest.mark.parametrize("question", [["pizza or ", {"type": "bold", "text": "sushi"}, "?"], {"text": "pizza or sushi?"}])
def test_a_polls_question_in_parts_is_joined(question: Any) -> None:
    exported = to_exported(message(1, text="", poll={"question": question}), ADA, sender=ADA)
    assert exported
    assert exported.message.text == "pizza or sushi?"
