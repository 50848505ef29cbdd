"""Nobody but the owner can command the bot, press its buttons or see a draft."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiogram import Router
from bot_scene import ADA, BEN, BOT, EVE, OWNER, Scene, opened, until

from bot.app import make_dispatcher
from bot.guard import FromContact, FromOwner, OwnersConnection
from bot.words import OWNER_COMMANDS
from sandbox.world import Group, Media
from twin import digest

COMMANDS = [
    *OWNER_COMMANDS,
    "start",
    "approve 1",
    "mode @ada off",
    "mode @ada auto",
    "mode default auto",
    "mode default off",
    "retrain full",
    "retrain stop",
    "rollback@twin_bot",
    "unknown",
]
ACTIONS = ("send", "edit", "another", "shorter", "warmer", "skip", "undo", "auto", "trust", "no", "back", "stop")
# Handlers outside the owner's router: what anybody may cause. A new one has to be named here, or go behind a guard.
OPEN_TO_CONTACTS = {"on_privacy", "on_command", "on_message", "on_edited"}
OPEN_TO_ALL = {"on_added"}
OF_CONNECTIONS = {"on_connection", "on_business_message", "on_edited_business_message", "on_deleted_business_messages"}


def handlers(router: Router) -> Iterator[tuple[Router, str, str]]:
    """Every handler of a router tree: its router, the kind of update, its name."""
    for kind, observer in router.observers.items():
        for handler in observer.handlers:
            yield router, kind, handler.callback.__name__
    for child in router.sub_routers:
        yield from handlers(child)


def guards(router: Router, kind: str) -> set[type]:
    """The guards that stand before a router's handlers of this kind, its parents' included."""
    found: set[type] = set()
    while True:
        found |= {type(f.callback) for f in router.observers[kind]._handler.filters or ()}
        if router.parent_router is None:
            return found
        router = router.parent_router


async def test_every_handler_is_behind_the_owners_guard_or_named_as_open(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        dispatcher = make_dispatcher(scene.twin())
        known = {name for _, _, name in handlers(dispatcher)}
        assert {
            "on_approve",
            "on_tap",
            "on_text",
            "on_mode_tap",
            "on_retrain",
            "on_rollback",
            "on_pause",
            "on_resume",
            "on_digest",
            "on_silence_tap",
        } <= known
        for router, kind, name in handlers(dispatcher):
            if kind == "update":  # aiogram's own, which deals updates out to the others
                continue
            standing = guards(router, kind)
            if FromOwner not in standing:
                assert name in OPEN_TO_CONTACTS | OPEN_TO_ALL | OF_CONNECTIONS, f"{name} ({kind}) is open to everybody"
                assert (FromContact in standing) == (name in OPEN_TO_CONTACTS)
                assert (OwnersConnection in standing) == (name in OF_CONNECTIONS)


async def _state(scene: Scene) -> dict[str, Any]:
    """All that an attack could change. Of the facts those that are not the bot's own bookkeeping."""
    tables = ("drafts", "decisions", "outbox", "dialogs", "messages", "replies_due", "prompts", "adapters", "connections", "comparisons")
    facts = {row["name"]: row["value"] for row in await scene.rows("facts") if row["name"] in ("silence", "default mode", digest.SEEN)}
    return {t: await scene.rows(t) for t in tables} | {"facts": facts} | {"trained": list(scene.retrained), "back": scene.rolled_back}


