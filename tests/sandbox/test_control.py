"""The control API over a real socket."""

import asyncio
import base64
import json

import pytest
from page_scene import ADA, BEN, BOT, GROUP, OWNER, PNG, Listening, opened, until

from sandbox.world import BlockChanged, ConnectionChanged, Read, Sent, Typing


async def test_the_world_is_described_without_its_secrets() -> None:
    async with opened() as s:
        world = await s.get("/api/world")
        assert (world["owner"], world["bots"], world["contacts"]) == (OWNER, [BOT], [ADA, BEN])
        assert {a["id"]: a["name"] for a in world["accounts"]}[ADA] == "Ada Ashby"
        assert "never-shown" not in json.dumps(world)
        assert "hidden" not in json.dumps(world)


async def test_health_counts() -> None:
    async with opened() as s:
        assert await s.get("/api/health") == {"ok": True, "accounts": 4, "messages": 5}


async def test_the_chat_list_is_newest_first_and_history_before_the_start_is_read() -> None:
    async with opened() as s:
        chats = (await s.get(f"/api/chats/{OWNER}"))["chats"]
        assert [chat["other"] for chat in chats] == [GROUP, BEN, ADA]
        assert [chat["unread"] for chat in chats] == [0, 0, 0]


async def test_history_comes_in_pages_that_meet() -> None:
    async with opened() as s:
        for i in range(7):
            await s.say(ADA, BOT, f"line {i}")
        newest = await s.get(f"/api/chats/{ADA}/{BOT}?limit=3")
        assert [m["text"] for m in newest["messages"]] == ["line 4", "line 5", "line 6"]
        assert newest["more"] is True
        oldest = await s.get(f"/api/chats/{ADA}/{BOT}?limit=9&before={newest['messages'][0]['uid']}")
        assert [m["text"] for m in oldest["messages"]] == ["line 0", "line 1", "line 2", "line 3"]
        assert oldest["more"] is False


async def test_a_page_brings_the_messages_that_it_quotes() -> None:
    async with opened() as s:
        first = await s.say(ADA, BOT, "the question")
        await s.say(ADA, BOT, "in between")
        await s.say(ADA, BOT, "about that", reply_to=first.uid)
        page = await s.get(f"/api/chats/{ADA}/{BOT}?limit=1")
        assert [m["text"] for m in page["quoted"]] == ["the question"]


async def test_sending_trims_and_marks_commands_and_links() -> None:
    async with opened() as s:
        message = await s.say(OWNER, BOT, "  /mode 😀 https://example.com/a  ")
        assert message.text == "/mode 😀 https://example.com/a"
        assert message.entities == [
            {"type": "bot_command", "offset": 0, "length": 5},
            {"type": "url", "offset": 9, "length": 21},
        ]


async def test_a_picture_goes_in_and_comes_out_and_cannot_run() -> None:
    async with opened() as s:
        picture = {"kind": "photo", "content_base64": base64.b64encode(PNG).decode(), "mime_type": "image/png", "width": 1, "height": 1}
        message = await s.say(ADA, BOT, "", media=picture)
        async with s.http.get(f"{s.page.base_url}/api/media/{message.uid}") as response:
            assert (await response.read(), response.content_type) == (PNG, "image/png")
        page = {"kind": "document", "content_base64": base64.b64encode(b"<script>1</script>").decode(), "mime_type": "text/html"}
        message = await s.say(ADA, BOT, "", media=page)
        async with s.http.get(f"{s.page.base_url}/api/media/{message.uid}") as response:
            assert response.content_type == "application/octet-stream"
            assert response.headers["Content-Disposition"] == "attachment"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"].endswith("sandbox")


async def test_edits_are_for_the_sender_and_deletions_for_both_sides() -> None:
    async with opened() as s:
        message = await s.say(ADA, OWNER, "first words")
        refused = await s.post("edit", account=OWNER, message=message.uid, text="other words", status=403)
        assert refused["code"] == "MESSAGE_AUTHOR_REQUIRED"
        edited = await s.post("edit", account=ADA, message=message.uid, text="second words")
        assert edited["message"]["text"] == "second words"
        assert edited["message"]["edit_date"] is not None
        assert (await s.post("delete", account=BEN, messages=[message.uid], status=403))["code"] == "FORBIDDEN"
        assert await s.post("delete", account=OWNER, messages=[message.uid]) == {"deleted": 1}
        assert message.uid not in s.world.messages
        await s.post("delete", account=OWNER, messages=[message.uid], status=404)


async def test_a_press_reaches_the_bot_and_a_made_up_button_does_not() -> None:
    async with opened() as s:
        card = s.world.send(BOT, OWNER, "card", reply_markup={"inline_keyboard": [[{"text": "Send", "callback_data": "send:7"}]]})
        press = await s.post("press", account=OWNER, message=card.uid, data="send:7")
        assert s.world.presses[press["press"]].data == "send:7"
        assert (await s.post("press", account=OWNER, message=card.uid, data="send:8", status=400))["code"] == "BUTTON_DATA_INVALID"
        assert (await s.post("press", account=ADA, message=card.uid, data="send:7", status=403))["code"] == "FORBIDDEN"


