"""What is refused and how: code and text as Telegram words them, by raw calls."""

import pytest
from botapi_scene import ADA, BEN, OWNER, button, opened

from sandbox.botapi import RateLimits
from sandbox.samples import BOT_ID

NOT_MODIFIED = (
    "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content "
    "and reply markup of the message"
)


@pytest.mark.parametrize(
    ("method", "params", "code", "description"),
    [
        ("sendMessage", {"text": "x"}, 400, "Bad Request: chat_id is empty"),
        ("sendMessage", {"chat_id": OWNER}, 400, "Bad Request: message text is empty"),
        ("sendMessage", {"chat_id": OWNER, "text": " \n"}, 400, "Bad Request: message text is empty"),
        ("sendMessage", {"chat_id": OWNER, "text": "x" * 4097}, 400, "Bad Request: message is too long"),
        ("sendMessage", {"chat_id": OWNER, "text": "😀" * 2049}, 400, "Bad Request: message is too long"),
        ("sendMessage", {"chat_id": 5, "text": "x"}, 400, "Bad Request: chat not found"),
        ("sendMessage", {"chat_id": -5, "text": "x"}, 400, "Bad Request: chat not found"),
        ("sendMessage", {"chat_id": "@nobody", "text": "x"}, 400, "Bad Request: chat not found"),
        ("sendMessage", {"chat_id": BEN, "text": "x"}, 403, "Forbidden: bot can't initiate conversation with a user"),
        ("sendMessage", {"chat_id": BOT_ID, "text": "x"}, 403, "Forbidden: bot can't send messages to bots"),
        ("sendMessage", {"chat_id": OWNER, "text": "x", "parse_mode": "BBCode"}, 400, "Bad Request: unsupported parse_mode"),
        (
            "sendMessage",
            {"chat_id": 5, "text": "<b>x", "parse_mode": "HTML"},
            400,
            "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\"",
        ),
        (
            "sendMessage",
            {"chat_id": OWNER, "text": "1.0", "parse_mode": "MarkdownV2"},
            400,
            "Bad Request: can't parse entities: Character '.' is reserved and must be escaped with the preceding '\\'",
        ),
        ("sendMessage", {"chat_id": OWNER, "text": "x", "reply_markup": "[]"}, 400, "Bad Request: object expected as reply markup"),
        ("sendMessage", {"chat_id": OWNER, "text": "x", "reply_markup": "{"}, 400, "Bad Request: can't parse reply markup JSON object"),
        ("sendMessage", {"chat_id": OWNER, "text": "x", "reply_markup": button("b", "x" * 65)}, 400, "Bad Request: BUTTON_DATA_INVALID"),
        ("sendMessage", {"chat_id": OWNER, "text": "x", "reply_markup": button("b", "ä" * 33)}, 400, "Bad Request: BUTTON_DATA_INVALID"),
        (
            "sendMessage",
            {"chat_id": OWNER, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "b"}]]}},
            400,
            "Bad Request: can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        (
            "sendMessage",
            {"chat_id": OWNER, "text": "x", "reply_parameters": {"message_id": "99"}},
            400,
            "Bad Request: message to be replied not found",
        ),
        ("editMessageText", {"chat_id": OWNER, "text": "x"}, 400, "Bad Request: message identifier is not specified"),
        ("editMessageText", {"chat_id": OWNER, "message_id": 99, "text": "x"}, 400, "Bad Request: message to edit not found"),
        ("editMessageText", {"chat_id": OWNER, "message_id": 1, "text": "x"}, 400, "Bad Request: message can't be edited"),
        ("deleteMessage", {"chat_id": OWNER, "message_id": 99}, 400, "Bad Request: message to delete not found"),
        ("sendChatAction", {"chat_id": OWNER, "action": "sleeping"}, 400, "Bad Request: wrong parameter action in request"),
        ("sendMessageDraft", {"chat_id": OWNER, "text": "x"}, 400, "Bad Request: DRAFT_ID_INVALID"),
        ("sendPhoto", {"chat_id": OWNER}, 400, "Bad Request: there is no photo in the request"),
        ("sendPhoto", {"chat_id": OWNER, "photo": "nonsense"}, 400, "Bad Request: wrong file identifier/HTTP URL specified"),
        ("sendPhoto", {"chat_id": OWNER, "photo": "http://x.example/a.png"}, 400, "Bad Request: failed to get HTTP URL content"),
        ("getFile", {"file_id": "nonsense"}, 400, "Bad Request: wrong file_id or the file is temporarily unavailable"),
        (
            "answerCallbackQuery",
            {"callback_query_id": "99"},
            400,
            "Bad Request: query is too old and response timeout expired or query ID is invalid",
        ),
        ("setMyCommands", {"commands": [{"command": "Help!", "description": "x"}]}, 400, "Bad Request: BOT_COMMAND_INVALID"),
        ("setWebhook", {"url": "ftp://x"}, 400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"),
        ("setWebhook", {"url": "https://example.com/"}, 400, "Bad Request: bad webhook: the sandbox delivers to loopback only"),
        ("getBusinessConnection", {"business_connection_id": "x"}, 400, "Bad Request: business connection not found"),
        ("sendTelegram", {}, 404, "Not Found"),
    ],
)
async def test_a_call_is_refused_and_changes_nothing(method: str, params: dict, code: int, description: str) -> None:
    async with opened() as s:
        before = len(s.world.messages)
        assert await s.refusal(method, **params) == (code, description)
        assert len(s.world.messages) == before


