"""Files: sent, described, fetched back, replaced."""

import io

import pytest
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BufferedInputFile, InputMediaDocument, InputMediaPhoto
from botapi_scene import ADA, OWNER, PNG, opened

from sandbox.botapi.files import image_size
from sandbox.samples import BOT_ID
from sandbox.world import Account, Media


async def test_a_photo_is_sent_described_and_fetched_back() -> None:
    async with opened() as s:
        sent = await s.bot.send_photo(OWNER, BufferedInputFile(PNG, "loss.png"), caption="<b>loss</b>", parse_mode="HTML")
        assert (sent.caption, sent.caption_entities[0].type, sent.text) == ("loss", "bold", None)
        photo = sent.photo[-1]
        assert (photo.width, photo.height, photo.file_size) == (1, 1, len(PNG))
        kept = s.world.history(OWNER, BOT_ID)[-1]
        assert (kept.media.kind, kept.media.content, kept.media.mime_type) == ("photo", PNG, "image/png")
        file = await s.bot.get_file(photo.file_id)
        assert file.file_path == "photos/file_0.png"
        assert (await s.bot.download_file(file.file_path)).read() == PNG
        target = io.BytesIO()
        await s.bot.download(photo, destination=target)
        assert target.getvalue() == PNG


async def test_a_document_keeps_its_name_and_can_be_sent_again_by_id() -> None:
    async with opened() as s:
        sent = await s.bot.send_document(OWNER, BufferedInputFile(b"a,b\n1,2\n", "rows.csv"), caption="rows")
        assert (sent.document.file_name, sent.document.mime_type, sent.document.file_size) == ("rows.csv", "text/csv", 8)
        again = await s.bot.send_document(OWNER, sent.document.file_id)
        assert again.document.file_unique_id == sent.document.file_unique_id
        with pytest.raises(TelegramBadRequest, match="wrong file identifier"):
            await s.bot.send_photo(OWNER, sent.document.file_id)


async def test_a_file_id_belongs_to_one_bot() -> None:
    async with opened() as s:
        s.world.add_account(Account(43, "Other", is_bot=True, token="43:x"))
        sent = await s.bot.send_photo(OWNER, BufferedInputFile(PNG, "a.png"))
        async with s.http.get(f"{s.api.base_url}/bot43:x/getFile", params={"file_id": sent.photo[0].file_id}) as response:
            assert response.status == 400


async def test_a_picture_that_is_none_and_an_overlong_caption_are_refused() -> None:
    async with opened() as s:
        with pytest.raises(TelegramBadRequest, match="IMAGE_PROCESS_FAILED"):
            await s.bot.send_photo(OWNER, BufferedInputFile(b"not a picture", "a.png"))
        with pytest.raises(TelegramBadRequest, match="file must be non-empty"):
            await s.bot.send_document(OWNER, BufferedInputFile(b"", "a.txt"))
        with pytest.raises(TelegramBadRequest, match="message caption is too long"):
            await s.bot.send_photo(OWNER, BufferedInputFile(PNG, "a.png"), caption="x" * 1025)


async def test_media_caption_and_keyboard_are_replaced() -> None:
    async with opened() as s:
        sent = await s.bot.send_photo(OWNER, BufferedInputFile(PNG, "a.png"), caption="step 1")
        bigger = PNG + b"\0"
        media = InputMediaPhoto(media=BufferedInputFile(bigger, "b.png"), caption="<i>step 2</i>", parse_mode="HTML")
        edited = await s.bot.edit_message_media(media, chat_id=OWNER, message_id=sent.message_id)
        assert (edited.caption, edited.photo[0].file_size) == ("step 2", len(bigger))
        captioned = await s.bot.edit_message_caption(chat_id=OWNER, message_id=sent.message_id, caption="step 3")
        assert captioned.caption == "step 3"
        with pytest.raises(TelegramBadRequest, match="there is no text in the message to edit"):
            await s.bot.edit_message_text("x", chat_id=OWNER, message_id=sent.message_id)
        document = InputMediaDocument(media=BufferedInputFile(b"x", "x.txt"))
        assert (await s.bot.edit_message_media(document, chat_id=OWNER, message_id=sent.message_id)).document.file_name == "x.txt"
        text = await s.bot.send_message(OWNER, "text")
        with pytest.raises(TelegramBadRequest, match="there is no media in the message to edit"):
            await s.bot.edit_message_media(document, chat_id=OWNER, message_id=text.message_id)


@pytest.mark.parametrize("kind", ["voice", "video", "video_note", "audio", "animation", "document", "photo", "sticker"])
async def test_media_of_every_kind_reach_a_bot(kind: str) -> None:
    async with opened() as s:
        s.world.send(ADA, BOT_ID, "", media=Media(kind, PNG, "image/png", "name.bin", "👍", 2, 3, 4))
        (update,) = await s.bot.get_updates()
        assert update.message.content_type == kind
        assert update.message.text is None
        part = getattr(update.message, kind)
        part = part[-1] if kind == "photo" else part
        assert (await s.bot.download(part)).read() == PNG


async def test_a_forwarded_message_names_its_origin() -> None:
    async with opened() as s:
        channel = next(g for g in s.world.groups.values() if g.kind == "channel")
        s.world.send(OWNER, BOT_ID, "look", forwarded_from=ADA)
        s.world.send(OWNER, BOT_ID, "rain", forwarded_from=channel.id)
        s.world.send(OWNER, BOT_ID, "who?", forwarded_from=999)
        one, two, three = await s.bot.get_updates()
        assert three.message.forward_origin.type == "hidden_user"
        assert one.message.forward_origin.sender_user.id == ADA
        assert two.message.forward_origin.chat.title == "Local weather"


async def test_a_photo_goes_out_through_a_business_connection() -> None:
    async with opened() as s:
        s.connect()
        s.world.send(ADA, OWNER, "show me")
        sent = await s.bot.send_photo(ADA, BufferedInputFile(PNG, "a.png"), business_connection_id="bc1")
        assert sent.sender_business_bot.id == BOT_ID
        assert s.world.history(ADA, OWNER)[-1].media.content == PNG


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("lossless", [True, False])
def test_the_size_of_a_picture_is_read_from_its_bytes(encoding: str, lossless: bool) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow makes the pictures")
    out = io.BytesIO()
    image.new("RGB", (37, 11), "teal").save(out, encoding, **({"lossless": lossless} if encoding == "WEBP" else {}))
    assert image_size(out.getvalue()) == (37, 11)
    assert image_size(out.getvalue()[:9]) is None
