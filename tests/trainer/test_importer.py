"""Telegram Desktop's exports: every form arrives, damage costs as little as possible, and is named with its place."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from export_files import ADA, BEN, OWNER, START, account, chat, dumped, message, talk, written
from telegram_scene import in_store

from trainer import json_stream
from trainer.importer import import_export
from twin.errors import InputError
from twin.store import dialogs, messages, open_store, tables
from twin.turns import Message


@pytest.fixture
async def store(tmp_path):
    engine = open_store(tmp_path / "twin.sqlite")
    yield engine
    await engine.dispose()


async def imported(store: Any, tmp_path: Path, content: Any, **more: Any) -> tuple[Any, list[Any]]:
    report = await import_export(store, written(tmp_path, content), **more)
    return report, await in_store(store)


async def one(store: Any, tmp_path: Path, **parts: Any) -> Any:
    """The row that a message with these keys becomes."""
    _, rows = await imported(store, tmp_path, account(chat(ADA, [message(1, OWNER, **parts)])))
    assert len(rows) == 1
    return rows[0]


# --- whole files ------------------------------------------------------------------------------------------------------


async def test_an_account_brings_its_private_chats_only(store, tmp_path):
    group = chat(77, kind="private_supergroup", name="Walkers")
    bot, saved = chat(78, kind="bot_chat"), {"type": "saved_messages", "id": OWNER, "messages": talk(OWNER)}
    report, rows = await imported(store, tmp_path, account(group, chat(ADA), bot, saved, chat(BEN, name="Ben")))
    assert report.complete
    assert report.owner_id == OWNER
    assert report.by_dialog == {ADA: 6, BEN: 6}
    assert report.skipped_dialogs == {"bot_chat": 1, "private_supergroup": 1, "saved_messages": 1}
    assert report.new_messages == len(rows) == 12
    assert [(r.message_id, r.out, r.text) for r in rows if r.dialog_id == ADA] == [(i, i % 2 == 0, f"line {i}") for i in range(1, 7)]
    assert {(r.channel, r.source, r.kind) for r in rows} == {("account", "imported", "text")}
    assert rows[0].sent_at == datetime.fromtimestamp(START + 60, UTC)
    async with store.connect() as connection:
        assert {d.dialog_id: d.name for d in await dialogs.find(connection)} == {ADA: "Ada", BEN: "Ben"}


async def test_a_single_chat_is_the_root_and_shows_who_the_owner_is(store, tmp_path):
    report, rows = await imported(store, tmp_path, chat(ADA))
    assert report.complete
    assert report.owner_id == OWNER
    assert [r.out for r in rows] == [False, True] * 3


async def test_the_folder_names_the_file_in_it(store, tmp_path):
    written(tmp_path, chat(ADA))
    assert (await import_export(store, tmp_path)).messages == 6


async def test_importing_twice_adds_nothing(store, tmp_path):
    await imported(store, tmp_path, chat(ADA))
    report, rows = await imported(store, tmp_path, account(chat(ADA)))
    assert (report.messages, report.new_messages, len(rows)) == (6, 0, 6)


async def test_keys_in_another_order_are_read_the_same(store, tmp_path):
    content = json.dumps(account(chat(ADA), chat(BEN)), sort_keys=True)
    report, rows = await imported(store, tmp_path, content)
    assert report.complete
    assert report.owner_id == OWNER
    assert len(rows) == 12


async def test_a_byte_order_mark_and_windows_line_ends_are_taken(store, tmp_path):
    report, _ = await imported(store, tmp_path, b"\xef\xbb\xbf" + dumped(chat(ADA)).replace("\n", "\r\n").encode())
    assert report.complete
    assert report.messages == 6


async def test_a_deleted_contact_has_no_name(store, tmp_path):
    report, _ = await imported(store, tmp_path, account(chat(ADA, name=None)))
    async with store.connect() as connection:
        assert [d.name for d in await dialogs.find(connection)] == [""]
    assert report.messages == 6


async def test_collected_names_texts_and_sources_are_kept_over_an_older_export(store, tmp_path):
    sent_at = datetime.fromtimestamp(START + 60, UTC)
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada Now", username="ada")
        await messages.save(connection, [Message("account", ADA, 1, False, sent_at, "edited since")])
    report, rows = await imported(store, tmp_path, chat(ADA))
    assert (report.messages, report.new_messages) == (6, 5)
    assert (rows[0].text, rows[0].source) == ("edited since", "collected")
    async with store.connect() as connection:
        assert [(d.name, d.username) for d in await dialogs.find(connection)] == [("Ada Now", "ada")]


async def test_a_newer_export_brings_edits_of_imported_messages(store, tmp_path):
    await imported(store, tmp_path, chat(ADA))
    _, rows = await imported(store, tmp_path, chat(ADA, [message(1, ADA, "line 1, edited")]))
    assert rows[0].text == "line 1, edited"


async def test_an_excluded_dialog_is_not_imported(store, tmp_path):
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
        await dialogs.erase(connection, ADA)
    report, rows = await imported(store, tmp_path, account(chat(ADA), chat(BEN)))
    assert report.skipped_dialogs == {"excluded": 1}
    assert {r.dialog_id for r in rows} == {BEN}
    async with store.connect() as connection:
        assert (await dialogs.get(connection, ADA)).name == ""


async def test_no_path_in_the_file_is_opened(store, tmp_path, monkeypatch):
    secret = written(tmp_path, "private", "secret.txt")
    opened = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    content = account(chat(ADA, [message(1, photo=str(secret), file="../secret.txt", thumbnail="/etc/passwd", contact_vcard="secret.txt")]))
    await imported(store, tmp_path, content)
    assert not [path for path in opened if "secret" in path or "passwd" in path]


# --- messages ---------------------------------------------------------------------------------------------------------

MEDIA = [
    ({"photo": "photos/1.jpg", "width": 1, "height": 1}, "photo", ""),
    ({"photo": "(File not included. Change data exporting settings to download.)"}, "photo", ""),
    ({"file": "stickers/a.webp", "media_type": "sticker", "sticker_emoji": "😀"}, "sticker", "😀"),
    ({"file": "v.mp4", "media_type": "video_message"}, "video_note", ""),
    ({"file": "v.ogg", "media_type": "voice_message", "mime_type": "audio/ogg", "duration_seconds": 3}, "voice", ""),
    ({"file": "a.mp4", "media_type": "animation"}, "animation", ""),
    ({"file": "v.mp4", "media_type": "video_file"}, "video", ""),
    ({"file": "a.mp3", "media_type": "audio_file", "performer": "x"}, "audio", ""),
    ({"file": "x.bin", "media_type": "hologram_file"}, "unsupported", ""),
    ({"media_type": ["odd"]}, "unsupported", ""),
    ({"file": "paper.pdf", "file_name": "paper.pdf", "mime_type": "application/pdf"}, "document", ""),
    ({"contact_information": {"first_name": "Cleo", "last_name": "", "phone_number": "+1 002"}}, "contact", ""),
    ({"contact_information": {"phone_number": "+1 002"}, "contact_vcard": "contacts/1.vcf"}, "contact", ""),
    ({"location_information": {"latitude": 1.0, "longitude": 2.0}}, "location", ""),
    ({"live_location_period_seconds": 60, "location_information": {"latitude": 1.0, "longitude": 2.0}}, "location", ""),
    ({"place_name": "Cafe", "address": "Here", "location_information": {"latitude": 1.0, "longitude": 2.0}}, "venue", ""),
    ({"poll": {"question": "Tea?", "closed": False, "total_voters": 0, "answers": []}}, "poll", "Tea?"),
    ({"poll": "odd"}, "poll", ""),
    ({"game_title": "Chess", "game_description": "", "game_link": ""}, "game", ""),
    ({"invoice_information": {"title": "x", "amount": 1}}, "invoice", ""),
    ({"giveaway_information": {"quantity": 1}}, "giveaway", ""),
    ({"paid_stars_amount": 5}, "paid_media", ""),
    ({"todo_list": {"title": "x", "answers": []}}, "todo", ""),
]


@pytest.mark.parametrize(("keys", "kind", "words"), MEDIA, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
async def test_every_kind_of_media_is_read(store, tmp_path, keys, kind, words):
    row = await one(store, tmp_path, text="", **keys)
    assert (row.kind, row.text) == (kind, words)


async def test_a_caption_is_the_text(store, tmp_path):
    row = await one(store, tmp_path, text="look", photo="photos/1.jpg")
    assert (row.kind, row.text) == ("photo", "look")


async def test_parts_of_a_formatted_text_are_joined(store, tmp_path):
    parts = ["see ", {"type": "link", "text": "https://example.org"}, " and ", {"type": "bold", "text": "that"}]
    assert (await one(store, tmp_path, text=parts)).text == "see https://example.org and that"


async def test_text_entities_alone_are_a_text(store, tmp_path):
    row = message(1, OWNER, "only here")
    del row["text"]
    _, rows = await imported(store, tmp_path, account(chat(ADA, [row])))
    assert rows[0].text == "only here"


async def test_replies_forwards_and_inline_bots_are_marked(store, tmp_path):
    rows = [
        message(1),
        message(2, OWNER, reply_to_message_id=1),
        message(3, OWNER, reply_to_message_id=9, reply_to_peer_id="channel5"),
        message(4, OWNER, forwarded_from="Someone"),
        message(5, OWNER, forwarded_from=None),
        message(6, OWNER, saved_from="Someone"),
        message(7, OWNER, via_bot="@gif"),
    ]
    _, found = await imported(store, tmp_path, account(chat(ADA, rows)))
    assert [r.reply_to_id for r in found] == [None, 1, None, None, None, None, None]
    assert [r.forwarded for r in found] == [False, False, False, True, True, True, False]
    assert [r.via_bot for r in found] == [False] * 6 + [True]


async def test_service_messages_are_kept_without_words_and_unsupported_ones_are_counted(store, tmp_path):
    call = {"id": 2, "type": "service", "date": "2023-11-14T22:13:20", "date_unixtime": str(START)}
    call |= {"actor": "Olga", "actor_id": f"user{OWNER}", "action": "phone_call", "text": ""}
    report, rows = await imported(store, tmp_path, account(chat(ADA, [message(1), call, {"id": 3, "type": "unsupported"}])))
    assert [(r.message_id, r.kind, r.out) for r in rows] == [(1, "text", False), (2, "service", True)]
    assert report.skipped_messages == {"unsupported by Telegram Desktop": 1}
    assert report.complete


async def test_an_old_export_without_zones_and_with_bare_ids_is_read_with_a_note(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    rows = [message(1), message(2, OWNER)]
    for row in rows:
        del row["date_unixtime"], row["text_entities"]
        row["from_id"] = int(row["from_id"].removeprefix("user"))
    try:
        report, found = await imported(store, tmp_path, chat(ADA, rows))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [r.out for r in found] == [False, True]
    assert found[0].sent_at == datetime(2023, 11, 14, 13, 13, 20, tzinfo=UTC)
    assert report.complete
    assert report.notes == ("2 times have no time zone (an old export): they were read as this machine's local time.",)


async def test_control_characters_as_telegram_desktop_writes_them_are_mended(store, tmp_path):
    text = dumped(chat(ADA, [message(1, text="a@b"), message(2, text="C:\\x41 stays"), message(3)])).replace("a@b", "a\\x08\\x1Bb")
    report, rows = await imported(store, tmp_path, text)
    assert report.complete
    assert [r.text for r in rows] == ["a\x08\x1bb", "C:\\x41 stays", "line 3"]


async def test_a_bare_path_after_document_id_is_mended(store, tmp_path):
    parts = [{"type": "custom_emoji", "text": "🎉", "document_id": "HERE"}, " yes"]
    text = dumped(chat(ADA, [message(1, text=parts), message(2)]))
    for bare in ("stickers/AnimatedSticker (1).tgs", "(File not included. Change data exporting settings to download.)"):
        report, rows = await imported(store, tmp_path, text.replace('"HERE"', bare))
        assert report.complete
        assert [r.text for r in rows] == ["🎉 yes", "line 2"]


async def test_a_message_with_bytes_that_are_no_text_is_left_out_and_told(store, tmp_path):
    content = dumped(chat(ADA, [message(1, text="a@b"), message(2, text="c@d"), message(3)])).encode()
    report, rows = await imported(store, tmp_path, content.replace(b"a@b", b"a\xff\xfeb").replace(b"c@d", b"c\\ud83dd"))
    assert {reason: fault.count for reason, fault in report.faults.items()} == {"text is not UTF-8": 1}
    assert [r.text for r in rows] == ["c\ufffdd", "line 3"]


RUSSIAN = dumped(chat(ADA, [message(i, text="привет, как дела") for i in range(1, 5)]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (RUSSIAN.encode("cp1251"), "is not UTF-8"),
        (RUSSIAN.encode("koi8-r"), "is not UTF-8"),
        (RUSSIAN.encode("utf-16"), "is UTF-16"),
        (RUSSIAN.encode("utf-16-le"), "is UTF-16"),
        (RUSSIAN.encode("utf-16-be"), "is UTF-16"),
        (b"PK\x03\x04" + bytes(100), "is a ZIP archive"),
        (b"\x1f\x8b" + bytes(100), "is a gzip archive"),
    ],
)
async def test_another_encoding_is_refused_and_nothing_is_read(store, tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        await imported(store, tmp_path, content)
    assert await in_store(store) == []


@pytest.mark.parametrize("more", ["{}", RUSSIAN, "\n[1]", "x"])
async def test_a_second_document_is_told(store, tmp_path, more):
    report, rows = await imported(store, tmp_path, dumped(chat(ADA)) + more)
    assert not report.complete
    assert "a second document, which is not read" in report.broken_off
    assert len(rows) == 6


async def test_a_text_of_null_is_in_the_entities(store, tmp_path):
    nothing = message(1) | {"text": None, "text_entities": [{"type": "plain", "text": "it is "}, {"type": "bold", "text": "here"}]}
    _, (row,) = await imported(store, tmp_path, account(chat(ADA, [nothing])))
    assert row.text == "it is here"


async def test_sorted_keys_and_a_broken_message_cost_that_message(store, tmp_path):
    def ordered(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)

    talks = [
        chat(ADA, [message(i) for i in range(1, 6)]),
        chat(BEN, [message(i, BEN if i % 2 else OWNER) for i in range(1, 4)], name="Ben"),
    ]
    broken = ordered(account(*talks)).replace('"text": "line 3"', '"text": line 3', 1)
    report, rows = await imported(store, tmp_path, broken)
    assert report.faults["broken JSON"].count == 1
    assert {(r.dialog_id, r.message_id) for r in rows} == {(ADA, i) for i in (1, 2, 4, 5)} | {(BEN, i) for i in (1, 2, 3)}


async def test_telegrams_own_chat_with_its_codes_is_left_out(store, tmp_path):
    report, rows = await imported(store, tmp_path, account(chat(777000, [message(1, 777000, text="Login code: 12345")]), chat(ADA)))
    assert report.skipped_dialogs == {"Telegram": 1}
    assert {r.dialog_id for r in rows} == {ADA}


async def test_a_service_message_by_a_channel_is_nobodys(store, tmp_path):
    service = {"id": 1, "type": "service", "date_unixtime": str(START), "actor_id": "channel77", "action": "pin_message"}
    report, rows = await imported(store, tmp_path, account(chat(ADA, [service, message(2)])))
    assert report.complete
    assert [r.kind for r in rows] == ["service", "text"]


# --- an hour that comes twice -----------------------------------------------------------------------------------------


@pytest.fixture
def berlin(monkeypatch):
    """Summer time ends on 2019-10-27 at 3:00, which is 2:00 then."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(number: int, clock: str, sender: int = ADA) -> dict[str, Any]:
    """A message of an old export, without a zone."""
    found = message(number, sender, date=clock if "T" in clock else f"2019-10-27T{clock}:00")
    del found["date_unixtime"]
    return found