async def test_a_wrong_token_is_unauthorized() -> None:
    async with opened() as s:
        for path in ("bot42:WRONG/getMe", "file/bot42:WRONG/photos/file_0.png"):
            async with s.http.get(f"{s.api.base_url}/{path}") as response:
                assert response.status == 401
                assert await response.json() == {"ok": False, "error_code": 401, "description": "Unauthorized"}


async def test_an_unknown_file_is_not_found() -> None:
    async with opened() as s, s.http.get(f"{s.api.base_url}/file/bot{s.sample.bot_token}/photos/file_0.png") as response:
        assert response.status == 404


async def test_an_edit_that_changes_nothing_is_refused_and_one_that_does_is_not() -> None:
    async with opened() as s:
        sent = (await s.call("sendMessage", chat_id=OWNER, text="x", reply_markup=button("b", "1")))["result"]
        where = {"chat_id": OWNER, "message_id": sent["message_id"]}
        assert await s.refusal("editMessageText", text="x", reply_markup=button("b", "1"), **where) == (400, NOT_MODIFIED)
        assert (await s.call("editMessageText", text="<b>x</b>", parse_mode="HTML", **where))["ok"]
        assert await s.refusal("editMessageReplyMarkup", **where) == (400, NOT_MODIFIED)
        assert await s.refusal("editMessageCaption", caption="y", **where) == (
            400,
            "Bad Request: there is no caption in the message to edit",
        )


async def test_somebody_elses_message_ids_are_not_found() -> None:
    async with opened() as s:
        s.world.send(ADA, BOT_ID, "/start")
        sent = (await s.call("sendMessage", chat_id=ADA, text="x"))["result"]
        wrong_chat = {"chat_id": OWNER, "message_id": sent["message_id"]}
        assert (await s.refusal("editMessageText", text="y", **wrong_chat))[1] == "Bad Request: message to edit not found"
        assert (await s.call("deleteMessages", chat_id=OWNER, message_ids=[sent["message_id"]]))["ok"]
        assert s.world.in_box(BOT_ID, sent["message_id"])


async def test_messages_older_than_two_days_cannot_be_deleted() -> None:
    async with opened() as s:
        sent = (await s.call("sendMessage", chat_id=OWNER, text="x"))["result"]
        s.clock.ahead += 49 * 3600
        assert await s.refusal("deleteMessage", chat_id=OWNER, message_id=sent["message_id"]) == (
            400,
            "Bad Request: message can't be deleted for everyone",
        )


async def test_parameters_come_as_query_form_json_or_multipart_and_names_in_any_case() -> None:
    async with opened() as s:
        url = f"{s.api.base_url}/bot{s.sample.bot_token}"
        params = {"chat_id": str(OWNER), "text": "x", "link_preview_options": '{"is_disabled": true}', "no_such": "1"}
        sent = []
        for way in ({"params": params}, {"data": params}, {"json": params}):
            async with s.http.post(f"{url}/SENDMESSAGE", **way) as response:
                sent.append((await response.json())["ok"])
        assert sent == [True] * 3
        async with s.http.post(f"{url}/sendMessage", data="{", headers={"Content-Type": "application/json"}) as response:
            assert (await response.json())["description"] == "Bad Request: can't parse request: JSON object expected"


async def test_the_call_log_holds_what_was_asked_for() -> None:
    async with opened() as s:
        await s.bot.send_message(OWNER, "x")
        await s.refusal("sendMessage", chat_id=5, text="y")
        assert [(p["chat_id"], p["text"]) for p in s.api.calls_of("sendMessage")] == [(OWNER, "x"), (5, "y")]


async def test_rate_limits_are_off_unless_asked_for() -> None:
    async with opened() as s:
        answers = [await s.call("sendMessage", chat_id=OWNER, text=str(i)) for i in range(60)]
        assert all(a["ok"] for a in answers)


async def test_a_chat_takes_a_burst_and_then_one_message_a_second() -> None:
    async with opened(limits=RateLimits(per_chat_burst=3)) as s:
        answers = [await s.call("sendMessage", chat_id=OWNER, text=str(i)) for i in range(4)]
        assert [a["ok"] for a in answers] == [True, True, True, False]
        assert answers[3] == {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        }
        s.clock.ahead += 1
        assert (await s.call("sendMessage", chat_id=OWNER, text="again"))["ok"]


async def test_all_chats_together_have_a_limit() -> None:
    async with opened(limits=RateLimits(per_chat_burst=100, overall_per_second=5)) as s:
        s.world.send(ADA, BOT_ID, "/start")
        answers = [await s.call("sendMessage", chat_id=(OWNER, ADA)[i % 2], text="x") for i in range(7)]
        assert sum(a["ok"] for a in answers) in (5, 6), "a slow machine earns one back"
