"""Pressing inline buttons: messages.getBotCallbackAnswer waits until the bot has answered."""

from __future__ import annotations

import asyncio
from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto import peers
from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.world import Event, PressAnswered

ANSWER_SECONDS = 10.0  # Telegram gives up about then


async def press(call: Call, request: Any) -> Any:
    chat_id = peers.resolve(call, request.peer)
    message = call.world.in_box(peers.box_of(call.world, call.account.id, chat_id), request.msg_id)
    if message is None:
        raise RpcError(400, "MESSAGE_ID_INVALID")
    answered: asyncio.Future[PressAnswered] = asyncio.get_running_loop().create_future()
    early: list[PressAnswered] = []  # a bot in this process may answer before the press returns
    pressed_id: str | None = None

    def listen(event: Event) -> None:
        if not isinstance(event, PressAnswered) or answered.done():
            return
        if pressed_id is None:
            early.append(event)
        elif event.press.id == pressed_id:
            answered.set_result(event)

    stop = call.world.subscribe(listen)
    try:
        pressed_id = call.world.press(call.account.id, message, request.data.decode()).id
        for event in early:
            listen(event)
        answer = await asyncio.wait_for(answered, ANSWER_SECONDS)
    except TimeoutError:
        raise RpcError(400, "BOT_RESPONSE_TIMEOUT") from None
    finally:
        stop()
    return types.messages.BotCallbackAnswer(0, alert=answer.alert or None, message=answer.text or None)


METHODS: dict[type, Handler] = {functions.messages.GetBotCallbackAnswerRequest: press}