async def test_strangers_commands_have_no_effect(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        await scene.card("hello")
        await scene.idle()
        before, seen = await _state(scene), scene.seen_by(OWNER)
        for attacker in (EVE, ADA, BEN):
            for command in COMMANDS:
                scene.writes(f"/{command}", sender=attacker)
        await scene.idle()
        assert await _state(scene) == before
        assert scene.seen_by(OWNER) == seen
        for attacker in (EVE, ADA, BEN):
            assert {text.split("\n")[0] for text in scene.seen_by(attacker)} == {"Privacy"}


async def test_strangers_taps_have_no_effect(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        scene.says("/mode")
        modes = await scene.hear("How contacts are answered")
        await scene.idle()
        before, seen = await _state(scene), scene.seen_by(OWNER)
        data = [b["callback_data"] for m in (card, modes) for row in m.reply_markup["inline_keyboard"] for b in row]  # type: ignore[index]
        data += [f"d:{action}:1:1" for action in ACTIONS]
        data += ["s:1", "s:0", "m:sure:0:0:auto", "m:sure:0:0:off", "m:set:201:0:auto", "m:default:0:0:", "m:ask:0:0:auto"]
        data += ["o:1:1", "m:set:201:0:off", "d:send:1:1:1", "x", "d:", "d:send:-1:1", "💥"]
        answered = len(scene.api.calls_of("answerCallbackQuery"))
        for chat in (EVE, ADA, OWNER):
            for forged in data:
                scene.api.push_update(BOT, "callback_query", _press(EVE, chat, card, forged))
        for forged in data:  # in a group, in a channel, under an inline message
            scene.api.push_update(BOT, "callback_query", _press(OWNER, -500, card, forged, kind="group"))
            scene.api.push_update(BOT, "callback_query", _press(OWNER, -1000500, card, forged, kind="channel"))
            inline = _press(OWNER, OWNER, card, forged)
            del inline["message"]
            scene.api.push_update(BOT, "callback_query", inline | {"inline_message_id": "AAAA"})
        await scene.idle()
        assert await _state(scene) == before
        assert scene.seen_by(OWNER) == seen
        assert len(scene.api.calls_of("answerCallbackQuery")) == answered


def _press(sender: int, chat: int, card: Any, data: str, *, kind: str = "private") -> dict[str, Any]:
    message = {"message_id": card.ids[BOT], "date": card.date, "text": card.text, "from": {"id": BOT, "is_bot": True, "first_name": "Twin"}}
    message["chat"] = {"id": chat, "type": kind, "first_name": "x"} if kind == "private" else {"id": chat, "type": kind, "title": "x"}
    person = {"id": sender, "is_bot": False, "first_name": "x"}
    return {"id": "77", "from": person, "chat_instance": "1", "data": data, "message": message}


async def test_forged_taps_of_the_owner_do_nothing_but_say_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        scene.says("/status")  # he is seen, which is no harm of a tap
        await scene.hear("Engine: answers")
        await scene.idle()
        before = await _state(scene)
        unknown = [f"d:{action}:{draft_id}:1" for action in ACTIONS for draft_id in (99, -1, 2**40)]
        unknown += [
            f"d:{action}:1:7" for action in ("send", "edit", "another", "shorter", "warmer", "skip", "auto", "trust")
        ]  # no such variant
        unknown += [
            "d:back:1:1",
            "d:dance:1:1",
            "o:55:1",
            "m:set:201:0:loud",
            "m:set:999:0:off",
            "m:sure:0:0:loud",
            "s:",
            "s:2",
            "zzz",
            "d:send",
        ]
        for forged in unknown:
            scene.api.push_update(BOT, "callback_query", _press(OWNER, OWNER, card, forged))
        await scene.idle()
        assert await _state(scene) == before
        assert [row for row in await scene.rows("inbox") if row["error"]] == []


async def test_groups_and_channels_are_left_and_not_listened_to(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        for number, kind in ((500, "group"), (501, "channel")):
            scene.world.add_group(Group(number, "Everybody", kind, {OWNER, EVE}))  # type: ignore[arg-type]
        before = await _state(scene)
        scene.world.join(500, BOT, by_id=EVE)
        for command in COMMANDS:
            scene.world.send(OWNER, 500, f"/{command}")
            scene.world.send(EVE, 500, f"/{command}")
        await until(lambda: BOT not in scene.world.groups[500].members)
        scene.world.join(501, BOT, by_id=EVE)
        await until(lambda: BOT not in scene.world.groups[501].members)
        await scene.idle()
        assert await _state(scene) == before
        assert scene.from_bot(OWNER) == []


@pytest.mark.parametrize(
    "change",
    [
        {"chat": {"id": -500, "type": "group", "title": "x"}},
        {"chat": {"id": -1000500, "type": "supergroup", "title": "x"}, "sender_chat": {"id": -1000500, "type": "supergroup", "title": "x"}},
        {"sender_chat": {"id": -1000500, "type": "channel", "title": "x"}},
        {"from": {"id": EVE, "is_bot": False, "first_name": "Olga Owner", "username": "olga"}},
        {"from": {"id": OWNER, "is_bot": True, "first_name": "Olga"}},
        {"chat": {"id": EVE, "type": "private", "first_name": "x"}},
        {"business_connection_id": "bc1"},
        {"forward_origin": {"type": "user", "date": 1, "sender_user": {"id": OWNER, "is_bot": False, "first_name": "Olga"}}},
    ],
)
async def test_a_command_that_is_not_the_owners_own_has_no_effect(tmp_path: Path, change: dict[str, Any]) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        await scene.card("hello")
        scene.says("how are you")  # so that a forwarded command, which is talk, changes nothing that is compared
        await scene.hear("answer 2")
        await scene.idle()
        before = {k: v for k, v in (await _state(scene)).items() if k in ("decisions", "trained", "back", "adapters")}
        for i, command in enumerate(COMMANDS):
            message = {"message_id": 9000 + i, "date": 1_700_000_000, "text": f"/{command}"}
            message |= {"from": {"id": OWNER, "is_bot": False, "first_name": "Olga"}}
            message |= {"chat": {"id": OWNER, "type": "private", "first_name": "Olga"}}
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(command.split()[0]) + 1}]
            scene.api.push_update(BOT, "message", message | change)
        await scene.idle()
        assert {k: v for k, v in (await _state(scene)).items() if k in before} == before
        assert scene.retrained == []
        assert {d["dialog_id"]: d["mode"] for d in await scene.rows("dialogs") if d["dialog_id"] != EVE} == {ADA: None, OWNER: None}


async def test_what_comes_through_a_strangers_connection_is_neither_read_nor_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        before = await _state(scene)
        scene.connects("bc-eve", account=EVE)
        scene.world.send(ADA, EVE, "not for you")
        scene.world.edit(scene.world.send(EVE, ADA, "nor this"), text="nor that")
        scene.world.delete(scene.world.history(EVE, ADA)[:1])
        chat = {"id": ADA, "type": "private", "first_name": "Ada"}
        person = {"id": ADA, "is_bot": False, "first_name": "Ada"}
        for connection_id in ("bc-forged", "bc-eve"):  # one that Telegram does not know, one that is somebody else's
            message = {"message_id": 9, "date": 1_700_000_000, "text": "hi", "from": person, "chat": chat}
            scene.api.push_update(BOT, "business_message", message | {"business_connection_id": connection_id})
        await scene.idle()
        assert await _state(scene) == before
        assert await scene.rows("connections") == []
        assert scene.from_bot(OWNER) == []
        assert [row["payload"] for row in await scene.rows("inbox")] == [""] * 7
        assert [call["business_connection_id"] for call in scene.api.calls_of("getBusinessConnection")] == ["bc-forged"]


async def test_a_card_of_another_chat_or_an_old_one_decides_on_its_own_draft_only(tmp_path: Path) -> None:
    """A tap names its draft and the variant that was seen; the message that it hangs on gives it no more."""
    async with opened(tmp_path) as scene:
        scene.writes("first")
        first = await scene.card("first")
        scene.writes("second", sender=BEN)
        await scene.card("second")
        await scene.idle()
        # The owner's tap on Ada's card, its data exchanged for Ben's draft: Ben's draft is what is decided on, once.
        scene.api.push_update(BOT, "callback_query", _press(OWNER, OWNER, first, "d:send:2:1"))
        scene.api.push_update(BOT, "callback_query", _press(OWNER, OWNER, first, "d:send:2:1") | {"id": "78"})
        await until(lambda: scene.seen_by(BEN) == ["answer 2"])
        await scene.idle()
        assert scene.seen_by(ADA) == []
        assert scene.seen_by(BEN) == ["answer 2"]


@pytest.mark.parametrize("kind", ["edited_message", "channel_post", "edited_channel_post"])
async def test_an_edited_or_posted_command_has_no_effect(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        await scene.card("hello")
        await scene.idle()
        before, seen = await _state(scene), scene.seen_by(OWNER)
        for i, command in enumerate(COMMANDS):
            message = {"message_id": 9000 + i, "date": 1_700_000_000, "edit_date": 1_700_000_001, "text": f"/{command}"}
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(command.split()[0]) + 1}]
            if "channel" in kind:
                message["chat"] = message["sender_chat"] = {"id": -1000500, "type": "channel", "title": "x"}
            else:
                message["from"] = {"id": OWNER, "is_bot": False, "first_name": "Olga"}
                message["chat"] = {"id": OWNER, "type": "private", "first_name": "Olga"}
            scene.api.push_update(BOT, kind, message)
        await scene.idle()
        assert await _state(scene) == before
        assert scene.seen_by(OWNER) == seen


