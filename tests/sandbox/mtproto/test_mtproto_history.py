"""History is cut into pages exactly as Telegram does it, held against a naive model and against whole iterations."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from mtproto_cast import ANNA, BEN, OWNER
from telethon import TelegramClient, functions, types
from telethon.errors import PeerIdInvalidError

from sandbox.mtproto import MtprotoServer
from sandbox.mtproto.rpc import Serialised
from sandbox.mtproto.views import Column, Slice
from sandbox.world import Media, Message, World

START = 1_700_000_000


def naive_page(rows: list[tuple[int, int]], cut: Slice) -> list[int]:
    """Position by position: skip what is not older than the offset, shift, cut, then filter. `rows` are (id, date)."""
    newest_first = rows[::-1]
    if cut.offset_id:
        skipped = len([i for i, _ in newest_first if i >= cut.offset_id])
    elif cut.offset_date:
        skipped = len([i for i, date in newest_first if date >= cut.offset_date])
    else:
        skipped = 0
    wanted = range(skipped + cut.add_offset, skipped + cut.add_offset + (min(cut.limit, 100) or 20))
    page = [row[0] for place, row in enumerate(newest_first) if place in wanted]
    return [i for i in page if (not cut.min_id or i > cut.min_id) and (not cut.max_id or i < cut.max_id)]


def stored(uid: int, date: int) -> Message:
    return Message(uid, frozenset({OWNER, ANNA}), ANNA, "text", date, {})


def random_cut(rng: random.Random, top_id: int) -> Slice:
    def around(low: int, high: int) -> int:
        return rng.choice([0, 0, rng.randint(low, high)])

    return Slice(
        offset_id=around(1, top_id + 5),
        offset_date=around(START - 100, START + 10 * top_id),
        add_offset=rng.choice([0, 0, -1, 1, -100, -rng.randint(0, 150), rng.randint(0, 150)]),
        limit=rng.choice([0, 1, 20, 100, 1000, rng.randint(1, 120)]),
        max_id=around(1, top_id + 5),
        min_id=around(1, top_id + 5),
    )


def fill(world: World, rng: random.Random, count: int) -> list[int]:
    """Chats of the owner with Anna and Ben take turns at random, so Anna's ids have gaps. Gives Anna's."""
    ids = []
    for n in range(count):
        other = rng.choice([ANNA, BEN])
        sender, receiver = rng.choice([(OWNER, other), (other, OWNER)])
        message = world.send(sender, receiver, f"message {n}", date=START + 10 * n + rng.randint(0, 9), silent=True)
        if other == ANNA:
            ids.append(message.ids[OWNER])
    return ids


@pytest.mark.parametrize("dates", ["rising", "shuffled"])
def test_pages_equal_the_naive_model(dates: str) -> None:
    """8,000 random combinations of all six fields, on histories of 0 to 300 messages."""
    rng = random.Random(7)
    for _ in range(160):
        column = Column()
        ids = sorted(rng.sample(range(1, 600), rng.choice([0, 1, 5, 100, 101, 300])))
        rows = [(i, START + 10 * (i if dates == "rising" else rng.randint(0, 600))) for i in ids]
        for message_id, date in rows:
            column.append(stored(message_id, date), message_id)
        for _ in range(50):
            cut = random_cut(rng, ids[-1] if ids else 10)
            assert [m.uid for m in column.page(cut)] == naive_page(rows, cut), cut


async def test_get_history_equals_the_naive_model_over_the_wire(world: World, client: TelegramClient) -> None:
    rng = random.Random(11)
    fill(world, rng, 400)
    rows = [(m.ids[OWNER], m.date) for m in world.history(OWNER, ANNA)]
    peer = types.InputPeerUser(ANNA, world.account(ANNA).access_hash)
    for _ in range(200):
        cut = random_cut(rng, 400)
        answer = await client(
            functions.messages.GetHistoryRequest(
                peer, cut.offset_id, cut.offset_date or None, cut.add_offset, cut.limit, cut.max_id, cut.min_id, 0
            )
        )
        assert [m.id for m in answer.messages] == naive_page(rows, cut), cut
        assert isinstance(answer, types.messages.MessagesSlice)
        assert answer.count == len(rows)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, lambda _: True),
        ({"min_id": 100}, lambda i: i > 100),
        ({"max_id": 300}, lambda i: i < 300),
        ({"min_id": 100, "max_id": 300}, lambda i: 100 < i < 300),
        ({"min_id": 3999}, lambda _: False),
    ],
)
async def test_iteration_is_exact(reverse: bool, options: dict[str, int], kept: Any, world: World, client: TelegramClient) -> None:
    ids = fill(world, random.Random(3), 700)
    expected = [i for i in ids if kept(i)]
    found = [m.id async for m in client.iter_messages("anna", reverse=reverse, wait_time=0, **options)]
    assert found == (expected if reverse else expected[::-1])


@pytest.mark.parametrize("reverse", [False, True])
async def test_iteration_from_a_date_is_exact(reverse: bool, world: World, client: TelegramClient) -> None:
    fill(world, random.Random(5), 500)
    rows = [(m.ids[OWNER], m.date) for m in world.history(OWNER, ANNA)]
    middle = rows[len(rows) // 2][1]
    at = datetime.fromtimestamp(middle, UTC)
    found = [m.id async for m in client.iter_messages("anna", offset_date=at, reverse=reverse, wait_time=0)]
    expected = [i for i, date in rows if date >= middle] if reverse else [i for i, date in rows[::-1] if date < middle]
    assert found == expected


async def test_limit_and_total(world: World, client: TelegramClient) -> None:
    ids = fill(world, random.Random(9), 250)
    newest = await client.get_messages("anna", limit=7)
    assert [m.id for m in newest] == ids[::-1][:7]
    assert newest.total == len(ids)
    assert (await client.get_messages("anna", limit=0)).total == len(ids)


async def test_a_whole_chat_in_one_page_is_no_slice(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "hi")
    peer = await client.get_input_entity("anna")
    answer = await client(functions.messages.GetHistoryRequest(peer, 0, None, 0, 100, 0, 0, 0))
    assert isinstance(answer, types.messages.Messages)


async def test_new_edited_and_deleted_messages_show_at_once(world: World, client: TelegramClient) -> None:
    first, second = world.send(ANNA, OWNER, "one"), world.send(OWNER, ANNA, "two")
    assert [m.text for m in await client.get_messages("anna", limit=9)] == ["two", "one"]
    world.send(ANNA, OWNER, "three")
    world.edit(second, text="two, edited")
    world.delete([first])
    after = await client.get_messages("anna", limit=9)
    assert [m.text for m in after] == ["three", "two, edited"]
    assert after[1].edit_date is not None
    assert after[0].edit_date is None


async def test_both_sides_have_their_own_ids_and_directions(world: World, client: TelegramClient, new_client: Any) -> None:
    world.send(BEN, OWNER, "shifts the owner's ids")
    world.send(OWNER, ANNA, "hello")
    world.send(ANNA, OWNER, "hello back")
    anna = await new_client(ANNA)
    owners = [(m.id, m.out, m.sender_id, m.text) for m in await client.get_messages("anna", limit=9)]
    annas = [(m.id, m.out, m.sender_id, m.text) for m in await anna.get_messages("olga", limit=9)]
    assert owners == [(3, False, ANNA, "hello back"), (2, True, OWNER, "hello")]
    assert annas == [(2, True, ANNA, "hello back"), (1, False, OWNER, "hello")]


async def test_messages_by_id(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "hi")
    found = await client.get_messages("anna", ids=[1, 77])
    assert found[0].text == "hi"
    assert found[1] is None


async def test_search_by_words_sender_and_kind(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "Breakfast at seven?")
    world.send(OWNER, ANNA, "Seven is early, breakfast at nine")
    world.send(ANNA, OWNER, "", media=Media("photo", b"jpeg"))

    async def search(**options: Any) -> list[int]:
        return [m.id async for m in client.iter_messages("anna", **options)]

    assert await search(search="break seven") == [2, 1]
    assert await search(search="reakfast") == []
    assert await search(search="seven", from_user="me") == [2]
    assert await search(from_user="anna") == [3, 1]
    assert await search(filter=types.InputMessagesFilterPhotos) == [3]
    answer = await client(functions.messages.GetSplitRangesRequest())
    assert [r.min_id for r in answer] == [1]


async def test_history_needs_the_right_access_hash(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "hi")
    with pytest.raises(PeerIdInvalidError):
        await client.get_messages(types.InputPeerUser(ANNA, 1), limit=1)


def test_plain_messages_have_the_bytes_that_telethon_would_write(world: World, server: MtprotoServer) -> None:
    """The template of plain texts against Telethon's own serialisation, for either side, for long texts and to oneself."""
    texts = ["a", "äöü", "x" * 253, "x" * 254, "🙂" * 300]
    for sender, receiver in ((OWNER, ANNA), (ANNA, OWNER), (OWNER, OWNER)):
        for text in texts:
            message = world.send(sender, receiver, text, date=START)
            for viewer in {sender, receiver}:
                rendered = server.renderer.render(message, viewer)
                assert rendered == Serialised(bytes(server.renderer._build(message, viewer)))
