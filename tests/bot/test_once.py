"""Every handler of the bot is handled twice, as after a kill between what it did and the note that it is done; meanwhile the store has
moved on. The second time changes nothing, and says what was said the first time."""

import ast
import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiogram import Dispatcher
from bot_scene import ADA, BEN, BOT, EVE, OWNER, Scene, opened, until
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

import bot.app
from bot.context import Twin, utc_now
from bot.once import INTERRUPTED
from sandbox.world import Group, Media
from twin.errors import InputError
from twin.store import adapters, cards, dialogs, drafts, inbox, prompts, runs
from twin.store.tables import inbox as inbox_table
from twin.store.tables import metadata

HANDLERS = Path(bot.app.__file__).parent / "handlers"
Act = Callable[[], Any]
Prepare = Callable[[Scene], Awaitable[Act]]
CASES: dict[str, tuple[str, Prepare]] = {}  # name -> the handler that it reaches, and how to make the update


def case(handler: str, name: str = "") -> Callable[[Prepare], Prepare]:
    def keep(prepare: Prepare) -> Prepare:
        CASES[f"{handler} {name}".strip()] = handler, prepare
        return prepare

    return keep


def words(handler: str, text: str, name: str = "") -> None:
    """The owner writes this, while cards of Ada and Ben wait."""

    async def prepare(scene: Scene) -> Act:
        await two_cards(scene)
        return lambda: scene.says(text)

    case(handler, name)(prepare)


def tap(handler: str, label: str, first: str = "") -> None:
    """The owner taps this button of Ada's card, after another one."""

    async def prepare(scene: Scene) -> Act:
        await two_cards(scene)
        card = await scene.card("first")
        if first:
            before = card.reply_markup
            scene.tap(card, first)
            await until(lambda: card.reply_markup != before)
            await scene.idle()
        return lambda: scene.tap(card, label)

    case(handler, label)(prepare)


async def two_cards(scene: Scene) -> None:
    for sender, text in ((ADA, "first"), (BEN, "second")):
        scene.writes(text, sender=sender)
        await scene.card(text)
    await scene.idle()


for command in ("start", "help", "privacy", "status", "adapters", "rollback", "retrain"):
    words(f"commands.on_{command}", f"/{command}")
words("commands.on_retrain", "/retrain stop", "stop")
words("commands.on_approve", "/approve")
words("commands.on_approve", "/approve 1", "by number")
words("silence.on_digest", "/digest")
words("silence.on_pause", "/pause")
words("modes.on_mode", "/mode")
words("modes.on_mode", "/mode Ada Lovelace auto", "by name")
words("modes.on_mode", "/mode default off", "default")
words("talk.on_cancel", "/cancel", "nothing")
words("talk.on_text", "what would I say?", "talk")
words("talk.on_unknown_command", "/dance")
for label, before in {"Send": "", "Edit": "", "Another": "", "Shorter": "", "Skip": "", "Auto from now on": "", "Undo": "Skip"}.items():
    tap("taps.on_tap", label, before)
tap("taps.on_tap", "Yes, auto", "Auto from now on")


@case("silence.on_resume")
async def resume(scene: Scene) -> Act:
    scene.says("/pause")
    await scene.hear("All is paused")
    return lambda: scene.says("/resume")


@case("silence.on_silence_tap")
async def silence_tap(scene: Scene) -> Act:
    scene.says("/status")
    status = await scene.hear("Engine:")
    return lambda: scene.tap(status, "Pause all")


@case("modes.on_mode_tap", "one")
async def mode_tap(scene: Scene) -> Act:
    await two_cards(scene)
    scene.says("/mode")
    menu = await scene.hear("How contacts are answered")
    scene.tap(menu, next(label for label in _labels(menu) if "Ada" in label))
    await until(lambda: "Shadow" in _labels(menu))
    await scene.idle()
    return lambda: scene.tap(menu, "Shadow")


