"""Named places in the bot's code at which a bot in a process of its own dies by SIGKILL. The bot knows nothing of them: its functions
are wrapped in the process that is to die."""

from __future__ import annotations

import os
import pkgutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any


@dataclass(frozen=True)
class Point:
    """Before or after the function `name` of `owner`, a module or "module:Class"; `counts` says for which of its calls."""

    when: str
    owner: str
    name: str
    counts: Callable[..., bool] = lambda *_, **__: True


def _is_later_bubble(_: Any, bubble: Any) -> bool:
    return bool(bubble.position > 0)


def _settles(sender: Any) -> bool:
    return any(task.done() for task in sender.running)


def _has_news(_: Any, news: Any, following: Any) -> bool:
    return bool(news.messages or news.edits or news.deleted)


def _lets_go(_: Any, job: Any, prepared: Any, *__: Any, **___: Any) -> bool:
    return bool(prepared.mode == "auto")


def _ends(_: Any, __: Any, told: str, ___: Any) -> bool:
    return told == "ended"


def _sending(way: str) -> dict[str, Point]:
    return {
        "answered, not written": Point("after", way, "send"),
        "in the middle of its bubbles": Point("before", way, "send", _is_later_bubble),
        "answer in an open transaction": Point("after", "bot.sender:Sender", "_arrived"),
        "answer written": Point("after", "bot.sender:Sender", "round", _settles),
        "marked as sending, not requested": Point("before", way, "send"),
    }


INCOMING = {
    "updates polled, not kept": Point("before", "bot.poller", "_keep"),
    "updates in an open transaction": Point("after", "bot.poller", "take_in"),
    "updates kept, not acknowledged": Point("after", "bot.poller", "_keep"),
    "update taken up, not begun": Point("before", "bot.worker", "_begin"),
    "update handled, not finished": Point("after", "aiogram:Dispatcher", "feed_update"),
}
DRAFTING = {
    "draft generated, not in the store": Point("before", "bot.drafter:Drafter", "_propose"),
    "draft in the store, no card": Point("after", "bot.drafter:Drafter", "_propose"),
    "card sent, not noted": Point("after", "bot.desk", "_put"),
    "card noted": Point("after", "bot.desk", "_show"),
}
TELLING = {"told, not noted": Point("before", "twin.store.notices", "mark_told")}  # the point before it leaves a doubt
# In the order in which the tests take them.
BOT = {**INCOMING, **DRAFTING, **_sending("bot.ways.chat:BotWay"), **TELLING}
BUSINESS = {
    **INCOMING,
    **DRAFTING,
    **_sending("bot.ways.business:BusinessWay"),
    **TELLING,
    "let go by itself": Point("after", "bot.drafter:Drafter", "_propose", _lets_go),
    "echo handled, not finished": Point("after", "bot.handlers.business", "_echo"),
    "owner's own words handled, not finished": Point("after", "bot.handlers.business", "_from_owner"),
    "to be taken back, not requested": Point("before", "bot.ways.business:BusinessWay", "delete"),
    "taken back, not written": Point("after", "bot.ways.business:BusinessWay", "delete"),
}
SESSION = {
    "difference read, not applied": Point("before", "bot.live.live:Live", "_apply", _has_news),
    "difference in an open transaction": Point("after", "bot.live.live", "apply"),
    "difference applied": Point("after", "bot.live.live:Live", "_apply", _has_news),
    **DRAFTING,
    **_sending("bot.ways.session:SessionWay"),
    "caught up, not requested": Point("before", "bot.ways.session:SessionWay", "_request"),
}
COLLECTING = {
    "export begun, nothing read": Point("after", "trainer.takeout", "begin"),
    "page read, not in the store": Point("before", "trainer.saving:Saving", "_transaction"),
    "page in an open transaction": Point("after", "trainer.saving", "_save"),
    "page in the store": Point("after", "trainer.saving:Saving", "_transaction"),
    "everything read, the export not ended": Point("before", "trainer.takeout", "finish"),
}
NIGHTS = {
    "run's message sent, not noted": Point("after", "bot.nightwatch", "_say"),
    "run's picture sent, not noted": Point("after", "aiogram:Bot", "send_photo"),
    "run's answers sent, not noted": Point("before", "bot.nightwatch", "_mark", _ends),
}
WAYS = {"nights": NIGHTS, "bot": BOT, "business": BUSINESS, "session": SESSION}


def arm(points: Mapping[str, Point], die_at: str, say: Callable[[str], None]) -> None:
    """This process dies at the point `die_at` ("NAME" or "NAME:TIMES"), when it gets there for the n-th time, and says so before."""
    name, _, times = die_at.partition(":")
    point, left = points[name], int(times or 1)

    def reach() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            say(die_at)
            os.kill(os.getpid(), signal.SIGKILL)

    owner = pkgutil.resolve_name(point.owner)
    function = getattr(owner, point.name)

    @wraps(function)
    async def wrapped(*arguments: Any, **more: Any) -> Any:
        here = point.counts(*arguments, **more)
        if here and point.when == "before":
            reach()
        result = await function(*arguments, **more)
        if here and point.when == "after":
            reach()
        return result

    setattr(owner, point.name, wrapped)
