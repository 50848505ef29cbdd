"""Sealing: what is sealed cannot be read or changed without the key, and files are private from the first byte."""

from __future__ import annotations

import os
import stat

import pytest
from pydantic import SecretStr

from twin.errors import InputError, SettingsError
from twin.sealing import new_secret_key, seal, unseal, write_private


def test_what_is_sealed_comes_back_with_the_same_key_only():
    key = SecretStr(new_secret_key())
    sealed = seal(b"the whole account", key)
    assert b"account" not in sealed
    assert unseal(sealed, key) == unseal(sealed + b"\n", key) == b"the whole account"
    with pytest.raises(InputError, match="another TWIN_SECRET_KEY"):
        unseal(sealed, SecretStr(new_secret_key()))


def test_a_changed_byte_is_noticed():
    key = SecretStr(new_secret_key())
    sealed = bytearray(seal(b"the whole account", key))
    sealed[20] ^= 1
    with pytest.raises(InputError, match="damaged"):
        unseal(bytes(sealed), key)


@pytest.mark.parametrize("key", [None, SecretStr(""), SecretStr("canary"), SecretStr("ü" * 44)])
def test_without_a_usable_key_the_setting_and_the_mend_are_named(key):
    with pytest.raises(SettingsError, match=r"TWIN_SECRET_KEY.*twin init") as caught:
        seal(b"x", key)
    assert "canary" not in str(caught.value)


def test_a_private_file_is_private_and_replaced_in_one_step(tmp_path):
    path = tmp_path / "new" / "secret"
    previous = os.umask(0)
    try:
        write_private(path, b"one")
    finally:
        os.umask(previous)
    before = path.stat()
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(before.st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600
    assert before.st_ino != path.stat().st_ino
    assert list(path.parent.iterdir()) == [path]
