"""Methods by which updates leave: getUpdates and webhooks."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from sandbox.botapi.door import Described, Door, Method
from sandbox.botapi.errors import CONFLICT_SET_WEBHOOK, CONFLICT_WEBHOOK, ApiError, bad_request
from sandbox.botapi.params import Params
from sandbox.botapi.webhook import Webhook, check_url, deliver
from sandbox.world import Account

MAX_TIMEOUT_SECONDS = 50


async def get_updates(door: Door, bot: Account, params: Params) -> Any:
    if bot.id in door.webhooks:
        raise ApiError(409, CONFLICT_WEBHOOK)
    inbox = door.inbox(bot.id)
    _read_allowed(door, bot, params)
    limit = params.integer("limit", 100)
    return await inbox.poll(
        offset=params.integer("offset"),
        limit=limit if 1 <= limit <= 100 else 100,
        timeout=min(max(params.integer("timeout"), 0), MAX_TIMEOUT_SECONDS),
    )


def set_webhook(door: Door, bot: Account, params: Params) -> Described:
    if "url" not in params:
        return delete_webhook(door, bot, params)
    url = check_url(params.text("url"))
    secret_token = params.text("secret_token")
    if len(secret_token) > 256 or not all(c.isascii() and (c.isalnum() or c in "_-") for c in secret_token):
        raise bad_request("secret token contains unallowed characters")
    _read_allowed(door, bot, params)
    inbox = door.inbox(bot.id)
    before = door.webhooks.pop(bot.id, None)
    if before is not None:
        before.stop()
    else:
        inbox.end_poll(CONFLICT_SET_WEBHOOK)
    if params.boolean("drop_pending_updates"):
        inbox.drop()
    connections = params.integer("max_connections", 40)
    webhook = Webhook(url, secret_token, connections if 1 <= connections <= 100 else 40)
    courier = deliver(webhook, inbox, partial(door.perform, bot), clock=door.world.clock, retry_seconds=door.webhook_retry_seconds)
    webhook.courier = asyncio.create_task(courier)
    door.webhooks[bot.id] = webhook
    same = before is not None and (before.url, before.secret_token) == (url, secret_token)
    return Described(True, "Webhook is already set" if same else "Webhook was set")


def delete_webhook(door: Door, bot: Account, params: Params) -> Described:
    webhook = door.webhooks.pop(bot.id, None)
    if webhook is not None:
        webhook.stop()
    if params.boolean("drop_pending_updates"):
        door.inbox(bot.id).drop()
    return Described(True, "Webhook was deleted" if webhook else "Webhook is already deleted")


def get_webhook_info(door: Door, bot: Account, params: Params) -> Any:
    inbox = door.inbox(bot.id)
    webhook = door.webhooks.get(bot.id)
    info: dict[str, Any] = {
        "url": webhook.url if webhook else "",
        "has_custom_certificate": False,
        "pending_update_count": len(inbox),
    }
    if webhook is not None:
        info |= {"max_connections": webhook.max_connections, "ip_address": "127.0.0.1"}
        if webhook.last_error is not None:
            info["last_error_date"], info["last_error_message"] = webhook.last_error
    if inbox.allowed is not None:
        info["allowed_updates"] = sorted(inbox.allowed)
    return info


def _read_allowed(door: Door, bot: Account, params: Params) -> None:
    """ "If not specified, the previous setting will be used"; an empty list is the default again."""
    allowed = params.array("allowed_updates")
    if allowed is not None:
        door.inbox(bot.id).allow(str(kind) for kind in allowed)


METHODS: dict[str, Method] = {
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
}