CLOCKS = {
    "question and answer": (["02:50", "02:10", "02:55", "03:05"], ["00:50", "01:10", "01:55", "02:05"]),
    "both before": (["01:50", "02:10", "02:50"], ["23:50", "00:10", "00:50"]),
    "both behind": (["02:50", "02:10", "02:20", "03:00"], ["00:50", "01:10", "01:20", "02:00"]),
    "the same minute": (["02:30", "02:30", "02:29"], ["00:30", "00:30", "01:29"]),
    "another day before": (["2019-10-28T12:00:00", "02:50", "02:10"], ["11:00", "00:50", "01:10"]),
    "an hour that is missing in spring": (
        ["2019-03-31T01:59:00", "2019-03-31T03:01:00", "2019-03-31T03:00:00"],
        ["00:59", "01:01", "01:00"],
    ),
}


@pytest.mark.parametrize(("clocks", "utc"), CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.usefixtures("berlin")
async def test_ids_tell_the_two_hours_of_one_clock_apart(store, tmp_path, clocks, utc, shuffled):
    rows = [local(i, clock, OWNER if i % 2 == 0 else ADA) for i, clock in enumerate(clocks, 1)]
    _, found = await imported(store, tmp_path, chat(ADA, rows[::-1] if shuffled else rows))
    assert [r.sent_at.strftime("%H:%M") for r in found] == utc


@pytest.mark.usefixtures("berlin")
async def test_the_answer_stands_behind_its_question_over_batches_and_imports(store, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.importer.BATCH", 2)
    rows = [local(1, "02:30"), local(2, "02:50"), local(3, "02:10", OWNER), local(4, "02:40"), local(5, "02:45", OWNER)]
    await imported(store, tmp_path, chat(ADA, rows[:2]))
    await imported(store, tmp_path, account(chat(BEN, [local(1, "02:55", BEN)]), chat(ADA, rows[2:4])))
    await imported(store, tmp_path, account(chat(ADA, rows)))
    async with store.connect() as connection:
        assert [m.message_id for m in await messages.history(connection, ADA)] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("berlin")
async def test_a_time_with_its_zone_is_taken_as_it_is(store, tmp_path):
    at = datetime(2019, 10, 27, 0, 50, tzinfo=UTC).timestamp()
    rows = [message(1, date_unixtime=str(int(at))), message(2, OWNER, date_unixtime=str(int(at) - 60))]
    _, found = await imported(store, tmp_path, chat(ADA, rows))
    assert [r.sent_at.strftime("%H:%M") for r in found] == ["00:50", "00:49"]
    zoned = [local(1, "2019-10-27T02:50:00+02:00", BEN), local(2, "2019-10-27T02:49:00+02:00", OWNER)]
    report, found = await imported(store, tmp_path, chat(BEN, zoned))
    assert [r.sent_at.strftime("%H:%M") for r in found if r.dialog_id == BEN] == ["00:50", "00:49"]
    assert report.notes == ()


# --- whose export it is -----------------------------------------------------------------------------------------------


SHIFT = 2**32


@pytest.mark.parametrize(("of_chat", "of_sender"), [(SHIFT, 0), (SHIFT, SHIFT), (0, 0), (0, SHIFT)])
async def test_old_exports_write_ids_as_2_to_the_32_and_more(store, tmp_path, of_chat, of_sender):
    talks = [message(i, from_id=(OWNER if i % 2 == 0 else ADA) + of_sender) for i in range(1, 7)]
    report, rows = await imported(store, tmp_path, chat(ADA + of_chat, talks))
    assert report.complete
    assert report.owner_id == OWNER
    assert [(r.dialog_id, r.out) for r in rows] == [(ADA, i % 2 == 0) for i in range(1, 7)]


async def test_an_account_of_today_may_have_a_longer_id(store, tmp_path):
    long = SHIFT + 77
    _, rows = await imported(store, tmp_path, chat(long, [message(1, long), message(2, OWNER)]))
    assert [(r.dialog_id, r.out) for r in rows] == [(long, False), (long, True)]


async def test_a_store_is_of_one_account(store, tmp_path):
    """The contact's words of one account would become the owner's of the other."""
    await imported(store, tmp_path, chat(ADA))
    before = await in_store(store)
    other = 999_000_999
    for second in (chat(ADA, [message(1, other, text="x"), message(2, text="y")]), chat(BEN, [message(1, BEN), message(2, other)])):
        with pytest.raises(InputError, match=f"is the export of account {other}"):
            await imported(store, tmp_path, second)
        assert await in_store(store) == before


async def test_a_chat_of_two_has_two_senders(store, tmp_path):
    with pytest.raises(InputError, match="more than two senders"):
        await imported(store, tmp_path, chat(ADA, [message(1), message(2, OWNER), message(3, 4711)]))
    assert await in_store(store) == []


async def test_the_given_owner_must_be_the_accounts(store, tmp_path):
    with pytest.raises(InputError, match=r"personal_information\.user_id.*expected the owner's, 5"):
        await imported(store, tmp_path, account(chat(ADA)), owner_id=5)
    assert await in_store(store) == []


async def test_the_given_owner_must_be_in_the_single_chat(store, tmp_path):
    with pytest.raises(InputError, match=rf"account {OWNER} \(messages\[1\]\.from_id\); expected the owner's, 5"):
        await imported(store, tmp_path, chat(ADA), owner_id=5)
    assert await in_store(store) == []


async def test_a_third_sender_in_a_private_chat_is_a_fault(store, tmp_path):
    report, rows = await imported(store, tmp_path, account(chat(ADA, [message(1), message(2, 555), message(3, OWNER)])))
    assert [r.message_id for r in rows] == [1, 3]
    assert report.faults["from_id is not the contact or the owner"].first == "chats.list[0].messages[1].from_id"


# --- damage -----------------------------------------------------------------------------------------------------------

BROKEN = [
    ({"id": "x"}, "id is not a positive whole number", ".id"),
    ({"id": 10**30}, "id is not a positive whole number", ".id"),
    ({"id": True}, "id is not a positive whole number", ".id"),
    ({"date_unixtime": "soon"}, "date_unixtime is not a time in seconds", ".date_unixtime"),
    ({"date_unixtime": "99999999999999999999"}, "date_unixtime is not a time in seconds", ".date_unixtime"),
    ({"date_unixtime": None, "date": "yesterday"}, "date is not a time, such as 2024-01-31T12:00:00", ".date"),
    ({"from_id": None}, 'from_id is not an account, such as "user123"', ".from_id"),
    ({"from_id": "channel5"}, 'from_id is not an account, such as "user123"', ".from_id"),
    ({"from_id": {}}, 'from_id is not an account, such as "user123"', ".from_id"),
    ({"text": 5}, "text is not a text or an array of its parts", ".text"),
    ({"text": ["a", {"type": "bold"}]}, "text is not a text or an object with one", ".text[1]"),
    ({"type": "hologram"}, 'type is not "message", "service" or "unsupported"', ".type"),
]


@pytest.mark.parametrize(("change", "reason", "place"), BROKEN, ids=str)
async def test_a_message_that_cannot_be_used_is_counted_and_named(store, tmp_path, change, reason, place):
    rows = [message(1), {**message(2), **change}, {**message(3), **change}, message(4)]
    report, found = await imported(store, tmp_path, account(chat(BEN), chat(ADA, rows)))
    assert [r.message_id for r in found if r.dialog_id == ADA] == [1, 4]
    assert not report.complete
    assert report.broken_off is None
    assert (report.faults[reason].count, report.faults[reason].first) == (2, f"chats.list[1].messages[1]{place}")


@pytest.mark.parametrize("odd", [None, 5, "text", [], [[]]])
async def test_what_is_no_message_at_all_is_counted(store, tmp_path, odd):
    report, found = await imported(store, tmp_path, account(chat(ADA, [message(1), odd, message(2)])))
    assert [r.message_id for r in found] == [1, 2]
    assert report.faults["message is not an object"].first == "chats.list[0].messages[1]"


async def test_broken_json_in_one_message_costs_that_message_only(store, tmp_path):
    text = dumped(account(chat(ADA, talk(ADA, 20)), chat(BEN, talk(BEN, 5, 21))))
    at = text.index('"line 7"')
    report, rows = await imported(store, tmp_path, text[:at] + text[at + 1 :])
    assert [r.message_id for r in rows] == [i for i in range(1, 26) if i != 7]
    (fault,) = report.faults.values()
    assert fault.first.startswith("chats.list[0].messages[6], byte ")
    assert abs(int(fault.first.split("byte ")[1].replace(",", "")) - at) < 5


async def test_a_missing_bracket_never_puts_a_message_into_another_chat(store, tmp_path):
    text = dumped(account(chat(ADA, talk(ADA, 4)), chat(BEN, talk(BEN, 4, 11)), chat(BEN + 1, talk(BEN + 1, 4, 21))))
    end_of_first = text.index("\n    ]", text.index('"line 4"'))
    for cut in range(end_of_first - 10, end_of_first + 12):
        path = tmp_path / f"{cut}.sqlite"
        engine = open_store(path)
        await import_export(engine, written(tmp_path, text[:cut] + text[cut + 1 :]))
        rows = await in_store(engine)
        await engine.dispose()
        assert all(r.dialog_id == {0: ADA, 1: BEN, 2: BEN + 1}[(r.message_id - 1) // 10] for r in rows)
        assert len(rows) >= 11, text[cut]


async def test_a_message_of_ten_megabytes_is_read_and_one_of_forty_is_a_fault(store, tmp_path):
    rows = [message(1), message(2, text="long " * 2_000_000), message(3, text="longer " * 6_000_000), message(4)]
    for row in rows:
        del row["text_entities"]
    report, found = await imported(store, tmp_path, chat(ADA, rows))
    assert [(r.message_id, len(r.text)) for r in found] == [(1, 6), (2, 10_000_000), (4, 6)]
    assert report.faults["broken JSON"].first.startswith("messages[2], byte ")


async def test_a_truncated_file_keeps_what_was_there(store, tmp_path):
    text = dumped(account(chat(BEN, talk(BEN, 3, 11)), chat(ADA, talk(ADA, 2000))))
    at = text.index('"line 1500"') + 20
    report, rows = await imported(store, tmp_path, text[:at])
    assert len(rows) == report.messages == 3 + 1499
    assert not report.complete
    assert report.broken_off == (
        f"{tmp_path / 'result.json'} is damaged at byte {at:,}, in chats.list[1].messages[1499]: "
        "expected the rest of the file, which ends here."
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a Telegram Desktop export"),
        ("[]", "not a Telegram Desktop export"),
        ("{}", 'expected "chats" or "messages"'),
        ('{"about": "x"}', 'expected "chats" or "messages"'),
        ("PK\x03\x04", "is a ZIP archive"),
        ('{"chats": 5}', r"byte 10, in chats: expected an object"),
        ('{"chats": {"list": {}}}', r"byte 19, in chats\.list: expected an array"),
        ('{"name": "x", "type": "personal_chat", "id": 5, "messages": 7}', "in messages: expected an array"),
        ('{"name": "x", "type": "private_group", "id": 5, "messages": []}', "expected a private chat"),
        ('{"about": ' + "[" * 5000, "ordinary depth|the file"),
        ('{"about": 1' + "0" * 5000 + "}", "ordinary size"),
    ],
    ids=range(11),
)
async def test_what_is_no_export_is_named(store, tmp_path, content, words):
    with pytest.raises(InputError, match=words) as caught:
        await imported(store, tmp_path, content)
    assert str(tmp_path / "result.json") in str(caught.value)


async def test_a_path_without_an_export_says_what_was_expected(store, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        await import_export(store, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no result\.json"):
        await import_export(store, tmp_path)
    written(tmp_path, "<html>", "messages.html")
    with pytest.raises(InputError, match="HTML"):
        await import_export(store, tmp_path)


def damage(dice: random.Random, whole: bytes, at: int, how: int) -> bytes:
    match how:
        case 0:
            return whole[:at] + bytes([dice.randrange(256)]) + whole[at + 1 :]
        case 1:
            return whole[:at] + whole[at + dice.randrange(1, 40) :]
        case 2:
            return whole[:at] + whole[at : at + 30] + whole[at:]
        case 3:
            return whole[:at] + bytes(dice.choice(b'"\\{}[],:0\x00') for _ in range(3)) + whole[at:]
        case _:
            return whole[:at]


@pytest.mark.slow
async def test_300_damaged_files_end_in_a_report_or_an_input_error_and_keep_what_came_before(store, tmp_path):
    """Bytes are flipped, cut out, doubled, put in, or the end is missing; every message that ends before is there, unchanged."""
    dice = random.Random(7)
    chats = [
        chat(ADA, talk(ADA, 40)),
        chat(77, [], kind="private_group"),
        chat(BEN, talk(BEN, 40, 101)),
        chat(BEN + 1, talk(BEN + 1, 40, 201)),
    ]
    chats[0]["messages"][3] = message(4, OWNER, ["a ", {"type": "bold", "text": "é🙂"}], photo="photos/1.jpg")
    whole = dumped(account(*chats)).encode()
    await import_export(store, written(tmp_path, whole))
    rows = {r.message_id: tuple(r) for r in await in_store(store)}
    ends = {i: whole.index(b"\n     }", whole.index(b'"id": %d,' % i)) + 7 for i in rows}
    outcomes: Counter[str] = Counter()
    lost = []
    for number in range(300):
        async with store.begin() as connection:
            await connection.execute(tables.messages.delete())
            await connection.execute(tables.dialogs.delete())
        how, at = number % 5, dice.randrange(len(whole))
        try:
            report = await import_export(store, written(tmp_path, damage(dice, whole, at, how)))
            outcomes["complete" if report.complete else "broken off" if report.broken_off else "faults"] += 1
        except InputError:
            outcomes["refused"] += 1
        found = {r.message_id: tuple(r) for r in await in_store(store)}
        for message_id, end in ends.items():
            assert end > at or found.get(message_id) == rows[message_id], (number, at, message_id)
        if how != 4 and at > min(ends.values()):
            lost.append(len(rows.keys() - found.keys()))
    assert {"complete", "faults", "broken off", "refused"} == set(outcomes), outcomes
    assert sorted(lost)[len(lost) * 9 // 10] <= 2  # nine in ten cost two messages at most, before or behind


BROKEN = {
    "a comma is missing in each": lambda row: row.replace(', "text"', ' "text"', 1) + ",",
    "a string is not closed in each": lambda row: row.replace('", "text_entities"', ', "text_entities"') + ",",
    "no object is closed": lambda row: row[:-1] + ",",
    "escapes that are none": lambda row: row.replace("line", r"l\qine", 1) + ",",
    "mended escapes in what is broken": lambda row: row.replace("line", r"l\x08ine", 1)[:-1] + ",",
    "bare paths on one line": lambda row: row[:-1] + ', "document_id": stickers/a.webp},',
    "bare paths": lambda row: row[:-1] + ', "document_id": stickers/a.webp\n},',
    "no commas between them": lambda row: row + "\n",
    "garbage between them": lambda row: row + ', %{]garb"age,',
    "zeroes between them": lambda row: row + "\0",
    "numbers of thousands of digits": lambda row: row.replace('"id": ', '"id": ' + "1" * 5000, 1) + ",",
}


@pytest.mark.parametrize("shape", BROKEN)
async def test_broken_messages_cost_work_in_proportion_to_their_number(tmp_path, monkeypatch, shape):
    """Counted is what the scanner and the mending are given. Eight times the messages took 64 times that."""
    given = [0]

    def counted(function: Any) -> Any:
        def call(text: str, at: int = 0) -> Any:
            given[0] += len(text) - at
            return function(text, at) if at else function(text)

        return call

    for name in ("_scan", "_mend"):
        monkeypatch.setattr(json_stream, name, counted(getattr(json_stream, name)))
    work = []
    for count in (100, 800):
        engine = open_store(tmp_path / f"{count}.sqlite")
        rows = "".join(BROKEN[shape](json.dumps(message(i))) for i in range(1, count + 1))
        given[0] = 0
        try:
            await import_export(engine, written(tmp_path, f'{{"name": "A", "type": "personal_chat", "id": {ADA}, "messages": [{rows}]}}'))
        except InputError:
            pass
        work.append(given[0])
        await engine.dispose()
    assert work[1] < 12 * work[0]


async def test_messages_inside_each_other_end_the_import_with_a_sentence_and_what_came_before_is_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "BUDGET", 1 << 20)
    rows = "".join(f'{{"id": {i}, "type": "message", "text": [' for i in range(9, 2000))
    text = f'{{"name": "A", "type": "personal_chat", "id": {ADA}, "messages": [{json.dumps(message(1))}, {rows}'
    report, found = await imported(store, tmp_path, text)
    assert [row.message_id for row in found] == [1]
    assert re.search(r"result\.json is so damaged that reading ended at byte [\d,]+, in messages\[\d+\]: expected", report.broken_off)
    assert report.faults["broken JSON"].count < 500


async def test_an_export_of_which_nothing_can_be_read_names_the_first_fault_and_how_many_there_are(store, tmp_path):
    rows = "".join(BROKEN["escapes that are none"](json.dumps(message(i))) for i in range(50))
    with pytest.raises(InputError, match=r"Before it, \d\d messages are broken JSON, the first in messages\[0\], byte"):
        await imported(store, tmp_path, f'{{"name": "A", "type": "personal_chat", "id": {ADA}, "messages": [{rows}')


async def test_a_key_of_a_megabyte_is_not_quoted_whole(store, tmp_path):
    with pytest.raises(InputError) as caught:
        await imported(store, tmp_path, f'{{"{"k" * 1_000_000}": nothing}}')
    assert len(str(caught.value)) < 1000


async def test_chats_of_a_hundred_odd_types_are_counted_together(store, tmp_path):
    report, _ = await imported(store, tmp_path, account(*(chat(i, kind=f"kind {i} " + "long" * 99) for i in range(1, 101))))
    assert len(report.skipped_dialogs) <= 41
    assert sum(report.skipped_dialogs.values()) == 100
    assert max(map(len, report.skipped_dialogs)) < 100


DEEP = {
    "arrays": '{"id": 1, "type": "message", "text": ' + "[" * 1_000_000,
    "objects": '{"id": 1, "type": "message", "text": ' + '{"a":' * 200_000,
    "zeroes": "\0" * 1_000_000,
    "quotes": '"' * 1_000_001,
    "backslashes": '{"id": 1, "type": "message", "text": "' + "\\" * 1_000_000 + '"}',
    "a number": '{"id": ' + "1" * 1_000_000 + "}",
    "a key": '{"' + "k" * 1_000_000 + '": 1}',
}


@pytest.mark.parametrize("shape", DEEP)
async def test_a_monster_between_two_messages_costs_itself_only(store, tmp_path, shape):
    text = ",".join([json.dumps(message(1)), DEEP[shape], json.dumps(message(2)), json.dumps(message(3))])
    report, found = await imported(store, tmp_path, f'{{"name": "A", "type": "personal_chat", "id": {ADA}, "messages": [{text}]}}')
    assert [row.message_id for row in found] == [1, 2, 3]
    assert 1 <= len(report.faults) <= 2


IMPORT = """
import asyncio, re, sys
from pathlib import Path
from trainer.importer import import_export
from twin.store import open_store
def peak_kilobytes():
    # not getrusage: its figure goes on from the process that forked this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
async def main():
    store = open_store(Path(sys.argv[2]))
    before = peak_kilobytes()
    report = await import_export(store, Path(sys.argv[1]))
    await store.dispose()
    print(report.messages, report.complete, peak_kilobytes() - before)
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_large_export_needs_little_memory(tmp_path):
    """150 MB; what is held does not depend on the size of the file, so a 2 GB one needs as little."""
    path, megabytes, texts = tmp_path / "result.json", 150, 0
    words = "and so it went on, as such things do, for quite a while. " * 25
    with path.open("w", encoding="utf-8") as file:
        file.write('{"about": "", "personal_information": {"user_id": 1000}, "chats": {"list": [\n')
        file.write(f'{{"name": "Ada", "type": "personal_chat", "id": {ADA}, "messages": [\n')
        while file.tell() < megabytes * 1_000_000:
            block = [dumped(message(texts + i + 1, OWNER if i % 2 else ADA, f"{i} {words}")) for i in range(1000)]
            file.write((",\n" if texts else "") + ",\n".join(block))
            texts += 1000
        file.write("]}]}}")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(path), str(tmp_path / "twin.sqlite")], capture_output=True, text=True, timeout=120, check=True
    )
    read, complete, added_kilobytes = done.stdout.split()
    assert (int(read), complete) == (texts, "True")
    assert int(added_kilobytes) < 60_000
    assert time.monotonic() - started < 60
    assert os.path.getsize(path) > 140_000_000


@pytest.mark.slow
def test_a_text_that_is_all_escapes_needs_a_small_multiple_of_its_size(tmp_path):
    """Three megabytes took 150."""
    rows = [json.dumps(message(i)) for i in (1, 2)]
    path = written(tmp_path, f'{{"name": "A", "type": "personal_chat", "id": {ADA}, "messages": [{",".join(rows)}]}}')
    path.write_text(path.read_text().replace("line 1", r"\x08" * 750_000, 1))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(path), str(tmp_path / "twin.sqlite")], capture_output=True, text=True, timeout=120, check=True
    )
    read, complete, added_kilobytes = done.stdout.split()
    assert (read, complete) == ("2", "True")
    assert int(added_kilobytes) < 60_000