@case("modes.on_mode_tap", "everyone")
async def default_tap(scene: Scene) -> Act:
    await two_cards(scene)
    scene.says("/mode default auto")
    sure = await scene.hear("Auto for everyone?")
    return lambda: scene.tap(sure, "Yes, auto for everyone")


@case("talk.on_cancel", "an edit")
async def cancel(scene: Scene) -> Act:
    await _asked(scene)
    return lambda: scene.says("/cancel")


@case("talk.on_text", "an edit")
async def edit(scene: Scene) -> Act:
    await _asked(scene)
    return lambda: scene.says("my own words")


@case("talk.on_text", "an edit that came too late")
async def late_edit(scene: Scene) -> Act:
    await _asked(scene)
    scene.tap(await scene.card("first"), "Send")
    await until(lambda: scene.seen_by(ADA) == ["answer 1"])
    question = await scene.hear("instead?")
    return lambda: scene.says("my own words", reply_to=question)


@case("talk.on_text", "an edit that was overtaken")
async def overtaken_edit(scene: Scene) -> Act:
    await _asked(scene)
    scene.writes("one more")
    await scene.card("one more")
    await scene.idle()
    return lambda: scene.says("my own words")


async def _asked(scene: Scene) -> None:
    """The owner is asked for his words to Ada."""
    await two_cards(scene)
    scene.tap(await scene.card("first"), "Edit")
    await scene.hear("instead?")
    await scene.idle()


@case("taps.on_doubt")
async def doubt(scene: Scene) -> Act:
    await two_cards(scene)
    scene.fail("sendMessage", "drop_after")
    scene.tap(await scene.card("first"), "Send")
    question = await scene.hear("I cannot tell whether this reached")
    await scene.idle()
    return lambda: scene.tap(question, "Send again")


@case("taps.on_unknown_button")
async def unknown_button(scene: Scene) -> Act:
    await two_cards(scene)
    card = await scene.card("first")
    keyboard = card.reply_markup
    card.reply_markup = {"inline_keyboard": [[{"text": "Old", "callback_data": "zz:1"}]]}

    def act() -> None:
        scene.tap(card, "Old")
        card.reply_markup = keyboard

    return act


@case("nights.on_run_tap")
async def run_tap(scene: Scene) -> Act:
    run_id, now = "20260602-020000-abcdef", utc_now()
    async with scene.store.begin() as connection:
        for name in ("a", "b"):
            where = scene.settings.data / name
            made = {"base_model": "m", "parent": None, "dataset_hash": "h", "metrics": {}, "dialog_ids": [ADA]}
            await adapters.add(connection, name=name, path=where, at=now, **made)  # type: ignore[arg-type]
        await adapters.promote(connection, "a", now)
        await runs.begin(connection, run_id, "nightly", now)
        detail = {"outcome": "waiting", "line": "b passes", "adapter": "b", "parent": "a", "kind": "incremental"}
        await runs.end(connection, run_id, "done", now, detail=detail)
    await scene.stop()
    await scene.start()
    card = await scene.hear("b passes")
    await until(lambda: "Keep old" in _labels(card))
    return lambda: scene.tap(card, "Keep old")


@case("contacts.on_privacy")
async def contact_privacy(scene: Scene) -> Act:
    return lambda: scene.writes("/privacy")


@case("contacts.on_command")
async def contact_command(scene: Scene) -> Act:
    return lambda: scene.writes("/start")


@case("contacts.on_message")
async def contact_message(scene: Scene) -> Act:
    await two_cards(scene)
    picture = Media("photo", "f1", "u1", "image/png", b"png")
    return lambda: scene.writes("look", media=picture)


@case("contacts.on_edited")
async def contact_edit(scene: Scene) -> Act:
    said = scene.writes("hello")
    await scene.card("hello")
    await scene.idle()
    return lambda: scene.world.edit(said, text="hello there")


