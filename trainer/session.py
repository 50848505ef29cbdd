"""The owner's own Telegram account through Telethon: sign in once, open it again every night, read only.

The session is a StringSession, sealed with `secret_key` in `<data>/telegram.session`: it is the whole account.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.telethon_calls import SIGN_IN_MEND, NeedsPassword, RefusedError, RevokedError, call
from twin import sealing
from twin.errors import InputError, SessionError, SettingsError, TelegramError
from twin.names import clean_name
from twin.settings import Settings

if TYPE_CHECKING:
    from telethon import TelegramClient
    from telethon.sessions import StringSession

Pushed = Callable[[Any], None]  # is given an object of TL type Updates
Ask = Callable[[str], Awaitable[str]]  # is told what to ask for, such as "The code that Telegram sent you"

ATTEMPTS = 3
DC_ID = 2  # what a server of one's own counts as


@dataclass(frozen=True)
class SignedIn:
    """Whose account it is."""

    id: int
    name: str


def session_path(settings: Settings) -> Path:
    return settings.data / "telegram.session"


async def sign_in(settings: Settings, *, ask_code: Ask, ask_password: Ask) -> SignedIn:
    """Sign the owner in and keep the session; one that still works is kept without asking.

    Wrong codes and passwords are asked for again, three times in all. Raises SettingsError for what settings must hold,
    InputError for answers that stay wrong, FloodError and TelegramError as above.
    """
    sealing.seal(b"", settings.secret_key)  # no code is sent to the owner's phone if its result could not be kept
    phone = settings.telegram.phone
    if not phone:
        raise SettingsError("TWIN_TELEGRAM__PHONE is not set.", mend="It is the number of your own Telegram account, +49... for example.")
    try:
        session = read_session(settings)
    except SessionError:
        session = _new_session()
    client = make_client(settings, session)
    try:
        await call(client.connect(), settings)
        me = await call(client.get_me(), settings)
        if me is None:
            me = await _ask_until_in(client, settings, phone, ask_code, ask_password)
        sealing.write_private(session_path(settings), sealing.seal(session.save().encode("ascii"), settings.secret_key))
    finally:
        await disconnect(client, settings)
    return SignedIn(me.id, full_name(me))


async def _ask_until_in(client: TelegramClient, settings: Settings, phone: str, ask_code: Ask, ask_password: Ask) -> Any:
    from telethon import errors

    try:
        await call(client.send_code_request(phone), settings)
    except RefusedError as exc:
        raise _refused_settings(exc) from exc
    wanted = "The code that Telegram sent to your app"
    for _ in range(ATTEMPTS):
        try:
            return await call(client.sign_in(phone, code=(await ask_code(wanted)).strip()), settings)
        except NeedsPassword:
            return await _ask_password(client, settings, ask_password)
        except RefusedError as exc:
            if not isinstance(exc.__cause__, errors.PhoneCodeInvalidError | errors.PhoneCodeEmptyError):
                raise _refused_settings(exc) from exc
            wanted = "That was not the code. The code that Telegram sent to your app"
    raise InputError("The sign-in code was wrong three times.", mend="Start again; Telegram sends a new one.")


async def _ask_password(client: TelegramClient, settings: Settings, ask_password: Ask) -> Any:
    from telethon import errors

    wanted = "The password of your two-step verification"
    for _ in range(ATTEMPTS):
        try:
            return await call(client.sign_in(password=await ask_password(wanted)), settings)
        except RefusedError as exc:
            if not isinstance(exc.__cause__, errors.PasswordHashInvalidError | errors.PasswordEmptyError):
                raise
            wanted = "That was not the password. The password of your two-step verification"
    raise InputError("The password was wrong three times.", mend="Telegram's settings can reset it, if you forgot it.")


def _refused_settings(exc: RefusedError) -> Exception:
    """Say which setting Telegram does not like."""
    from telethon import errors

    cause = exc.__cause__
    if isinstance(cause, errors.ApiIdInvalidError | errors.ApiIdPublishedFloodError):
        return SettingsError(
            "Telegram does not know TWIN_TELEGRAM__API_ID with TWIN_TELEGRAM__API_HASH.", mend="Copy both from my.telegram.org."
        )
    if isinstance(cause, errors.PhoneNumberInvalidError | errors.PhoneNumberUnoccupiedError):
        return SettingsError("No Telegram account has the number in TWIN_TELEGRAM__PHONE.", mend="Write it with its country code: +49...")
    if isinstance(cause, errors.PhoneNumberBannedError):
        return SettingsError("Telegram has banned the number in TWIN_TELEGRAM__PHONE.", mend="Only Telegram can undo that.")
    if isinstance(cause, errors.PhoneCodeExpiredError):
        return InputError("The sign-in code has expired.", mend="Start again. Telegram voids a code that is typed into a chat.")
    return exc


async def open_client(settings: Settings, *, sleeps: bool = True, pushed: Pushed | None = None) -> TelegramClient:
    """The owner's client, connected and signed in. The caller disconnects it; `connected` does that by itself.

    Telethon sleeps through short waits without a word; not `sleeps`: each of them is a FloodError. `pushed`: see `make_client`.
    Raises SessionError if there is no session, RevokedError if Telegram no longer takes it.
    """
    client = make_client(settings, read_session(settings), pushed=pushed)
    if not sleeps:
        client.flood_sleep_threshold = 0
    try:
        await call(client.connect(), settings)
        if await call(client.get_me(), settings) is None:
            raise RevokedError("Telegram has ended the session: it was signed out.", mend=SIGN_IN_MEND)
    except BaseException:
        await disconnect(client, settings)
        raise
    return client


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[TelegramClient]:
    """`open_client` for an `async with`. (Telethon's own one would ask for a phone number on the terminal.)"""
    client = await open_client(settings)
    try:
        yield client
    finally:
        await disconnect(client, settings)


async def disconnect(client: TelegramClient, settings: Settings) -> None:
    """Close the connection, within the time of a call whatever state it is in."""
    try:
        await call(client.disconnect(), settings)
    except TelegramError:
        pass  # it is gone either way, and the error that led here matters more


def make_client(settings: Settings, session: StringSession, *, pushed: Pushed | None = None) -> TelegramClient:
    """A client that is not connected yet. Raises SettingsError if settings lack what it needs.

    With `pushed` Telegram sends it what happens, and every push goes there as it came. Such a client tries nothing twice and
    gives a lost connection up at once: what it was asked for fails then, and is never sent later by itself.
    """
    from telethon import TelegramClient

    telegram = settings.telegram
    if telegram.server:
        session.set_dc(DC_ID, *_own_server(settings))
    elif not telegram.api_id or not telegram.api_hash:
        raise SettingsError(
            "TWIN_TELEGRAM__API_ID and TWIN_TELEGRAM__API_HASH are not both set.", mend="my.telegram.org gives them to you."
        )
    make = TelegramClient if pushed is None else partial(_listening_client(), pushed)
    return make(
        session,
        telegram.api_id or 1,  # a server of one's own does not look at them
        telegram.api_hash.get_secret_value() if telegram.api_hash else "none",
        device_model="Telegram Twin",
        receive_updates=pushed is not None,  # history is read by watermark; Telethon's own update state loses messages on kill -9
        connection_retries=None if pushed is None else 0,  # None: as long as a call may take
        retry_delay=1,
        auto_reconnect=pushed is None,
        request_retries=3 if pushed is None else 0,
        raise_last_call_error=True,
        # A sleep must end within the call it is part of. With request_retries there may be three of them.
        flood_sleep_threshold=min(telegram.flood_sleep_seconds, int(telegram.call_seconds / 3)),
    )


def _listening_client() -> Any:
    """Telethon's client with the loop that works pushes off replaced.

    Its own one keeps a state of the account in memory and asks for differences by itself whenever a push seems to be missing,
    for every channel too. Here a push only rings, so it is handed over at once, in whatever order it came.
    """
    from telethon import TelegramClient

    class Listening(TelegramClient):  # type: ignore[misc]
        def __init__(self, pushed: Pushed, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._pushed = pushed

        async def _update_loop(self) -> None:
            while self.is_connected():
                self._pushed(await self._updates_queue.get())

    return Listening


def _own_server(settings: Settings) -> tuple[str, int]:
    """Host and port of `telegram.server`, whose key Telethon is told to trust."""
    from telethon.crypto import rsa

    host, _, port = (settings.telegram.server or "").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError("TWIN_TELEGRAM__SERVER is not HOST:PORT.", mend="127.0.0.1:8443 for example; empty means Telegram.")
    key = settings.telegram.server_key
    if key is None:
        raise SettingsError("TWIN_TELEGRAM__SERVER is set, but TWIN_TELEGRAM__SERVER_KEY is not.", mend="Name that server's PEM file.")
    try:
        rsa.add_key(key.read_bytes(), old=False)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{key} is not a readable PEM file with an RSA public key (PKCS#1).") from exc
    return host, int(port)


def _new_session() -> StringSession:
    from telethon.sessions import StringSession

    return StringSession()


def read_session(settings: Settings) -> StringSession:
    """The kept session. Raises SessionError if there is none or it cannot be opened."""
    from telethon.sessions import StringSession

    path = session_path(settings)
    try:
        sealed = path.read_bytes()
    except FileNotFoundError as exc:
        raise SessionError("The owner is not signed in to Telegram.", mend="Sign in with `twin init`.") from exc
    try:
        return StringSession(sealing.unseal(sealed, settings.secret_key).decode("ascii"))
    except InputError as exc:
        raise SessionError(
            f"{path} cannot be opened. {exc.what}", mend=f"{exc.mend} Or {SIGN_IN_MEND[0].lower()}{SIGN_IN_MEND[1:]}"
        ) from exc


def full_name(account: Any) -> str:
    """Of a Telethon User; empty if nothing is seen of it."""
    return clean_name(" ".join(part for part in (account.first_name, account.last_name) if part))
