"""Groups and channels: the bot leaves whatever it is added to."""

from __future__ import annotations

import structlog
from aiogram import Bot, F, Router
from aiogram.enums import ChatMemberStatus
from aiogram.types import ChatMemberUpdated

from bot.telegram import quietly

log = structlog.get_logger()
INSIDE = {ChatMemberStatus.MEMBER, ChatMemberStatus.ADMINISTRATOR, ChatMemberStatus.RESTRICTED}


async def on_added(event: ChatMemberUpdated, bot: Bot) -> None:
    left = await quietly(bot.leave_chat(event.chat.id), "group.not_left", chat_id=event.chat.id)
    log.info("group.left", chat_id=event.chat.id, left=left)


def setup() -> Router:
    router = Router(name="groups")
    router.my_chat_member.register(on_added, F.chat.type != "private", F.new_chat_member.status.in_(INSIDE))
    return router
