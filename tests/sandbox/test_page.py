"""The page in a real browser: what somebody sees and does on the two phones. Screenshots go to SCREENSHOTS or tmp_path."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from page_scene import ADA, BEN, BOT, OWNER, EchoBot, Scene, opened, until
from playwright.async_api import Locator, Page, Route, async_playwright, expect

from sandbox.world import Media, Pressed, Read, Typing

pytestmark = pytest.mark.slow
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
EVIL = "<img src=x onerror=\"document.title='broken into'\"><b>&amp;</b> javascript:alert(1)"


@dataclass
class View:
    scene: Scene
    page: Page
    contact: Locator
    owner: Locator
    folder: Path
    errors: list[str]

    @property
    def world(self) -> Any:
        return self.scene.world

    async def write(self, phone: Locator, text: str) -> None:
        await phone.get_by_test_id("composer-input").fill(text)
        await phone.get_by_test_id("composer-input").press("Enter")

    async def shot(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=self.folder / f"{name}.png", animations="disabled")

    async def go(self, query: str = "") -> None:
        await self.page.goto(f"{self.scene.page.base_url}/{query}")
        await expect(self.page.get_by_test_id("link-state")).to_have_text("live")


@asynccontextmanager
async def looking(tmp_path: Path, query: str = "", **how: Any) -> AsyncIterator[View]:
    """The scene's page in a browser; at the end no script may have failed and nothing may have been asked of another host."""
    how = {"viewport": {"width": 1280, "height": 860}, **how}
    async with opened() as scene, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        page = await (await browser.new_context(**how)).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("request", lambda r: None if r.url.startswith((scene.page.base_url, "data:", "blob:")) else errors.append(r.url))
        folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
        view = View(scene, page, page.get_by_test_id("phone-contact"), page.get_by_test_id("phone-owner"), folder, errors)
        try:
            await view.go(query)
            yield view
        finally:
            await browser.close()
        assert errors == []