async def test_inline_use_has_no_effect(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        await scene.card("hello")
        await scene.idle()
        before = await _state(scene)
        for sender in (OWNER, EVE):
            person = {"id": sender, "is_bot": False, "first_name": "x"}
            scene.api.push_update(BOT, "inline_query", {"id": "1", "from": person, "query": "/approve", "offset": ""})
            scene.api.push_update(BOT, "chosen_inline_result", {"result_id": "1", "from": person, "query": "/approve"})
        await scene.idle()
        assert await _state(scene) == before
        assert scene.api.calls_of("answerInlineQuery") == []


async def test_a_flood_of_one_stranger_makes_a_bounded_number_of_cards(tmp_path: Path) -> None:
    async with opened(tmp_path, drafts_per_hour=5, burst_seconds=0.0) as scene:
        for i in range(300):
            scene.writes(f"buy now {i}", sender=EVE)
            if i < 20:  # one by one, so that each could have had its card
                await until(lambda i=i: _all_kept(scene, i + 1))
        await until(lambda: _all_kept(scene, 300), 120)
        await until(lambda: _is_quiet(scene), 60)
        assert len(scene.cards()) <= 5
        scene.writes("hello")  # nobody else is held up
        await scene.card("hello")


async def _all_kept(scene: Scene, count: int) -> bool:
    return len([row for row in await scene.rows("messages") if not row["out"]]) >= count


async def _is_quiet(scene: Scene) -> bool:
    """Nothing is left but the stranger's place in the queue, which is an hour away."""
    return all(row["done_at"] for row in await scene.rows("inbox")) and all(
        row["shown_revision"] == row["revision"] for row in await scene.rows("drafts")
    )


async def test_floods_of_commands_service_messages_and_edits_make_no_cards(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        first = scene.writes("hello", sender=EVE)
        await scene.card("hello")
        await scene.idle()
        scene.says("/approve")
        await scene.hear("answer 1", account=EVE)
        await scene.idle()
        cards, said = len(scene.cards()), scene.engine.said
        person, chat = {"id": EVE, "is_bot": False, "first_name": "Eve"}, {"id": EVE, "type": "private", "first_name": "Eve"}
        for i in range(30):
            scene.writes(f"/start {i}", sender=EVE)
            scene.world.edit(first, text=f"hello {i}")  # answered already
            at = {"message_id": 7000 + i, "date": 1_700_000_000, "from": person, "chat": chat}
            scene.api.push_update(BOT, "message", at | {"message_auto_delete_timer_changed": {"message_auto_delete_time": 60 + i}})
        await scene.idle()
        assert len(scene.cards()) == cards
        assert scene.engine.said == said


async def test_privacy_is_told_to_everybody(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("/privacy", sender=EVE)
        scene.says("/privacy")
        await scene.hear("Privacy", account=EVE)
        await scene.hear("Privacy", account=OWNER)
        assert scene.world.commands_for(BOT, EVE) == (("privacy", "What is kept, and where"),)
        scene.writes("/privacy", sender=BEN, media=Media("photo", b"x"))  # under a picture too
        await scene.hear("Privacy", account=BEN)
        assert [row["text"] for row in await scene.rows("messages") if row["dialog_id"] != OWNER] == []
        assert {name for name, _ in scene.world.commands_for(BOT, OWNER)} == set(OWNER_COMMANDS)