async def test_unread_counts_grow_until_the_chat_is_read_and_the_sender_sees_it() -> None:
    async with opened() as s:
        await s.say(ADA, OWNER, "one")
        message = await s.say(ADA, OWNER, "two")
        (chat,) = [c for c in (await s.get(f"/api/chats/{OWNER}"))["chats"] if c["other"] == ADA]
        assert chat["unread"] == 2
        assert (await s.get(f"/api/chats/{ADA}/{OWNER}"))["seen_by_other"] < message.uid
        assert await s.post("read", account=OWNER, other=ADA) == {"read": 2}
        assert s.heard(Read) == [Read(OWNER, ADA, message.ids[OWNER])]
        assert (await s.get(f"/api/chats/{ADA}/{OWNER}"))["seen_by_other"] == message.uid
        assert await s.post("read", account=OWNER, other=ADA) == {"read": 0}
        assert len(s.heard(Read)) == 1


async def test_typing_is_passed_on() -> None:
    async with opened() as s:
        await s.post("typing", **{"from": ADA, "to": BOT})
        assert s.heard(Typing) == [Typing(ADA, BOT, "typing")]


async def test_connecting_again_makes_a_new_connection_and_one_bot_at_a_time_is_connected() -> None:
    async with opened() as s:
        first = (await s.post("connect", account=OWNER, bot=BOT))["connection"]
        assert first["enabled"]
        changed = (await s.post("connect", account=OWNER, bot=BOT, rights={"can_reply": False}))["connection"]
        assert (changed["id"], changed["rights"]) == (first["id"], {"can_reply": False})
        assert (await s.post("disconnect", account=OWNER))["connection"]["enabled"] is False
        assert (await s.post("disconnect", account=OWNER, status=400))["code"] == "NOT_CONNECTED"
        second = (await s.post("connect", account=OWNER, bot=BOT))["connection"]
        assert second["id"] != first["id"]
        assert [e.connection.enabled for e in s.heard(ConnectionChanged)] == [True, True, False, True]
        await s.post("connect", account=BOT, bot=OWNER, status=400)


async def test_who_is_blocked_cannot_send() -> None:
    async with opened() as s:
        await s.post("block", account=OWNER, other=ADA)
        refused = await s.post("send", **{"from": ADA, "to": OWNER, "text": "hi"}, status=400)
        assert refused == {"error": "The receiver has blocked the sender.", "code": "USER_IS_BLOCKED"}
        await s.post("block", account=OWNER, other=ADA, blocked=False)
        await s.say(ADA, OWNER, "hi")
        assert s.heard(BlockChanged) == [BlockChanged(OWNER, ADA, True), BlockChanged(OWNER, ADA, False)]


async def test_reactions_are_set_and_withdrawn() -> None:
    async with opened() as s:
        message = await s.say(ADA, OWNER, "good news")
        answer = await s.post("react", account=OWNER, message=message.uid, emoji=["🔥"])
        assert answer["message"]["reactions"] == {str(OWNER): ["🔥"]}
        await s.post("react", account=OWNER, message=message.uid, emoji=[])
        assert message.reactions == {}


async def test_faults_are_added_listed_and_cleared() -> None:
    async with opened() as s:
        rules = [
            {"method": "sendMessage", "action": "flood", "arg": 3},
            {"method": "*", "action": "error", "arg": [500, "x"], "skip": 1, "times": 2},
        ]
        listed = (await s.post("faults", add=rules))["faults"]
        assert listed == [{"skip": 0, "times": 1, **rules[0]}, rules[1]]
        fault = s.faults.take("sendMessage")
        assert fault is not None
        assert fault.arg == 3
        assert len((await s.get("/api/faults"))["faults"]) == 1  # used up rules are not listed
        assert (await s.post("faults", clear=True))["faults"] == []
        assert "flood" in (await s.post("faults", add={"method": "x", "action": "explode"}, status=400))["error"]


async def test_the_login_code_is_told_for_numbers_that_have_one() -> None:
    async with opened() as s:
        assert await s.get("/api/login_code?phone=%2B99966000000") == {"code": "54321"}
        assert (await s.get("/api/login_code?phone=123", status=404))["code"] == "NOT_FOUND"


async def test_events_are_streamed_in_order_and_resumed_after_a_break() -> None:
    async with opened() as s:
        world = await s.get("/api/world")
        await s.say(ADA, BOT, "before the stream")
        async with s.http.get(f"{s.page.base_url}/api/events?after={world['stream']}") as response:
            stream = Listening(response)
            assert (await stream.next())["message"]["text"] == "before the stream"
            await s.say(ADA, BOT, "during")
            event = await stream.next()
            assert (event["seq"], event["type"], event["message"]["text"]) == (2, "sent", "during")
        await s.say(ADA, BOT, "while away")
        async with s.http.get(f"{s.page.base_url}/api/events", headers={"Last-Event-ID": stream.position}) as response:
            assert (await Listening(response).next())["message"]["text"] == "while away"


