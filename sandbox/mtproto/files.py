"""Files: parts uploaded before messages.sendMedia, and the contents of messages' media downloaded again."""

from __future__ import annotations

from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto.media import ACCESS_HASH
from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.world import Media


class Uploads:
    """Parts by (auth key, file id)."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], dict[int, bytes]] = {}

    def put(self, key_id: int, file_id: int, part: int, data: bytes) -> None:
        self._parts.setdefault((key_id, file_id), {})[part] = data

    def take(self, key_id: int, file_id: int, parts: int) -> bytes:
        stored = self._parts.pop((key_id, file_id), {})
        if sorted(stored) != list(range(parts)):
            raise RpcError(400, "FILE_PARTS_INVALID")
        return b"".join(stored[i] for i in range(parts))


def save_file_part(call: Call, request: Any) -> bool:
    call.server.uploads.put(call.session.key.id, request.file_id, request.file_part, request.bytes)
    return True


def get_file(call: Call, request: Any) -> Any:
    """A piece of a message's media, for the accounts that can see the message."""
    location = request.location
    if not isinstance(location, (types.InputDocumentFileLocation, types.InputPhotoFileLocation)):
        raise RpcError(400, "LOCATION_INVALID")
    message = call.world.messages.get(location.id)
    chat: Any = message.chat if message else frozenset()
    viewers = call.world.groups[chat].members if isinstance(chat, int) else chat
    if message is None or message.media is None or location.access_hash != ACCESS_HASH or call.account.id not in viewers:
        raise RpcError(400, "FILE_ID_INVALID")
    piece = message.media.content[request.offset : request.offset + request.limit]
    kind = types.storage.FileJpeg() if message.media.kind == "photo" else types.storage.FileUnknown()
    return types.upload.File(kind, message.date, piece)


def media_of(call: Call, given: Any) -> Media:
    """The world's media for an uploaded file."""
    if not isinstance(given, (types.InputMediaUploadedPhoto, types.InputMediaUploadedDocument)):
        raise RpcError(400, "MEDIA_INVALID")
    content = call.server.uploads.take(call.session.key.id, given.file.id, given.file.parts)
    if isinstance(given, types.InputMediaUploadedPhoto):
        return Media("photo", content, "image/jpeg")
    fields: dict[str, Any] = {}
    kind = "document"
    for attribute in given.attributes:
        match attribute:
            case types.DocumentAttributeFilename():
                fields["file_name"] = attribute.file_name
            case types.DocumentAttributeAudio():
                kind = "voice" if attribute.voice else "audio"
                fields["duration"] = attribute.duration
            case types.DocumentAttributeVideo():
                kind = "video_note" if attribute.round_message else "video"
                fields |= {"duration": int(attribute.duration), "width": attribute.w, "height": attribute.h}
            case types.DocumentAttributeSticker():
                kind = "sticker"
                fields["emoji"] = attribute.alt
            case types.DocumentAttributeAnimated():
                kind = "animation"
    return Media(kind, content, given.mime_type, **fields)


METHODS: dict[type, Handler] = {
    functions.upload.SaveFilePartRequest: save_file_part,
    functions.upload.GetFileRequest: get_file,
}