def picture(width: int, height: int) -> bytes:
    """A PNG with a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (255 - 80 * y // height, 150 + 60 * x // width, 110 + 120 * y // height))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def test_the_story_from_one_phone_to_the_other_and_back(tmp_path: Path) -> None:
    """The contact writes, the draft card appears on the owner's phone, Send, and the answer is on the contact's phone."""
    async with looking(tmp_path) as v:
        EchoBot(v.world)
        await expect(v.contact.get_by_test_id("chat-title")).to_have_text("Twin")
        await v.write(v.contact, "hey, what are you up to tonight?")
        card = v.owner.get_by_test_id("message").last
        await expect(card.locator("blockquote")).to_have_text("hey, what are you up to tonight?")
        await v.shot("card")
        await v.owner.get_by_role("button", name="Send", exact=True).first.click()
        await expect(v.owner.get_by_test_id("toast")).to_have_text("Sent to Ada")
        await expect(card.get_by_test_id("message-text")).to_contain_text("✓ sent")
        await expect(card.get_by_test_id("edited")).to_be_visible()
        await expect(card.get_by_test_id("inline-button")).to_have_count(0)
        await expect(v.contact.get_by_test_id("message").last.get_by_test_id("message-text")).to_contain_text("sounds good!")
        await expect(v.contact.get_by_test_id("message")).to_have_count(2)
        await v.shot("sent")


async def test_a_button_waits_until_the_bot_answers_and_an_alert_has_to_be_closed(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        v.world.send(BOT, OWNER, "card", reply_markup={"inline_keyboard": [[{"text": "Do it", "callback_data": "do"}]]})
        button = v.owner.get_by_test_id("inline-button")
        await button.dblclick()
        await expect(button).to_have_attribute("aria-busy", "true")
        (pressed,) = await until(lambda: v.scene.heard(Pressed))  # the second tap of the double one does nothing
        v.world.answer_press(pressed.press.id, "It is done, and you should know.", alert=True)
        await expect(v.owner.get_by_test_id("alert")).to_contain_text("you should know")
        await expect(button).not_to_have_attribute("aria-busy", "true")
        await v.page.keyboard.press("Escape")
        await expect(v.owner.get_by_test_id("alert")).to_have_count(0)


async def test_typing_is_seen_on_the_other_phone(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.owner.get_by_test_id("back").click()
        await v.owner.locator(f"[data-chat='{ADA}']").click()
        await v.contact.get_by_test_id("back").click()
        await v.contact.locator(f"[data-chat='{OWNER}']").click()
        status = v.owner.get_by_test_id("chat-status")
        await expect(status).to_have_text("@ada")
        await v.contact.get_by_test_id("composer-input").press_sequentially("hm")
        await expect(status).to_contain_text("typing")
        assert v.scene.heard(Typing) == [Typing(ADA, OWNER, "typing")]  # not one for every key
        await v.contact.get_by_test_id("composer-input").press("Enter")
        await expect(v.owner.get_by_test_id("message").last).to_contain_text("hm")
        await expect(status).to_have_text("@ada")
        # what is seen is read, and the sender sees that
        await until(lambda: v.scene.heard(Read))
        await expect(v.contact.get_by_test_id("message").last.get_by_test_id("ticks")).to_have_attribute("data-seen", "true")


async def test_a_slow_history_does_not_take_the_keyboard_from_the_other_phone(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        asked, free = asyncio.Event(), asyncio.Event()

        async def late(route: Route) -> None:
            asked.set()
            await free.wait()
            await route.continue_()

        await v.page.route(f"**/api/chats/{OWNER}/{ADA}?*", late)
        await v.owner.get_by_test_id("back").click()
        await v.owner.locator(f"[data-chat='{ADA}']").click()
        await asked.wait()
        box = v.contact.get_by_test_id("composer-input")
        await box.focus()
        free.set()
        await expect(v.owner.get_by_test_id("message")).not_to_have_count(0)
        await v.page.keyboard.type("mine")
        await expect(box).to_have_value("mine")


async def test_nothing_that_anybody_wrote_becomes_markup(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        v.world.add_account(v.world.account(BEN)).first_name = "<i>Ben</i>"
        await v.write(v.contact, EVIL)
        await expect(v.contact.get_by_test_id("message").last.get_by_test_id("message-text")).to_contain_text(EVIL)
        links = [{"type": "text_link", "offset": 0, "length": 5, "url": "javascript:document.title='broken into'"}]
        v.world.send(
            BOT, ADA, "click me", entities=links, reply_markup={"inline_keyboard": [[{"text": EVIL, "url": "javascript:alert(1)"}]]}
        )
        await expect(v.contact.get_by_test_id("inline-button")).to_contain_text("onerror")
        await v.contact.get_by_test_id("inline-button").click()
        v.world.send(BEN, OWNER, EVIL)
        await v.owner.get_by_test_id("back").click()
        await expect(v.owner.locator(f"[data-chat='{BEN}']").get_by_test_id("preview")).to_have_text(EVIL)
        assert await v.page.locator(".messages a, .messages img, .rows i").count() == 0
        assert await v.page.title() == "Telegram Twin · two phones"
        assert len(v.page.context.pages) == 1


async def test_entities_are_drawn_also_nested_overlapping_and_after_emoji(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        text = "😀 bold both italic code secret link\nquoted\nafter"
        at = lambda word: len(text[: text.index(word)].encode("utf-16-le")) // 2  # noqa: E731
        entities = [
            {"type": "italic", "offset": at("both"), "length": 11},
            {"type": "bold", "offset": at("bold"), "length": 9},  # ends inside the italic one
            {"type": "code", "offset": at("code"), "length": 4},
            {"type": "spoiler", "offset": at("secret"), "length": 6},
            {"type": "text_link", "offset": at("link"), "length": 4, "url": "https://example.com/a"},
            {"type": "blockquote", "offset": at("quoted"), "length": 6},
        ]
        v.world.send(BOT, ADA, text, entities=entities)
        bubble = v.contact.get_by_test_id("message").last
        await expect(bubble.locator("strong")).to_have_text("bold both")
        await expect(bubble.locator("em")).to_have_text(["both", " italic"])
        await expect(bubble.locator("code")).to_have_text("code")
        await expect(bubble.locator("a")).to_have_attribute("href", "https://example.com/a")
        await expect(bubble.locator("a")).to_have_attribute("rel", "noopener noreferrer")
        await expect(bubble.locator("blockquote")).to_have_text("quoted")
        await bubble.locator(".spoiler").click()
        await expect(bubble.locator(".spoiler")).to_have_class("spoiler shown")


async def test_bursts_have_one_tail_and_days_are_separated(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.owner.get_by_test_id("back").click()
        await v.owner.locator(f"[data-chat='{ADA}']").click()
        messages = v.owner.get_by_test_id("message")
        await expect(messages).to_have_count(3)
        assert [await m.get_attribute("data-last") for m in await messages.all()] == ["false", "true", "true"]
        assert await v.owner.get_by_test_id("day-separator").count() >= 2
        v.world.send(OWNER, ADA, "and here is more")
        await expect(messages).to_have_count(4)
        assert (await v.owner.get_by_test_id("day-separator").all_inner_texts())[-1] == "Today"


async def test_a_message_is_replied_to_edited_and_deleted_from_its_menu(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.write(v.contact, "frist")
        messages = v.contact.get_by_test_id("message")
        await messages.last.click(button="right")
        await v.contact.get_by_test_id("edit").click()
        await expect(v.contact.get_by_test_id("composer-input")).to_have_value("frist")
        await v.write(v.contact, "first")
        await expect(messages.last.get_by_test_id("message-text")).to_contain_text("first")
        await expect(messages.last.get_by_test_id("edited")).to_be_visible()
        await messages.last.get_by_test_id("message-menu").focus()
        await v.page.keyboard.press("Enter")  # by keyboard too
        await v.contact.get_by_test_id("reply").press("Enter")
        await v.write(v.contact, "an answer to myself")
        await expect(messages.last.get_by_test_id("quote")).to_contain_text("first")
        await messages.first.click(button="right")
        await v.contact.get_by_test_id("delete").click()
        await expect(messages).to_have_count(1)
        await expect(messages.last.get_by_test_id("quote")).to_contain_text("was deleted")


async def test_shift_enter_makes_a_line_and_a_refused_message_is_not_lost(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        field = v.contact.get_by_test_id("composer-input")
        await field.press_sequentially("one")
        await field.press("Shift+Enter")
        await field.press_sequentially("two")
        await field.press("Enter")
        await until(lambda: [m.text for m in v.world.history(ADA, BOT)] == ["one\ntwo"])
        v.world.block(BOT, ADA)
        await v.write(v.contact, "does this arrive?")
        await expect(v.contact.get_by_test_id("toast")).to_have_text("The receiver has blocked the sender.")
        await expect(field).to_have_value("does this arrive?")
        assert [line for line in v.errors if "400" not in line] == []
        v.errors.clear()  # the browser notes the refusal in its console


async def test_the_bots_menu_is_offered_and_sends_commands(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        button = v.owner.get_by_test_id("commands-button")
        await expect(button).to_be_hidden()
        v.world.set_commands(BOT, [("help", "What I can do")])
        v.world.set_commands(BOT, [("approve", "Send a draft"), ("status", "What is going on")], account_id=OWNER)
        await button.click()
        items = v.owner.get_by_test_id("command-item")
        await expect(items).to_have_text(["/approveSend a draft", "/statusWhat is going on"])
        await v.shot("commands")
        await v.owner.get_by_test_id("composer-input").fill("/st")
        await expect(items).to_have_count(1)
        await items.first.click()
        await until(lambda: [m.text for m in v.world.history(OWNER, BOT)] == ["/status"])
        await v.contact.get_by_test_id("commands-button").click()
        await expect(v.contact.get_by_test_id("command-item")).to_have_text(["/helpWhat I can do"])


async def test_an_empty_chat_with_a_bot_offers_to_start_it(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.shot("empty")
        await v.owner.get_by_test_id("start").click()
        await expect(v.owner.get_by_test_id("message")).to_contain_text("/start")
        await expect(v.owner.get_by_test_id("empty")).to_be_hidden()


async def test_pictures_and_files_are_sent_and_shown(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.contact.get_by_test_id("file-input").set_input_files(
            [{"name": "sky.png", "mimeType": "image/png", "buffer": picture(320, 200)}]
        )
        image = v.contact.get_by_test_id("picture")
        await expect(image).to_be_visible()
        assert await image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 320
        media = v.world.history(ADA, BOT)[-1].media
        assert (media.kind, media.width, media.content) == ("photo", 320, picture(320, 200))
        await image.click()
        await expect(v.contact.get_by_test_id("viewer")).to_be_visible()
        await v.page.keyboard.press("Escape")
        v.world.send(BOT, ADA, "here", media=Media("document", b"%PDF" * 500, "application/pdf", "recipe.pdf"))
        await expect(v.contact.get_by_test_id("file")).to_contain_text("recipe.pdf")
        async with v.page.expect_download() as download:
            await v.contact.get_by_test_id("file").click()
        assert (await download.value).suggested_filename == "recipe.pdf"
        await v.shot("media")


async def test_unread_messages_are_counted_and_a_long_chat_opens_at_its_end(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        for i in range(150):
            v.world.send(ADA, OWNER, f"line {i}")
        await v.owner.get_by_test_id("back").click()
        row = v.owner.locator(f"[data-chat='{ADA}']")
        await expect(row.get_by_test_id("unread")).to_have_text("150")
        await v.shot("chats")
        await row.click()
        await expect(v.owner.get_by_text("line 149", exact=True)).to_be_in_viewport()
        await until(lambda: v.scene.heard(Read))
        messages = v.owner.get_by_test_id("message")
        assert await messages.count() < 100
        await v.owner.get_by_test_id("scroller").evaluate("node => node.scrollTo(0, 0)")
        await expect(messages).to_have_count(120)
        v.world.send(ADA, OWNER, "one more")
        await expect(v.owner.get_by_test_id("jump")).to_have_text("1")  # who reads further up is not torn away
        await expect(messages.last).to_contain_text("one more")
        await expect(messages.last).not_to_be_in_viewport()
        await v.owner.get_by_test_id("jump").click()
        await expect(messages.last).to_be_in_viewport()
        await v.owner.get_by_test_id("back").click()
        await expect(row.get_by_test_id("unread")).to_have_count(0)


async def test_the_owner_connects_and_disconnects_the_bot_in_the_menu(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.owner.get_by_test_id("back").click()
        await v.owner.get_by_test_id("list-menu").click()
        toggle = v.owner.get_by_test_id("connection-toggle")
        await expect(toggle).to_have_attribute("aria-checked", "false")
        await toggle.click()
        connection = await until(lambda: v.world.connection_of(OWNER))
        await v.owner.locator(f"[data-chat='{ADA}']").click()
        await expect(v.owner.get_by_test_id("business-notice")).to_contain_text("Twin reads this chat")
        v.world.send(OWNER, ADA, "sent for the owner", connection=connection)
        await expect(v.owner.get_by_test_id("message").last.get_by_test_id("via")).to_have_text("Twin")
        await v.contact.get_by_test_id("back").click()
        await v.contact.locator(f"[data-chat='{OWNER}']").click()
        await expect(v.contact.get_by_test_id("message").last).to_contain_text("sent for the owner")
        assert await v.contact.get_by_test_id("via").count() == 0  # the contact sees the owner
        await v.owner.get_by_test_id("chat-menu").click()
        await toggle.click()
        await until(lambda: v.world.connection_of(OWNER) is None)
        await expect(v.owner.get_by_test_id("business-notice")).to_be_hidden()


async def test_a_streamed_draft_grows_until_the_message_comes(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        draft = v.owner.get_by_test_id("live-draft")
        v.world.stream_draft(BOT, OWNER, 1, "I think")
        await expect(draft).to_have_text("I think")
        v.world.stream_draft(BOT, OWNER, 1, "I think so")
        await expect(draft).to_have_text("I think so")
        v.world.send(BOT, OWNER, "I think so too")
        await expect(draft).to_be_hidden()
        await expect(v.owner.get_by_test_id("message")).to_have_count(1)


async def test_another_contact_is_picked_and_stays_picked(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        picker = v.page.get_by_test_id("contact-picker")
        await expect(picker.locator("option")).to_have_text(["Ada Ashby", "Ben Berglund"])
        await picker.select_option(label="Ben Berglund")
        await v.write(v.contact, "ben here")
        await until(lambda: [m.sender_id for m in v.world.history(BEN, BOT)] == [BEN])
        await v.page.reload()
        await expect(picker).to_have_value(str(BEN))
        await expect(v.contact.get_by_test_id("message")).to_contain_text("ben here")


async def test_the_page_catches_up_after_the_connection_was_lost(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.write(v.contact, "before")
        await expect(v.contact.get_by_test_id("message")).to_have_count(1)
        port = int(v.scene.page.base_url.rpartition(":")[2])
        await v.scene.page.stop()
        await expect(v.page.get_by_test_id("link-state")).to_have_text("reconnecting…")
        v.world.send(BOT, ADA, "while the page was away")
        from sandbox.page import PageServer

        again = PageServer(v.world, v.scene.faults, OWNER)
        await again.start(port)
        try:
            await expect(v.contact.get_by_test_id("message").last).to_contain_text("while the page was away", timeout=20_000)
        finally:
            await again.stop()
        v.errors.clear()  # the browser's own words about the lost connection


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark_follow_the_system_and_the_switch(scheme: Any, tmp_path: Path) -> None:
    async with looking(tmp_path, color_scheme=scheme) as v:
        EchoBot(v.world)
        await v.write(v.contact, "how does this look?")
        await expect(v.owner.get_by_test_id("message")).to_have_count(1)
        await v.shot(f"desk-{scheme}")
        assert await brightness(v) == scheme
        await v.page.get_by_test_id("theme-toggle").click()
        other = {"light": "dark", "dark": "light"}[scheme]
        assert await brightness(v) == other
        await v.page.reload()
        assert await brightness(v) == other


async def brightness(v: View) -> str:
    colour: str = await v.page.locator(".phone").first.evaluate("node => getComputedStyle(node).backgroundColor")
    red = int(colour.partition("(")[2].split(",")[0])
    return "light" if red > 127 else "dark"


@pytest.mark.parametrize("width", [320, 390, 759])
async def test_on_a_phone_one_is_shown_at_a_time_and_nothing_sticks_out(width: int, tmp_path: Path) -> None:
    async with looking(tmp_path, viewport={"width": width, "height": 740}, device_scale_factor=2, has_touch=True, is_mobile=True) as v:
        EchoBot(v.world)
        await expect(v.owner).to_be_hidden()
        await v.write(v.contact, "a rather long line without any break: " + "x" * 90)
        await expect(v.page.locator("#tab-owner .dot")).to_be_visible()
        assert v.scene.heard(Read) == []  # nobody has looked at the owner's phone yet
        await v.shot(f"contact-{width}")
        await v.page.get_by_test_id("tab-owner").click()
        await expect(v.contact).to_be_hidden()
        await expect(v.owner.get_by_test_id("inline-button").last).to_be_in_viewport()
        await until(lambda: v.scene.heard(Read))
        await expect(v.page.locator("#tab-owner .dot")).to_be_hidden()
        await v.shot(f"owner-{width}")
        assert await v.page.evaluate("document.scrollingElement.scrollWidth") <= width
        too_wide = "nodes => nodes.filter(n => n.scrollWidth > n.clientWidth + 1 && getComputedStyle(n).overflowX === 'auto').length"
        assert await v.page.locator(".scroller, .rows, .stage").evaluate_all(too_wide) == 0


async def test_right_to_left_text_runs_so_on_both_phones(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        await v.write(v.contact, "שלום, מה שלומך היום?")
        text = v.contact.get_by_test_id("message-text").last
        await expect(text).to_contain_text("שלום")
        assert await text.evaluate("node => node.matches(':dir(rtl)')")


async def test_everything_that_can_be_pressed_has_a_name(tmp_path: Path) -> None:
    async with looking(tmp_path) as v:
        EchoBot(v.world)
        await v.write(v.contact, "hello")
        await expect(v.owner.get_by_test_id("message")).to_have_count(1)
        nameless = """nodes => nodes.filter(node =>
            !(node.getAttribute('aria-label') || node.textContent.trim() || node.closest('label'))).map(node => node.outerHTML)"""
        assert await v.page.locator("button, input, textarea, select, a").evaluate_all(nameless) == []
