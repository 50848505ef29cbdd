"""Each kind of message arrives as what it is: replies, forwards, entities, media, service messages, buttons, business sends."""

from __future__ import annotations

import asyncio

import pytest
from mtproto_cast import ANNA, BEN, BOT, OWNER, NewClient
from telethon import TelegramClient, functions, types
from telethon.errors import BotResponseTimeoutError, DataInvalidError

from sandbox.mtproto import buttons
from sandbox.world import BusinessConnection, Media, Pressed, World


async def newest(client: TelegramClient, chat: str = "anna") -> types.Message:
    return (await client.get_messages(chat, limit=1))[0]


async def test_a_reply_points_at_the_id_in_the_readers_box(world: World, client: TelegramClient) -> None:
    world.send(BEN, OWNER, "shifts the owner's ids")
    question = world.send(ANNA, OWNER, "lunch?")
    world.send(OWNER, ANNA, "yes", reply_to=question.uid)
    assert (await newest(client)).reply_to_msg_id == 2
    world.delete([question])
    assert (await newest(client)).reply_to_msg_id == 2, "a reply keeps pointing at a message that is gone"


async def test_a_forward_names_its_author(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "as Ben said", forwarded_from=BEN)
    message = await newest(client)
    assert message.fwd_from.from_id == types.PeerUser(BEN)


async def test_entities_go_both_ways(world: World, client: TelegramClient) -> None:
    await client.send_message("anna", "**bold** __italic__ `code` [link](https://example.org) ```py\nx```")
    kinds = [e["type"] for e in world.history(OWNER, ANNA)[-1].entities]
    assert kinds == ["bold", "italic", "code", "text_link", "pre"]
    assert (await newest(client)).text == "**bold** __italic__ `code` [link](https://example.org) ```py\nx```"


@pytest.mark.parametrize(
    ("kind", "attribute"),
    [
        ("photo", "photo"),
        ("document", "document"),
        ("voice", "voice"),
        ("audio", "audio"),
        ("video", "video"),
        ("video_note", "video_note"),
        ("animation", "gif"),
        ("sticker", "sticker"),
        ("contact", "contact"),
        ("location", "geo"),
        ("venue", "venue"),
        ("poll", "poll"),
        ("dice", "dice"),
    ],
)
async def test_media_arrive_as_their_kind(kind: str, attribute: str, world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "caption", media=Media(kind, b"content", emoji="🎲"))
    message = await newest(client)
    assert getattr(message, attribute)
    assert message.message == "caption"


async def test_an_unknown_kind_is_unsupported_media(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "", media=Media("hologram"))
    assert isinstance((await newest(client)).media, types.MessageMediaUnsupported)


async def test_files_are_downloaded_and_uploaded_whole(world: World, client: TelegramClient) -> None:
    content = bytes(range(256)) * 2000
    world.send(ANNA, OWNER, "", media=Media("document", content, file_name="notes.bin"))
    message = await newest(client)
    assert (message.file.name, message.file.size) == ("notes.bin", len(content))
    assert await client.download_media(message, bytes) == content
    await client.send_file("anna", content, caption="back to you", voice_note=True, attributes=[])
    sent = world.history(OWNER, ANNA)[-1]
    assert sent.media is not None
    assert (sent.media.content, sent.text) == (content, "back to you")


@pytest.mark.parametrize(
    ("service", "action"),
    [
        ("phone_call", types.MessageActionPhoneCall),
        ("history_clear", types.MessageActionHistoryClear),
        ("screenshot", types.MessageActionScreenshotTaken),
        ("something else", types.MessageActionCustomAction),
    ],
)
async def test_service_messages(service: str, action: type, world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "", service=service)
    message = await newest(client)
    assert isinstance(message, types.MessageService)
    assert isinstance(message.action, action)


async def test_a_business_bots_message_is_the_owners_and_names_the_bot(world: World, client: TelegramClient) -> None:
    connection = BusinessConnection("c1", OWNER, BOT, 0)
    world.set_connection(connection)
    world.send(OWNER, ANNA, "sent by the twin", connection=connection)
    message = await newest(client)
    assert message.out
    assert message.sender_id == OWNER
    assert message.via_business_bot_id == BOT


async def test_reactions_are_counted(world: World, client: TelegramClient) -> None:
    world.react(OWNER, world.send(ANNA, OWNER, "nice"), ["👍"])
    results = (await newest(client)).reactions.results
    assert [(r.reaction.emoticon, r.count, r.chosen_order) for r in results] == [("👍", 1, 0)]


async def test_a_contact_talks_to_a_bot_and_presses_its_button(world: World, new_client: NewClient) -> None:
    anna = await new_client(ANNA)
    await anna.send_message("twin_bot", "/start")
    keyboard = {"inline_keyboard": [[{"text": "Send", "callback_data": "send:1"}, {"text": "Site", "url": "https://example.org/"}]]}
    world.send(BOT, ANNA, "Shall I?", reply_markup=keyboard)

    def answer_at_once(event: object) -> None:
        if isinstance(event, Pressed):
            world.answer_press(event.press.id, f"pressed {event.press.data}")

    stop = world.subscribe(answer_at_once)
    message = await newest(anna, "twin_bot")
    assert (message.sender_id, message.buttons[0][1].url) == (BOT, "https://example.org/")
    assert (await message.click(0)).message == "pressed send:1"
    stop()

    def answer_later(event: object) -> None:
        if isinstance(event, Pressed):
            asyncio.get_running_loop().call_later(0.05, world.answer_press, event.press.id, "later", True)

    world.subscribe(answer_later)
    answer = await message.click(0)
    assert (answer.message, answer.alert) == ("later", True)
    with pytest.raises(DataInvalidError):
        await message.click(data=b"forged")


async def test_a_bot_that_does_not_answer_a_press(world: World, new_client: NewClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buttons, "ANSWER_SECONDS", 0.05)
    anna = await new_client(ANNA)
    world.send(BOT, ANNA, "Shall I?", reply_markup={"inline_keyboard": [[{"text": "Send", "callback_data": "send:1"}]]})
    message = await newest(anna, "twin_bot")
    with pytest.raises(BotResponseTimeoutError):
        await anna(functions.messages.GetBotCallbackAnswerRequest("twin_bot", message.id, data=b"send:1"))
