"""The dispatch table: every request that is offered. Anything else is METHOD_INVALID and recorded in `server.unhandled`."""

from __future__ import annotations

from telethon.tl import functions

from sandbox.mtproto import account, auth, buttons, dialogs, files, history, sending, updates, users
from sandbox.mtproto.rpc import Handler

METHODS: dict[type, Handler] = {
    **account.METHODS,
    **auth.METHODS,
    **buttons.METHODS,
    **dialogs.METHODS,
    **files.METHODS,
    **history.METHODS,
    **sending.METHODS,
    **updates.METHODS,
    **users.METHODS,
}

# What may be called before anybody is signed in.
PUBLIC: frozenset[type] = frozenset(
    {
        functions.help.GetConfigRequest,
        functions.help.GetNearestDcRequest,
        functions.help.GetAppConfigRequest,
        functions.help.GetTermsOfServiceUpdateRequest,
        functions.auth.SendCodeRequest,
        functions.auth.ResendCodeRequest,
        functions.auth.CancelCodeRequest,
        functions.auth.SignInRequest,
        functions.auth.CheckPasswordRequest,
        functions.auth.ExportLoginTokenRequest,
        functions.account.GetPasswordRequest,
    }
)
