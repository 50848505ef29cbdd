"""Methods that send files, and getFile."""

from __future__ import annotations

from functools import partial
from mimetypes import guess_type
from typing import Any

from sandbox.botapi.door import Door, Method
from sandbox.botapi.errors import bad_request
from sandbox.botapi.files import image_size
from sandbox.botapi.formatting import read_text
from sandbox.botapi.keyboards import read_keyboard
from sandbox.botapi.messages import MAX_CAPTION, find_own, known_entities, post, read_caption, show
from sandbox.botapi.params import Params, Upload, to_int
from sandbox.world import Account, Media

PHOTO_BYTES = 10 * 2**20
FILE_BYTES = 50 * 2**20
KINDS = ("photo", "document", "audio", "video", "animation", "voice", "video_note", "sticker")


def send_file(door: Door, bot: Account, params: Params, *, kind: str) -> Any:
    if kind not in params:
        raise bad_request(f"there is no {kind.replace('_', ' ')} in the request")
    media = read_media(door, bot, params, kind, params.values[kind])
    text, entities = read_caption(door, params)
    return post(door, bot, params, text, entities, media)


def read_media(door: Door, bot: Account, params: Params, kind: str, value: Any) -> Media:
    """The media of an upload or of a file_id. Errors: an id of another bot or kind, a web address, a wrong or large file."""
    upload = params.upload(value)
    if upload is None:
        known = door.files.find(bot.id, value) if isinstance(value, str) else None
        if known is not None and known.kind == kind:
            return known
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            raise bad_request("failed to get HTTP URL content")  # the sandbox dials nobody
        raise bad_request("wrong file identifier/HTTP URL specified")
    return _uploaded(params, kind, upload)


def _uploaded(params: Params, kind: str, upload: Upload) -> Media:
    if not upload.content:
        raise bad_request("file must be non-empty")
    if len(upload.content) > (PHOTO_BYTES if kind == "photo" else FILE_BYTES):
        raise bad_request("file is too big")
    size = (params.integer("width"), params.integer("height"))
    mime_type = upload.content_type
    if mime_type == "application/octet-stream":  # most clients name no type, so the server goes by the name
        mime_type = guess_type(upload.file_name or "")[0] or mime_type
    if kind in ("photo", "sticker"):
        found = image_size(upload.content)
        if found is None:
            raise bad_request("IMAGE_PROCESS_FAILED" if kind == "photo" else "wrong file type")
        size = found
        mime_type = "image/png" if upload.content.startswith(b"\x89PNG") else "image/jpeg" if kind == "photo" else "image/webp"
    if kind == "video_note":
        size = (params.integer("length"), params.integer("length"))
    name = upload.file_name if kind in ("document", "audio", "video", "animation") else None
    return Media(kind, upload.content, mime_type, name, None, size[0], size[1], params.integer("duration"))


def edit_message_media(door: Door, bot: Account, params: Params) -> Any:
    """Replace photo, document and so on, with caption and keyboard. A text message cannot become a media message here."""
    item = params.object("media")
    if not item or item.get("type") not in KINDS:
        raise bad_request("can't parse InputMedia: type must be one of " + ", ".join(KINDS))
    inner = Params({**params.values, "parse_mode": None, "caption": None} | item)
    media = read_media(door, bot, inner, item["type"], item.get("media"))
    text, entities = read_text(inner, "caption", limit=MAX_CAPTION, too_long="message caption is too long")
    keyboard = read_keyboard(params)
    target, message = find_own(door, bot, params)
    if message.media is None:
        raise bad_request("there is no media in the message to edit")
    door.world.edit(message, text=text, entities=known_entities(door, entities), media=media, reply_markup=keyboard)
    return show(door, bot, target, message)


def get_file(door: Door, bot: Account, params: Params) -> Any:
    return door.files.describe(bot.id, params.text("file_id"))


def get_user_profile_photos(door: Door, bot: Account, params: Params) -> Any:
    if to_int(params.values.get("user_id")) not in door.world.accounts:
        raise bad_request("user not found")
    return {"total_count": 0, "photos": []}


METHODS: dict[str, Method] = {
    **{f"send{kind.title().replace('_', '')}": partial(send_file, kind=kind) for kind in KINDS},
    "editMessageMedia": edit_message_media,
    "getFile": get_file,
    "getUserProfilePhotos": get_user_profile_photos,
}