@pytest.mark.parametrize("after", ["other-run.0", "nonsense", "run.-1"])
async def test_a_listener_that_cannot_be_caught_up_is_told_to_look_anew(after: str) -> None:
    async with opened() as s, s.http.get(f"{s.page.base_url}/api/events?after={after}") as response:
        assert (await Listening(response).next())["type"] == "reset"


async def test_stopping_ends_the_streams_at_once() -> None:
    async with opened() as s, s.http.get(f"{s.page.base_url}/api/events") as response:
        await s.page.stop()
        await asyncio.wait_for(response.content.read(), 2)


async def test_a_stopped_page_no_longer_listens_to_the_world() -> None:
    async with opened() as s:
        await s.page.stop()
        s.world.send(ADA, BOT, "nobody looks")
        await until(lambda: s.heard(Sent))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[", "0.0.0.0"])
async def test_foreign_host_names_are_refused(host: str) -> None:
    """DNS rebinding: the browser believes that the name is the attacker's, so it lets the attacker's page read the answer."""
    async with opened() as s:
        refused = await s.get("/api/world", status=403, Host=host)
        assert refused["code"] == "HOST_REFUSED"


async def test_the_local_names_are_served() -> None:
    async with opened() as s:
        port = s.page.base_url.rpartition(":")[2]
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", "LOCALHOST", f"[::1]:{port}"):
            await s.get("/api/health", Host=host)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
async def test_calls_from_other_web_pages_are_refused(headers: dict[str, str]) -> None:
    async with opened() as s:
        call = json.dumps({"from": ADA, "to": OWNER, "text": "forged"})
        async with s.http.post(
            f"{s.page.base_url}/api/send", data=call, headers={"Content-Type": "application/json", **headers}
        ) as response:
            assert (response.status, (await response.json())["code"]) == (403, "ORIGIN_REFUSED")
        await s.get("/api/world", status=403, **headers)
        assert s.heard(Sent) == []


async def test_the_pages_own_origin_may_call() -> None:
    async with opened() as s:
        call = {"account": OWNER, "other": ADA}
        async with s.http.post(f"{s.page.base_url}/api/read", json=call, headers={"Origin": s.page.base_url}) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("path", "call", "sentence"),
    [
        ("send", {"from": ADA, "to": 777, "text": "x"}, "There is no such account or group."),
        ("send", {"from": "101", "to": OWNER, "text": "x"}, "`from` must be a whole number."),
        ("send", {"from": ADA, "to": OWNER, "text": "   "}, "A message needs a text or a file."),
        ("send", {"from": ADA, "to": OWNER, "text": "x" * 4097}, "A text may have 4096 characters at most."),
        ("send", {"from": ADA, "to": OWNER, "text": 5}, "`text` must be a text."),
        ("send", {"from": ADA, "to": OWNER, "media": {"kind": "photo", "content_base64": "%"}}, "`content_base64` is not base64."),
        ("send", {"from": ADA, "to": OWNER, "text": "x", "entities": [1]}, "`entities` must be a list of {type, offset, length}."),
        (
            "send",
            {"from": ADA, "to": OWNER, "text": "x", "media": {"kind": "document", "content_base64": "", "mime_type": "x\r\ny: z"}},
            "`mime_type` must look like image/png.",
        ),
        ("delete", {"account": ADA, "messages": 3}, "`messages` must be a list of uids."),
        ("block", {"account": ADA, "other": OWNER, "blocked": "yes"}, "`blocked` must be true or false."),
        ("faults", {}, "Give `add`, `clear` or both."),
    ],
)
async def test_what_cannot_be_done_is_answered_with_a_sentence(path: str, call: dict[str, object], sentence: str) -> None:
    async with opened() as s:
        assert (await s.post(path, **call, status=400))["error"] == sentence


@pytest.mark.parametrize("body", ["", "[1]", "{", b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(body: str | bytes) -> None:
    async with opened() as s:
        async with s.http.post(f"{s.page.base_url}/api/send", data=body, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 400
            assert (await response.json())["code"] == "BAD_REQUEST"
        async with s.http.post(f"{s.page.base_url}/api/send", data="from=101", headers={"Content-Type": "text/plain"}) as response:
            assert (response.status, (await response.json())["code"]) == (415, "NOT_JSON")


@pytest.mark.parametrize("path", ["/server.py", "/..%2Fworld.py", "/%2e%2e/world.py", "/nothing.js", "/__init__.py", "/api/nothing"])
async def test_only_the_pages_own_files_are_served(path: str) -> None:
    async with opened() as s:
        assert (await s.get(path, status=404))["code"] == "NOT_FOUND"


async def test_the_page_allows_itself_nothing_from_elsewhere() -> None:
    async with opened() as s, s.http.get(f"{s.page.base_url}/") as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "http" not in (await response.text()).replace("http-equiv", "")


async def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    async with opened() as s:
        from sandbox.page import PageServer

        other = PageServer(s.world, s.faults, OWNER)
        with pytest.raises(OSError, match="address already in use"):
            await other.start(int(s.page.base_url.rpartition(":")[2]))
        await other.stop()
