"""Telethon connects in every framing, signs in and out, and is refused where Telegram refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from mtproto_cast import ANNA, BEN, OWNER, NewClient
from telethon import TelegramClient, errors, functions
from telethon.network import ConnectionTcpAbridged, ConnectionTcpFull, ConnectionTcpIntermediate
from telethon.sessions import StringSession

from sandbox.faults import Fault, Faults
from sandbox.mtproto import MtprotoServer
from sandbox.world import World


@pytest.mark.parametrize("framing", [ConnectionTcpFull, ConnectionTcpAbridged, ConnectionTcpIntermediate])
async def test_signs_in_by_code_in_every_framing(framing: type, server: MtprotoServer, new_client: NewClient) -> None:
    client = await new_client(None, connection=framing)
    assert not await client.is_user_authorized()
    await client.send_code_request("+999 0001")
    me = await client.sign_in("+999 0001", server.login_code("9990001"))
    assert (me.id, me.username, me.phone, me.is_self) == (OWNER, "olga", "9990001", True)
    assert await client.is_user_authorized()


async def test_wrong_code_is_refused_and_the_right_one_still_works(server: MtprotoServer, new_client: NewClient) -> None:
    client = await new_client(None)
    await client.send_code_request("9990001")
    with pytest.raises(errors.PhoneCodeInvalidError):
        await client.sign_in("9990001", "00000")
    assert (await client.sign_in("9990001", server.login_code("9990001"))).id == OWNER


async def test_a_code_works_once(server: MtprotoServer, new_client: NewClient) -> None:
    first, second = await new_client(None), await new_client(None)
    sent = await first.send_code_request("9990001")
    await first.sign_in("9990001", "12345")
    with pytest.raises(errors.PhoneCodeExpiredError):
        await second.sign_in("9990001", "12345", phone_code_hash=sent.phone_code_hash)


async def test_unknown_phone_is_refused(new_client: NewClient) -> None:
    client = await new_client(None)
    with pytest.raises(errors.PhoneNumberInvalidError):
        await client.send_code_request("9999999")


async def test_password_is_asked_after_the_code_and_checked_by_srp(new_client: NewClient) -> None:
    client = await new_client(None)
    await client.send_code_request("9990003")
    with pytest.raises(errors.SessionPasswordNeededError):
        await client.sign_in("9990003", "12345")
    assert not await client.is_user_authorized()
    with pytest.raises(errors.PasswordHashInvalidError):
        await client.sign_in(password="wrong horse")
    assert (await client.sign_in(password="correct horse")).id == BEN


async def test_qr_login_is_accepted_by_another_session(client: TelegramClient, new_client: NewClient) -> None:
    newcomer = await new_client(None)
    login = await newcomer.qr_login()
    await client(functions.auth.AcceptLoginTokenRequest(login.token))
    assert (await login.wait(timeout=5)).id == OWNER
    assert (await newcomer.get_me()).id == OWNER


async def test_revoked_session_gets_401(client: TelegramClient, server: MtprotoServer) -> None:
    await client.get_me()
    server.revoke(OWNER)
    with pytest.raises(errors.AuthKeyUnregisteredError):
        await client.get_dialogs()


async def test_log_out_ends_this_session_only(new_client: NewClient) -> None:
    first, second = await new_client(OWNER), await new_client(OWNER)
    await first.log_out()
    assert (await second.get_me()).id == OWNER


async def test_two_accounts_see_themselves(new_client: NewClient) -> None:
    owner, anna = await new_client(OWNER), await new_client(ANNA)
    assert [(await c.get_me()).first_name for c in (owner, anna)] == ["Olga", "Anna"]


async def test_a_forgotten_key_is_a_transport_error(client: TelegramClient, server: MtprotoServer) -> None:
    server.forget_keys()
    with pytest.raises((ConnectionError, errors.AuthKeyNotFound)):
        await client.get_me()


async def test_keys_survive_a_restart_in_a_file(world: World, server: MtprotoServer, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = MtprotoServer(world, server.faults, keys_file=path)
    await first.start()
    session = StringSession(first.session_string(OWNER))
    await first.stop()
    second = MtprotoServer(world, server.faults, keys_file=path)
    await second.start(first.port)
    client = TelegramClient(session, 1, "hash")
    await client.connect()
    assert (await client.get_me()).id == OWNER
    await client.disconnect()
    await second.stop()
    assert path.stat().st_mode & 0o077 == 0


async def test_a_client_that_is_sent_to_another_data_centre_comes_back_here(faults: Faults, new_client: NewClient) -> None:
    """303 PHONE_MIGRATE: help.getConfig names no address but this server's."""
    client = await new_client(None)
    faults.add(Fault("SendCode", "error", [303, "PHONE_MIGRATE_2"]))
    await client.send_code_request("9990001")
    assert (await client.sign_in("9990001", "12345")).id == OWNER
