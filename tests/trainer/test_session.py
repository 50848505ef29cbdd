"""The owner's session: signed in once, sealed at rest, opened again; what goes wrong is said in our words."""

from __future__ import annotations

import stat

import pytest
from telegram_scene import KEY, keep_session, serving, settings_for, signed_in

from sandbox.faults import Fault
from sandbox.samples import OWNER_ID, small_world
from sandbox.world import World
from trainer.session import connected, open_client, session_path, sign_in
from trainer.telethon_calls import RefusedError, call
from twin import sealing
from twin.errors import FloodError, InputError, SessionError, SettingsError, TelegramError


def owned_world(password: str | None = None) -> World:
    world = World()
    small_world(world)
    world.accounts[OWNER_ID].password = password
    return world


class Answers:
    """A person at the terminal. `asked` is what they were asked for."""

    def __init__(self, *answers: str) -> None:
        self.left = list(answers)
        self.asked: list[str] = []

    async def __call__(self, wanted: str) -> str:
        self.asked.append(wanted)
        return self.left.pop(0)


async def test_sign_in_with_a_code_leaves_a_session_that_opens(tmp_path):
    world = owned_world()
    async with serving(world) as server:
        settings = settings_for(tmp_path, server, phone=world.accounts[OWNER_ID].phone)
        me = await sign_in(settings, ask_code=Answers("12345"), ask_password=Answers())
        assert me.id == OWNER_ID
        assert me.name.startswith(world.accounts[OWNER_ID].first_name)
        async with connected(settings) as client:
            assert (await client.get_me()).id == OWNER_ID


async def test_a_wrong_code_and_a_wrong_password_are_asked_for_again(tmp_path):
    world = owned_world(password="correct horse")
    async with serving(world) as server:
        settings = settings_for(tmp_path, server, phone=world.accounts[OWNER_ID].phone)
        codes, passwords = Answers("99999", " 12345 "), Answers("wrong", "correct horse")
        me = await sign_in(settings, ask_code=codes, ask_password=passwords)
    assert me.id == OWNER_ID
    assert codes.asked[1].startswith("That was not the code.")
    assert passwords.asked[1].startswith("That was not the password.")


async def test_three_wrong_codes_end_the_sign_in_and_leave_no_session(tmp_path):
    world = owned_world()
    async with serving(world) as server:
        settings = settings_for(tmp_path, server, phone=world.accounts[OWNER_ID].phone)
        with pytest.raises(InputError, match="three times"):
            await sign_in(settings, ask_code=Answers("1", "2", "3"), ask_password=Answers())
    assert not session_path(settings).exists()


async def test_a_session_that_works_is_kept_without_asking(tmp_path):
    world = owned_world()
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, phone=world.accounts[OWNER_ID].phone)
        assert (await sign_in(settings, ask_code=Answers(), ask_password=Answers())).id == OWNER_ID


async def test_a_revoked_session_can_be_signed_in_again(tmp_path):
    world = owned_world()
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, phone=world.accounts[OWNER_ID].phone)
        server.revoke(OWNER_ID)
        assert (await sign_in(settings, ask_code=Answers("12345"), ask_password=Answers())).id == OWNER_ID
        async with connected(settings) as client:
            assert (await client.get_me()).id == OWNER_ID


async def test_a_number_without_an_account_names_the_setting(tmp_path):
    async with serving(owned_world()) as server:
        settings = settings_for(tmp_path, server, phone="+10000000000")
        with pytest.raises(SettingsError, match="TWIN_TELEGRAM__PHONE"):
            await sign_in(settings, ask_code=Answers(), ask_password=Answers())


async def test_no_code_is_sent_while_the_session_could_not_be_kept(tmp_path):
    world = owned_world()
    async with serving(world) as server:
        settings = settings_for(tmp_path, server, key=None, phone=world.accounts[OWNER_ID].phone)
        with pytest.raises(SettingsError, match="TWIN_SECRET_KEY"):
            await sign_in(settings, ask_code=Answers(), ask_password=Answers())
        assert [c.name for c in server.calls] == []


