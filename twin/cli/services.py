"""Asking the real services who they are: the Bot API, the owner's session, the vLLM server."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from twin.errors import EngineError, SessionError, SettingsError, TelegramError
from twin.settings import Settings

SECONDS = 15.0
# What a vLLM server may answer, with a GET: where a path only takes a POST that is 405, and nothing is done.
TRIED = (
    *("/v1/models", "/v1/completions", "/v1/load_lora_adapter", "/invocations", "/generative_scoring", "/tokenize", "/metrics"),
    *("/openapi.json", "/sleep", "/is_sleeping", "/collective_rpc", "/server_info"),
)
CLOSED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND})


@dataclass(frozen=True)
class BotAccount:
    id: int
    username: str


async def who_is_bot(settings: Settings) -> BotAccount:
    """getMe. Raises SettingsError for a token that is missing or refused, TelegramError if nothing answers."""
    if settings.bot.token is None:
        raise SettingsError("TWIN_BOT__TOKEN is not set.", mend="@BotFather gives you one; `twin init` writes it down.")
    # The token is part of the address: no error of httpx may pass on, because it quotes the address.
    url = f"{settings.bot.api_url.rstrip('/')}/bot{settings.bot.token.get_secret_value()}/getMe"
    try:
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            response = await client.get(url)
        answer = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
        what = f"The Bot API at {settings.bot.api_url} does not answer ({type(exc).__name__})."
        raise TelegramError(what, mend="Check the network and TWIN_BOT__API_URL.") from None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND) or not answer.get("ok"):
        raise SettingsError("Telegram does not know this bot token.", mend="Copy it again from @BotFather (TWIN_BOT__TOKEN).")
    return BotAccount(answer["result"]["id"], answer["result"].get("username", ""))


async def who_is_signed_in(settings: Settings) -> int:
    """The account id of the kept session. Raises SessionError, SettingsError or TelegramError."""
    from trainer.session import connected

    async with connected(settings) as client:
        me = await client.get_me()
    if me is None:
        raise SessionError("Telegram has ended the session.", mend="Sign in again with `twin init`.")
    return int(me.id)


async def served_models(settings: Settings) -> list[str]:
    """What the vLLM server serves. Raises EngineError."""
    engine = settings.engine
    try:
        async with httpx.AsyncClient(timeout=SECONDS, trust_env=False, headers=_with_key(settings)) as client:
            response = await client.get(f"{engine.url.rstrip('/')}/v1/models")
            response.raise_for_status()
            return [card["id"] for card in response.json()["data"]]
    except httpx.HTTPStatusError as exc:
        what = f"The vLLM server at {engine.url} refuses (HTTP {exc.response.status_code})."
        raise EngineError(what, kind="refused", mend="Check TWIN_ENGINE__API_KEY.") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as exc:
        raise EngineError(
            f"No vLLM server answers at {engine.url} ({type(exc).__name__}).", kind="unreachable", mend="Start it with `twin serve`."
        ) from None


async def open_paths(settings: Settings) -> list[str]:
    """What the vLLM server answers without the key, or with it to a web page under a name of its own. Raises EngineError."""
    url = settings.engine.url.rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
            found = [path for path in TRIED if (await client.get(f"{url}{path}")).status_code not in CLOSED]
            renamed = await client.get(f"{url}/v1/models", headers=_with_key(settings) | {"Host": "page.invalid"})
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise EngineError(f"No vLLM server answers at {url} ({type(exc).__name__}).", kind="unreachable") from None
    return [*found, *(["/v1/models under another host's name"] if renamed.is_success else [])]


def _with_key(settings: Settings) -> dict[str, str]:
    key = settings.engine.api_key
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
