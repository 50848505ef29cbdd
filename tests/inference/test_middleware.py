"""Who is let in to the vLLM server. The application behind the middleware answers everything; the real one is in test_vllm_adapters."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse

from inference.middleware import REQUESTS, OnlyWithKey

BEARER = {"Authorization": "Bearer k-1"}


@pytest.fixture
def middleware(monkeypatch: pytest.MonkeyPatch) -> OnlyWithKey:
    monkeypatch.setenv("VLLM_API_KEY", "k-1")
    return OnlyWithKey(PlainTextResponse("let in"))


async def status(middleware: OnlyWithKey, method: str, path: str, headers: dict[str, str], host: str = "127.0.0.1:8000") -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url=f"http://{host}") as client:
        return (await client.request(method, path, headers=headers)).status_code


@pytest.mark.parametrize(("method", "path"), sorted(REQUESTS))
async def test_the_key_opens_what_the_twin_asks_for(middleware: OnlyWithKey, method: str, path: str) -> None:
    assert await status(middleware, method, path, BEARER) == 200
    assert await status(middleware, method, path, {}) == 401
    assert await status(middleware, method, path, BEARER, host="page.example:8000") == 400


@pytest.mark.parametrize("shown", ["", "k-1", "Bearer", "Bearer ", "Bearer k-2", "Basic k-1", "Bearer k-1, Bearer k-1"])
async def test_what_is_not_exactly_the_key_is_refused(middleware: OnlyWithKey, shown: str) -> None:
    assert await status(middleware, "GET", "/health", {"Authorization": shown}) == 401


@pytest.mark.parametrize(
    "path", ["/invocations", "/collective_rpc", "/openapi.json", "/metrics", "/v1/completions/", "/v1/chat/completions"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_the_key_opens_nothing_else(middleware: OnlyWithKey, method: str, path: str) -> None:
    assert await status(middleware, method, path, BEARER) == 404


@pytest.mark.parametrize("host", ["page.example", "127.0.0.1.page.example", "localhost.page.example", "169.254.0.1", "0.0.0.0"])
async def test_a_web_page_under_another_name_is_refused_before_its_key_is_looked_at(middleware: OnlyWithKey, host: str) -> None:
    assert await status(middleware, "GET", "/health", BEARER, host=host) == 400


async def test_a_websocket_is_closed(middleware: OnlyWithKey) -> None:
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await middleware({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_without_a_key_there_is_no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(ValueError, match="VLLM_API_KEY is not set"):
        OnlyWithKey(PlainTextResponse("let in"))