async def test_the_session_file_is_private_and_shows_nothing(tmp_path):
    async with serving(owned_world()) as server:
        settings = settings_for(tmp_path, server)
        string = server.session_string(OWNER_ID)
        sealing.write_private(session_path(settings), sealing.seal(string.encode(), settings.secret_key))
    kept = session_path(settings)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert string.encode()[10:40] not in kept.read_bytes()
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]


async def test_without_a_session_the_owner_is_told_to_sign_in(tmp_path):
    async with serving(owned_world()) as server:
        with pytest.raises(SessionError, match=r"not signed in.*twin init"):
            await open_client(settings_for(tmp_path, server))


async def test_another_secret_key_does_not_open_the_session(tmp_path):
    async with serving(owned_world()) as server:
        keep_session(settings_for(tmp_path, server), server, OWNER_ID)
        with pytest.raises(SessionError, match="another TWIN_SECRET_KEY"):
            await open_client(settings_for(tmp_path, server, key=sealing.new_secret_key()))


@pytest.mark.parametrize("how", ["revoke", "forget_keys"])
async def test_a_session_that_telegram_ended_is_a_session_error(tmp_path, how):
    async with serving(owned_world()) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, call_seconds=5.0)
        server.revoke(OWNER_ID) if how == "revoke" else server.forget_keys()
        with pytest.raises(SessionError, match="twin init"):
            await open_client(settings)


@pytest.mark.parametrize("how", ["revoke", "forget_keys"])
async def test_a_session_that_ends_while_it_is_open_is_a_session_error(tmp_path, how):
    async with serving(owned_world()) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, call_seconds=5.0)
        async with connected(settings) as client:
            server.revoke(OWNER_ID) if how == "revoke" else server.forget_keys()
            with pytest.raises(SessionError, match="twin init"):
                await call(client.get_dialogs(), settings)


async def test_a_server_that_is_down_ends_within_the_time_of_a_call(tmp_path):
    async with serving(owned_world()) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, call_seconds=1.0)
    with pytest.raises(TelegramError, match="no answer within 1 seconds"):
        await open_client(settings)


async def test_a_key_file_that_holds_no_key_is_named(tmp_path):
    async with serving(owned_world()) as server:
        settings = settings_for(tmp_path, server, phone="+1", call_seconds=3.0)
        wrong = tmp_path / "server.pem"
        wrong.write_text("not a key")
        with pytest.raises(SettingsError, match="PEM"):
            await sign_in(settings, ask_code=Answers(), ask_password=Answers())


@pytest.mark.parametrize("server", ["localhost", "localhost:", ":443", "a:99999", "a:b"])
async def test_a_malformed_server_names_the_setting(tmp_path, server):
    async with serving(owned_world()) as up:
        settings = signed_in(tmp_path, up, OWNER_ID, server=server)
        with pytest.raises(SettingsError, match="TWIN_TELEGRAM__SERVER"):
            await open_client(settings)


async def test_a_long_flood_wait_says_how_long(tmp_path):
    async with serving(owned_world()) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        async with connected(settings) as client:
            server.faults.add(Fault("GetDialogs", "flood", 3600))
            with pytest.raises(FloodError) as caught:
                await call(client.get_dialogs(), settings)
            assert caught.value.seconds == 3600


async def test_a_refused_request_names_the_error_and_leaves_the_session_open(tmp_path):
    async with serving(owned_world()) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        async with connected(settings) as client:
            server.faults.add(Fault("GetDialogs", "error", [400, "PEER_ID_INVALID"]))
            with pytest.raises(RefusedError, match="400 PeerIdInvalid"):
                await call(client.get_dialogs(), settings)
            assert len(await call(client.get_dialogs(), settings)) > 0


async def test_a_session_of_telegram_needs_the_api_id(tmp_path):
    async with serving(owned_world()) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, server=None, server_key=None)
        with pytest.raises(SettingsError, match="TWIN_TELEGRAM__API_ID"):
            await open_client(settings)


def test_the_key_of_this_test_is_a_key():
    assert sealing.unseal(sealing.seal(b"x", secret(KEY)), secret(KEY)) == b"x"


def secret(text: str):
    from pydantic import SecretStr

    return SecretStr(text)