@case("business.on_connection")
async def connection_made(scene: Scene) -> Act:
    return lambda: scene.connects()


@case("business.on_business_message", "contact")
async def business_message(scene: Scene) -> Act:
    await scene.connected()
    said = scene.whispers("hello")
    await scene.card("hello")
    return lambda: scene.whispers("again", reply_to=said.uid)


@case("business.on_business_message", "owner")
async def business_takeover(scene: Scene) -> Act:
    await scene.connected()
    scene.whispers("hello")
    await scene.card("hello")
    return lambda: scene.types("I am here myself")


@case("business.on_business_message", "echo")
async def business_echo(scene: Scene) -> Act:
    await scene.connected()
    scene.whispers("hello")
    card = await scene.card("hello")
    await scene.idle()
    return lambda: scene.tap(card, "Send")


@case("business.on_edited_business_message")
async def business_edit(scene: Scene) -> Act:
    await scene.connected()
    said = scene.whispers("hello")
    await scene.card("hello")
    await scene.idle()
    return lambda: scene.world.edit(said, text="hello there")


@case("business.on_deleted_business_messages")
async def business_deletion(scene: Scene) -> Act:
    await scene.connected()
    scene.whispers("hello")
    said = scene.whispers("oh, and this")
    await scene.card("oh, and this")
    await scene.idle()
    return lambda: scene.world.delete([said])


@case("groups.on_added")
async def group(scene: Scene) -> Act:
    scene.world.add_group(Group(500, "Everybody", "group", {OWNER, EVE}))
    return lambda: scene.world.join(500, BOT, by_id=EVE)


def _labels(message: Any) -> list[str]:
    return [button["text"] for row in (message.reply_markup or {}).get("inline_keyboard", []) for button in row]


# --- the proof ---


class Watch:
    """Which handlers were called, and what stood in the inbox about an update when it was finished."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: dict[str, int] = {}  # the update's id by the handler
        self.finished: list[dict[str, Any]] = []
        make, finish = bot.app.make_dispatcher, inbox.finish

        async def note(handler: Any, event: Any, data: dict[str, Any]) -> Any:
            self.called[named(data["handler"].callback)] = data["event_update"].update_id
            return await handler(event, data)

        def watched(twin: Twin) -> Dispatcher:
            dispatcher = make(twin)
            for kind, observer in dispatcher.observers.items():
                if kind != "update":
                    observer.middleware(note)
            return dispatcher

        async def noted(connection: AsyncConnection, update_id: int, at: Any) -> None:
            found = await connection.execute(select(inbox_table).where(inbox_table.c.update_id == update_id))
            self.finished.append(dict(found.one()._mapping))
            await finish(connection, update_id, at)

        monkeypatch.setattr(bot.app, "make_dispatcher", watched)
        monkeypatch.setattr(inbox, "finish", noted)


def named(callback: Any) -> str:
    return f"{callback.__module__.rpartition('.')[2]}.{callback.__name__}"


@pytest.mark.parametrize("name", CASES)
async def test_a_repeated_update_has_no_second_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    handler, prepare = CASES[name]
    watch = Watch(monkeypatch)
    async with opened(tmp_path) as scene:
        act = await prepare(scene)
        await scene.idle()
        watch.finished.clear()
        watch.called.clear()
        heard_before = {m.uid for m in scene.from_bot(OWNER)}
        act()
        await until(lambda: handler in watch.called)
        scene.retrain_may_end.set()
        await scene.idle()
        (done,) = [row for row in watch.finished if row["update_id"] == watch.called[handler]]
        await scene.stop()
        first_said = {m.text for m in scene.from_bot(OWNER) if m.uid not in heard_before}
        await scene.start()  # what every start does is done
        await scene.idle()
        await scene.stop()
        await _others_come_in_between(scene, done)
        before, rest = await _state(scene), (scene.rolled_back, len(scene.nights), list(scene.promoted))
        heard = {contact: scene.seen_by(contact) + scene.chat(contact) for contact in (ADA, BEN, EVE)}
        heard_before = {m.uid for m in scene.from_bot(OWNER)}
        async with scene.store.begin() as connection:  # as the kill left it
            again = {"done_at": None, "payload": done["payload"], "outcome": done["outcome"]}
            await connection.execute(update(inbox_table).where(inbox_table.c.update_id == done["update_id"]).values(again))
        watch.called.clear()
        await scene.start()
        await until(lambda: handler in watch.called)
        await scene.idle()
        assert await _state(scene) == before
        assert (scene.rolled_back, len(scene.nights), scene.promoted) == rest
        if handler != "contacts.on_privacy":
            assert {contact: scene.seen_by(contact) + scene.chat(contact) for contact in (ADA, BEN, EVE)} == heard
        second_said = {m.text for m in scene.from_bot(OWNER) if m.uid not in heard_before}
        if done["outcome"] is not None:
            assert {text.replace(" (@ada)", "") for text in second_said} <= first_said  # by then another bears her name


async def _others_come_in_between(scene: Scene, done: dict[str, Any]) -> None:
    """Eve's card and an open question about it stand above the message that is handled again, and somebody bears Ada's name now."""
    at = done["received_at"] - timedelta(seconds=5)
    async with scene.store.begin() as connection:
        await dialogs.save(connection, EVE, name="Eve", username=None)
        await dialogs.save(connection, 999, name="Ada Lovelace", username=None)
        draft = await drafts.add(connection, channel="bot", dialog_id=EVE, answers_message_id=0, text="not for you", at=utc_now())
        await cards.mark_shown(connection, draft, 2, None)
        await prompts.add(connection, 3, draft.id, at)


async def _state(scene: Scene) -> dict[str, Any]:
    """The store, but for what every start and every word of the owner's touches. A question for his words may be asked twice."""
    found = {name: await scene.rows(name) for name in metadata.tables if name != "inbox"}
    found["facts"] = [row for row in found["facts"] if row["name"] not in ("owner seen", "nights since")]
    found["prompts"] = sorted({row["draft_id"] for row in found["prompts"] if row["closed_at"] is None})  # type: ignore[assignment]
    return found


