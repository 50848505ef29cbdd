"""Signing in and out: code, 2FA password, QR token. https://core.telegram.org/api/auth"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto import peers
from sandbox.mtproto.crypto import srp
from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.mtproto.session import AuthKey
from sandbox.world import Account, World

QR_TOKEN_SECONDS = 30


def digits(phone: str) -> str:
    return "".join(c for c in phone if c.isdigit())


@dataclass
class QrToken:
    key: AuthKey
    expires: int
    accepted_by: int | None = None


class Logins:
    """Codes that were asked for, password challenges and QR tokens."""

    def __init__(self, world: World, code: str) -> None:
        self._world, self._code = world, code
        self._asked: dict[str, str] = {}  # phone -> phone_code_hash
        self._verifiers: dict[str, int] = {}  # password -> SRP verifier, a tenth of a second to compute
        self.challenges: dict[int, srp.Challenge] = {}
        self.qr_tokens: dict[bytes, QrToken] = {}

    def account_of(self, phone: str) -> Account | None:
        wanted = digits(phone)
        return next((a for a in self._world.accounts.values() if a.phone and digits(a.phone) == wanted and not a.is_bot), None)

    def code(self, phone: str) -> str:
        if self.account_of(phone) is None:
            raise KeyError("no account has this phone number")
        return self._code

    def ask(self, phone: str) -> str:
        return self._asked.setdefault(digits(phone), secrets.token_hex(9))

    def check(self, phone: str, code_hash: str, code: str | None) -> Account:
        account = self.account_of(phone)
        if account is None:
            raise RpcError(400, "PHONE_NUMBER_INVALID")
        if not code:
            raise RpcError(400, "PHONE_CODE_EMPTY")
        if self._asked.get(digits(phone)) != code_hash:
            raise RpcError(400, "PHONE_CODE_EXPIRED")
        if code != self._code:
            raise RpcError(400, "PHONE_CODE_INVALID")
        return account

    def forget(self, phone: str) -> None:
        """A code works once."""
        self._asked.pop(digits(phone), None)

    def challenge(self, password: str) -> srp.Challenge:
        if password not in self._verifiers:
            self._verifiers[password] = srp.verifier(password)
        made = srp.challenge(int.from_bytes(os.urandom(7), "big"), self._verifiers[password])
        self.challenges[made.srp_id] = made
        return made


def _sign_in(call: Call, account: Account) -> Any:
    key = call.session.key
    key.account_id, key.awaiting_password_of = account.id, None
    call.server.save_keys()
    return types.auth.Authorization(peers.user(call.world, account, account.id))


def _ask_password_or_sign_in(call: Call, account: Account) -> Any:
    if account.password:
        call.session.key.awaiting_password_of = account.id
        raise RpcError(401, "SESSION_PASSWORD_NEEDED")
    return _sign_in(call, account)


def send_code(call: Call, request: Any) -> Any:
    if call.server.logins.account_of(request.phone_number) is None:
        raise RpcError(400, "PHONE_NUMBER_INVALID")
    return types.auth.SentCode(types.auth.SentCodeTypeApp(5), call.server.logins.ask(request.phone_number))


def cancel_code(call: Call, request: Any) -> bool:
    call.server.logins.forget(request.phone_number)
    return True


def sign_in(call: Call, request: Any) -> Any:
    logins = call.server.logins
    account = logins.check(request.phone_number, request.phone_code_hash, request.phone_code)
    logins.forget(request.phone_number)
    return _ask_password_or_sign_in(call, account)


def get_password(call: Call, _request: Any) -> Any:
    key = call.session.key
    account_id = key.account_id if key.account_id is not None else key.awaiting_password_of
    if account_id is None:
        raise RpcError(401, "AUTH_KEY_UNREGISTERED")
    password = call.world.account(account_id).password
    new = {"new_algo": srp.algorithm(), "new_secure_algo": types.SecurePasswordKdfAlgoUnknown(), "secure_random": os.urandom(16)}
    if not password:
        return types.account.Password(**new)
    asked = call.server.logins.challenge(password)
    return types.account.Password(has_password=True, current_algo=srp.algorithm(), srp_B=asked.public, srp_id=asked.srp_id, **new)


def check_password(call: Call, request: Any) -> Any:
    account_id = call.session.key.awaiting_password_of
    if account_id is None:
        raise RpcError(401, "AUTH_KEY_UNREGISTERED")
    given = request.password
    if isinstance(given, types.InputCheckPasswordEmpty):
        raise RpcError(400, "PASSWORD_HASH_INVALID")
    asked = call.server.logins.challenges.pop(given.srp_id, None)
    if asked is None:
        raise RpcError(400, "SRP_ID_INVALID")
    if not srp.proves(asked, given.A, given.M1):
        raise RpcError(400, "PASSWORD_HASH_INVALID")
    return _sign_in(call, call.world.account(account_id))


def log_out(call: Call, _request: Any) -> Any:
    call.session.key.account_id = None
    call.server.save_keys()
    return types.auth.LoggedOut()


def export_login_token(call: Call, _request: Any) -> Any:
    """The QR login: the first call gives the token to show, the one after it was accepted signs in."""
    key, now = call.session.key, call.server.now()
    tokens = call.server.logins.qr_tokens
    for token, state in list(tokens.items()):
        if state.key is key:
            del tokens[token]
            if state.accepted_by is not None:
                return types.auth.LoginTokenSuccess(_ask_password_or_sign_in(call, call.world.account(state.accepted_by)))
    token = os.urandom(16)
    tokens[token] = QrToken(key, now + QR_TOKEN_SECONDS)
    return types.auth.LoginToken(now + QR_TOKEN_SECONDS, token)


def accept_login_token(call: Call, request: Any) -> Any:
    """What an app that is signed in sends when it has scanned the code."""
    state = call.server.logins.qr_tokens.get(request.token)
    if state is None:
        raise RpcError(400, "AUTH_TOKEN_INVALID")
    if state.expires < call.server.now():
        raise RpcError(400, "AUTH_TOKEN_EXPIRED")
    if state.accepted_by is not None:
        raise RpcError(400, "AUTH_TOKEN_ALREADY_ACCEPTED")
    state.accepted_by = call.account.id
    call.server.updates.push_login_token(state.key)
    return _authorization(call, state.key)


def get_authorizations(call: Call, _request: Any) -> Any:
    keys = [k for k in call.server.auth_keys.values() if k.account_id == call.account.id]
    return types.account.Authorizations(180, [_authorization(call, k) for k in keys])


def reset_authorizations(call: Call, _request: Any) -> bool:
    """Sign every other session out."""
    for key in call.server.auth_keys.values():
        if key.account_id == call.account.id and key is not call.session.key:
            key.account_id = None
    call.server.save_keys()
    return True


def _authorization(call: Call, key: AuthKey) -> Any:
    now = call.server.now()
    current = key is call.session.key
    key_hash = 0 if current else key.id >> 1
    return types.Authorization(key_hash, key.device, "", "", 1, "sandbox", "1", now, now, "127.0.0.1", "", "", current=current or None)


METHODS: dict[type, Handler] = {
    functions.auth.SendCodeRequest: send_code,
    functions.auth.ResendCodeRequest: send_code,
    functions.auth.CancelCodeRequest: cancel_code,
    functions.auth.SignInRequest: sign_in,
    functions.auth.CheckPasswordRequest: check_password,
    functions.auth.LogOutRequest: log_out,
    functions.auth.ExportLoginTokenRequest: export_login_token,
    functions.auth.AcceptLoginTokenRequest: accept_login_token,
    functions.auth.ResetAuthorizationsRequest: reset_authorizations,
    functions.account.GetPasswordRequest: get_password,
    functions.account.GetAuthorizationsRequest: get_authorizations,
}
