"""File ids: which media a bot can name, and what the file door serves.

A file_id belongs to one bot; file_unique_id is the same for all. Equal content has equal ids.
"""

from __future__ import annotations

from typing import Any

from sandbox.botapi.errors import bad_request
from sandbox.world import Media

DOWNLOAD_BYTES = 20 * 2**20  # getFile's limit
FOLDERS = {
    "photo": "photos",
    "voice": "voice",
    "video": "videos",
    "video_note": "video_notes",
    "audio": "music",
    "sticker": "stickers",
    "animation": "animations",
}
SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "audio/ogg": ".oga",
    "video/mp4": ".mp4",
    "audio/mpeg": ".mp3",
}


class Files:
    def __init__(self) -> None:
        self._numbers: dict[Media, int] = {}
        self._media: list[Media] = []

    def ids(self, bot_id: int, media: Media) -> dict[str, Any]:
        """file_id, file_unique_id and file_size, as every media object carries them."""
        number = self._numbers.get(media)
        if number is None:
            number = self._numbers[media] = len(self._media)
            self._media.append(media)
        return {"file_id": f"BQAC{bot_id}-{number}", "file_unique_id": f"AgAD{number:08d}", "file_size": len(media.content)}

    def find(self, bot_id: int, file_id: str) -> Media | None:
        owner, _, number = file_id.removeprefix("BQAC").partition("-")
        if file_id.startswith("BQAC") and owner == str(bot_id) and number.isdecimal() and int(number) < len(self._media):
            return self._media[int(number)]
        return None

    def describe(self, bot_id: int, file_id: str) -> dict[str, Any]:
        """getFile's answer. Errors: an id that is not this bot's, a file over 20 MB."""
        media = self.find(bot_id, file_id)
        if media is None:
            raise bad_request("wrong file_id or the file is temporarily unavailable")
        if len(media.content) > DOWNLOAD_BYTES:
            raise bad_request("file is too big")
        return {**self.ids(bot_id, media), "file_path": self._path(media)}

    def at(self, path: str) -> Media | None:
        """The media behind a file_path that getFile named."""
        number = path.rpartition("/file_")[2].partition(".")[0]
        if not number.isdecimal() or int(number) >= len(self._media):
            return None
        media = self._media[int(number)]
        return media if self._path(media) == path else None

    def _path(self, media: Media) -> str:
        suffix = SUFFIXES.get(media.mime_type, "")
        if media.file_name and "." in media.file_name:
            suffix = "." + "".join(c for c in media.file_name.rpartition(".")[2] if c.isalnum())
        return f"{FOLDERS.get(media.kind, 'documents')}/file_{self._numbers[media]}{suffix}"


def image_size(content: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF, WebP or JPEG; None for anything else."""
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if content[:6] in (b"GIF87a", b"GIF89a") and len(content) >= 10:
        return int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8X" and len(content) >= 30:
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8 " and len(content) >= 30:
        return int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8L" and len(content) >= 25:
        packed = int.from_bytes(content[21:25], "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    return _jpeg_size(content) if content[:2] == b"\xff\xd8" else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[at + 7 : at + 9]), int.from_bytes(content[at + 5 : at + 7])
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return None
