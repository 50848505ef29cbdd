"""The account's own affairs: takeout, online status, configuration."""

from __future__ import annotations

import inspect
import secrets
from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.mtproto.session import DC_ID
from sandbox.world import MAX_TEXT

COUNTRY = "ZZ"  # ISO 3166's code for nowhere
# Limits and periods of help.getConfig that no client here depends on.
CONFIG_NUMBERS = {
    name: 1000
    for name, parameter in inspect.signature(types.Config.__init__).parameters.items()
    if parameter.default is parameter.empty and name.endswith(("_ms", "_max", "_limit", "_decay", "_period", "webfile_dc_id"))
}


def get_config(call: Call, _request: Any) -> Any:
    """Names only this server, so that no client is ever sent elsewhere."""
    now = call.server.now()
    numbers = CONFIG_NUMBERS | {"message_length_max": MAX_TEXT, "caption_length_max": 1024}
    here = types.DcOption(DC_ID, "127.0.0.1", call.server.port, static=True)
    return types.Config(
        date=now,
        expires=now + 3600,
        test_mode=False,
        this_dc=DC_ID,
        dc_options=[here],
        dc_txt_domain_name="",
        me_url_prefix="",
        **numbers,
    )


def get_nearest_dc(_call: Call, _request: Any) -> Any:
    return types.NearestDc(COUNTRY, DC_ID, DC_ID)


def get_app_config(_call: Call, _request: Any) -> Any:
    return types.help.AppConfig(0, types.JsonObject([]))


def get_terms_update(call: Call, _request: Any) -> Any:
    return types.help.TermsOfServiceUpdateEmpty(call.server.now() + 3600)


def update_status(_call: Call, _request: Any) -> bool:
    return True


def init_takeout(call: Call, _request: Any) -> Any:
    """A fault `("InitTakeoutSession", "error", [420, "TAKEOUT_INIT_DELAY_86400"])` makes the client wait, as the first time does."""
    call.session.key.takeout_id = secrets.randbits(62)
    return types.account.Takeout(call.session.key.takeout_id)


def finish_takeout(call: Call, _request: Any) -> bool:
    if call.takeout_id is None:
        raise RpcError(403, "TAKEOUT_REQUIRED")
    call.session.key.takeout_id = None
    return True


METHODS: dict[type, Handler] = {
    functions.help.GetConfigRequest: get_config,
    functions.help.GetNearestDcRequest: get_nearest_dc,
    functions.help.GetAppConfigRequest: get_app_config,
    functions.help.GetTermsOfServiceUpdateRequest: get_terms_update,
    functions.account.UpdateStatusRequest: update_status,
    functions.account.InitTakeoutSessionRequest: init_takeout,
    functions.account.FinishTakeoutSessionRequest: finish_takeout,
}
