"""Which way a bubble takes, and what becomes of it when a way is shut or nobody knows whether it went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from bot_scene import ADA, OWNER, Scene, opened, until

from bot.context import utc_now
from bot.sender import SENDS_AT_ONCE, Sender
from bot.telegram import TYPING_SECONDS, Outcome
from bot.ways import CannotTell, Delivered, NotSent
from sandbox.world import World
from twin import sending
from twin.store import drafts, outbox
from twin.store.outbox import Bubble, Way

CONTACTS = range(1001, 1041)


@dataclass
class Session:
    """A live session that is told what to meet: it sends for the owner, once a random_id."""

    world: World
    meets: list[NotSent] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    sent: dict[int, Delivered] = field(default_factory=dict)
    deleted: list[int] = field(default_factory=list)
    name: Way = "session"

    async def send(self, bubble: Bubble) -> Delivered:
        self.tried.append(bubble.random_id)
        error = self.meets.pop(0) if self.meets else None
        if error and error.outcome is not Outcome.UNKNOWN:
            raise error
        if bubble.random_id not in self.sent:
            message = self.world.send(OWNER, bubble.dialog_id, bubble.text)
            self.sent[bubble.random_id] = Delivered(message.ids[OWNER], utc_now())
        if error:
            raise error
        return self.sent[bubble.random_id]

    async def delete(self, dialog_id: int, message_ids: list[int]) -> None:
        self.deleted += message_ids
        self.world.delete([m for i in message_ids if (m := self.world.in_box(OWNER, i))])

    async def typing(self, dialog_id: int) -> None: ...

    async def read(self, dialog_id: int, message_id: int) -> None: ...


async def _approve(scene: Scene, text: str = "one\ntwo", *, dialog_id: int = ADA, channel: str = "account") -> None:
    async with scene.store.begin() as connection:
        draft = await drafts.add(connection, channel=channel, dialog_id=dialog_id, answers_message_id=0, text=text, at=utc_now())
        await drafts.decide(connection, draft, "send", utc_now())
        await drafts.change(connection, draft, state="approved")
        await outbox.add(connection, draft, text.split("\n"))


async def _all(scene: Scene, state: str) -> bool:
    return {*await scene.states()} == {state}


async def test_without_a_connection_the_session_answers(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.session = Session(scene.world)
        await _approve(scene)
        await scene.start()
        await until(lambda: scene.chat() == ["one", "two"])
        await until(lambda: _all(scene, "sent"))
        assert {row["way"] for row in await scene.rows("outbox")} == {"session"}


async def test_what_the_connection_may_not_send_the_session_does(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.session = session = Session(scene.world)
        scene.connects()  # nobody has written for 24 hours: Telegram lets no bot answer
        await _approve(scene)
        await scene.start()
        await until(lambda: scene.chat() == ["one", "two"])
        await scene.idle()
        assert len(session.tried) == 2
        assert {row["way"] for row in await scene.rows("outbox")} == {"session"}
        # The connection shows what the session has sent: it is no takeover.
        assert [row["silent_until"] for row in await scene.rows("dialogs")] in ([], [None])
        assert sorted(row["source"] for row in await scene.rows("messages")) == ["twin", "twin"]


async def test_a_shut_session_after_a_shut_connection_fails_with_the_first_reason(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        shut = NotSent(Outcome.REFUSED, "I am signed out of your account", is_closed=True)
        scene.session = Session(scene.world, meets=[shut])
        await scene.start()
        await scene.connected()  # before anything may go: else the session is tried first
        await scene.stop()
        await _approve(scene, "one")
        await scene.start()
        await scene.hear("Telegram lets no bot answer for you")
        assert await scene.states() == ["failed"]


async def test_an_unknown_outcome_of_the_session_is_repeated_with_the_same_id_and_by_no_other_way(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.session = session = Session(scene.world, meets=[NotSent(Outcome.UNKNOWN, "no answer", seconds=0.2)])
        await _approve(scene, "one")
        await scene.start()
        await until(lambda: _all(scene, "sent"))
        assert scene.chat() == ["one"]
        assert len(session.tried) == 2
        assert len(set(session.tried)) == 1


async def test_what_may_have_gone_by_a_session_that_is_no_more_is_asked_about(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.connects()
        await _approve(scene, "one")
        async with scene.store.begin() as connection:
            bubble = await outbox.first(connection)
            assert bubble
            await sending.begin(connection, bubble, utc_now(), way="session")
        await scene.start()
        await scene.hear("I cannot tell whether this reached")
        assert scene.chat() == []
        assert scene.api.calls_of("sendMessage")[0]["chat_id"] == OWNER


@pytest.mark.parametrize("found", ["there", "missing", "unreadable"])
async def test_a_business_send_without_an_echo_is_looked_up_where_a_session_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(sending, "ECHO_SECONDS", 0.2)
    async with opened(tmp_path, started=False) as scene:

        async def look_up(bubble: Bubble) -> Delivered | None:
            if found == "unreadable":
                raise CannotTell
            return Delivered(77, utc_now()) if found == "there" else None

        scene.look_up = look_up
        scene.connects()
        scene.whispers("hello")
        await scene.start()
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "drop_before")
        scene.tap(card, "Send")
        if found == "unreadable":
            await scene.hear("I cannot tell")
            assert await scene.states() == ["uncertain"]
        else:
            await until(lambda: _all(scene, "sent"))
            assert not await scene.told("I cannot tell")
        assert scene.chat() == (["answer 1"] if found == "missing" else [])


async def test_an_answer_in_the_bots_chat_is_taken_back_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.tap(card, "Send")
        await until(lambda: _all(scene, "sent"))
        async with scene.store.begin() as connection:
            draft = await drafts.newest(connection, "bot", ADA)
            assert draft
            assert await sending.retract(connection, draft, utc_now()) == 1
        scene.says("/approve 999")
        await until(lambda: _all(scene, "retracted"))
        assert scene.seen_by(ADA) == []


async def test_without_the_right_to_delete_the_session_takes_it_back(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.session = session = Session(scene.world)
        scene.connects(can_reply=True)
        scene.whispers("hello")
        await scene.start()
        await scene.card("hello")
        scene.says("/approve")
        await until(lambda: _all(scene, "sent"))
        async with scene.store.begin() as connection:
            draft = await drafts.newest(connection, "account", ADA)
            assert draft
            await sending.retract(connection, draft, utc_now())
        scene.says("/approve 999")
        await until(lambda: _all(scene, "retracted"))
        assert len(session.deleted) == 1
        assert scene.chat() == []


async def test_many_chats_go_at_once_each_in_its_order_and_not_all_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:

        @dataclass
        class Slow(Session):
            at_once: int = 0
            most: int = 0
            order: list[tuple[int, str]] = field(default_factory=list)

            async def send(self, bubble: Bubble) -> Delivered:
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                await asyncio.sleep(0.02)
                self.at_once -= 1
                self.order.append((bubble.dialog_id, bubble.text))
                return Delivered(len(self.order), utc_now())

        scene.session = slow = Slow(scene.world)
        for contact in CONTACTS:
            await _approve(scene, "1\n2\n3", dialog_id=contact)
        await scene.start()
        await until(lambda: _all(scene, "sent"))
        assert 1 < slow.most <= SENDS_AT_ONCE
        assert len(slow.order) == 3 * len(CONTACTS)
        for contact in CONTACTS:
            assert [text for dialog_id, text in slow.order if dialog_id == contact] == ["1", "2", "3"]


async def test_a_bot_that_is_stopped_lets_what_is_in_flight_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "delay", 0.4)
        scene.tap(card, "Send")
        await until(lambda: _all(scene, "sending"))
        await scene.stop()
        assert await scene.states() == ["sent"]


async def test_typing_is_shown_again_after_seconds_and_not_after_a_round_without_room(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        shown: list[int] = []

        class Watched(Session):
            async def typing(self, dialog_id: int) -> None:
                shown.append(dialog_id)

        await _approve(scene, "later")
        async with scene.store.connect() as connection:
            waiting = await outbox.in_state(connection, "waiting")
        sender, now = Sender(scene.twin(), {"session": Watched(scene.world)}, None, set()), utc_now()
        for typing in (waiting, [], waiting):
            await sender._type(typing, now)
        await asyncio.gather(*sender.aside)
        assert shown == [ADA]
        await sender._type(waiting, now + timedelta(seconds=TYPING_SECONDS))
        await asyncio.gather(*sender.aside)
        assert shown == [ADA, ADA]