async def test_every_handler_is_handled_twice_above(tmp_path: Path) -> None:
    """A new handler fails here until it has a case."""
    async with opened(tmp_path, started=False) as scene:
        tree = bot.app.make_dispatcher(scene.twin()).chain_tail
        registered = {
            named(handler.callback) for router in tree for kind, o in router.observers.items() if kind != "update" for handler in o.handlers
        }
    assert registered == {handler for handler, _ in CASES.values()}


def test_handlers_write_to_the_store_through_once_only() -> None:
    for path in HANDLERS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr == "begin" and ast.unparse(node.value).endswith("store")), (
                f"{path.name}:{node.lineno}"
            )


async def test_what_no_transaction_holds_is_tried_once_and_an_interruption_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies while the adapter is changed: it is not changed once more, and the owner hears why."""
    began, stays = asyncio.Event(), asyncio.Event()

    async with opened(tmp_path) as scene:

        async def rolls(scene: Scene) -> str:
            scene.rolled_back += 1
            began.set()
            await stays.wait()
            return "never"

        monkeypatch.setattr(Scene, "_rollback", rolls)
        await scene.stop()
        await scene.start()
        scene.says("/rollback")
        await began.wait()
        await scene.stop()
        await scene.start()
        await scene.hear(INTERRUPTED)
        await scene.idle()
        assert scene.rolled_back == 1


async def test_a_refused_rollback_is_said_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as scene:

        async def refuses(scene: Scene) -> str:
            raise InputError("No adapter is active.", mend="`twin adapters` lists them.")

        monkeypatch.setattr(Scene, "_rollback", refuses)
        await scene.stop()
        await scene.start()
        scene.says("/rollback")
        await scene.hear("No adapter is active.")
