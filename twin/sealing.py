"""Secrets at rest: sealed with the key in `secret_key`, in files that only their owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from twin.errors import InputError, SettingsError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

NEW_KEY_MEND = "`twin init` makes one and writes it to .env."


def new_secret_key() -> str:
    """A fresh key for `TWIN_SECRET_KEY`: 32 random bytes in URL-safe base64."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode("ascii")


def new_api_key() -> str:
    """A fresh key for `TWIN_ENGINE__API_KEY`: 32 random bytes in URL-safe base64."""
    return secrets.token_urlsafe(32)


def seal(plain: bytes, key: SecretStr | None) -> bytes:
    """Encrypt and sign (Fernet: AES-128-CBC with HMAC-SHA256). Raises SettingsError without a usable key."""
    return bytes(_cipher(key).encrypt(plain))


def unseal(sealed: bytes, key: SecretStr | None) -> bytes:
    """What was sealed. Raises InputError if it was sealed with another key or has been changed, SettingsError as `seal`."""
    from cryptography.fernet import InvalidToken

    try:
        return bytes(_cipher(key).decrypt(sealed.strip()))
    except InvalidToken as exc:
        raise InputError("It was sealed with another TWIN_SECRET_KEY, or is damaged.", mend="Put the old key back into .env.") from exc


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step. It is readable by its owner alone from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _cipher(key: SecretStr | None) -> Fernet:
    from cryptography.fernet import Fernet

    if key is None:
        raise SettingsError("TWIN_SECRET_KEY is not set, so nothing can be kept encrypted.", mend=NEW_KEY_MEND)
    try:
        return Fernet(key.get_secret_value().encode("utf-8"))
    except ValueError:  # of Fernet and of base64, which quotes no part of the key; `from None` all the same
        raise SettingsError("TWIN_SECRET_KEY is not 32 bytes in URL-safe base64.", mend=NEW_KEY_MEND) from None
