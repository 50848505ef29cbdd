"""Generation by a vLLM server over its OpenAI-compatible HTTP API, adapters loaded while it runs.

Prompts travel as token ids, so that the server's own chat template plays no part. Errors of the network and of the server
become EngineError or ModelError here; none of them carries a prompt.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import structlog

from inference.adapters import check_adapter
from inference.prompting import fit_prompt, load_tokenizer, stop_token_ids
from inference.proof import prove_effect, prove_likeness, sealed_probes
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.probes import probe_prompts
from twin.renderer import Renderer
from twin.turns import Turn

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
SERVE = "Start it with `twin serve`, or check TWIN_ENGINE__URL."


class VllmGenerator:
    """Any number of replies at a time; the server queues them. Connects at the first use."""

    def __init__(
        self,
        base: Path,
        *,
        url: str,
        served_name: str,
        api_key: str | None = None,
        seconds: float,
        max_prompt_tokens: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base = base
        self._url = url.rstrip("/")
        self._served_name = served_name
        self._seconds = seconds
        self._max_prompt_tokens = max_prompt_tokens
        self._tokens: _Tokens | None = None
        self._adapter: ActiveAdapter | None = None
        self._loading = asyncio.Lock()
        self._switch = asyncio.Lock()
        self._in_flight: Counter[str] = Counter()
        self._landed = asyncio.Condition()
        self._leaving: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            transport=transport,
            trust_env=False,  # a proxy of the environment must not read prompts
        )

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        tokens = await self._loaded_tokens()
        prompt = await asyncio.to_thread(fit_prompt, tokens.renderer, turns, self._max_prompt_tokens)
        drawn = _drawn(sampling) | {"stop_token_ids": tokens.stop}
        adapter = self._adapter
        response = await self._complete(adapter, prompt, drawn)
        if response.status_code == httpx.codes.NOT_FOUND and adapter:  # the server was restarted, or the adapter replaced
            adapter = await self._load_again(adapter)
            response = await self._complete(adapter, prompt, drawn)
        answer = await self._answer(response)
        with self._reading():
            choice = answer["choices"][0]
            token_ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        return Generated(
            text=tokens.renderer.text(token_ids),
            tokens=len(token_ids),
            mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
            adapter=adapter.name if adapter else None,
        )

    async def use(self, adapter: ActiveAdapter | None) -> None:
        """Answers in flight end on the former adapter, which is unloaded after the last of them."""
        async with self._switch:
            former = self._adapter
            if adapter and adapter == former:
                if (await self._served()).get(adapter.name) != str(adapter.path.resolve()):
                    await self._load(adapter)
                    log.info("adapter.loaded_again", adapter=adapter.name)
                return
            if adapter:
                await self._load(adapter)
            self._adapter = adapter
            if former and (adapter is None or former.name != adapter.name):
                leaving = asyncio.create_task(self._let_go(former))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def prove(self, adapter: ActiveAdapter) -> None:
        """Load the adapter and prove it, and go on answering with what answers now. Raises ModelError or EngineError."""
        async with self._switch:
            await self._load(adapter)

    async def let_go_of_former(self) -> None:
        """Wait until every adapter that was replaced has answered its last and is unloaded."""
        await asyncio.gather(*self._leaving)

    async def close(self) -> None:
        for leaving in tuple(self._leaving):
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._client.aclose()

    # --- adapters -----------------------------------------------------------------------------------------------------

    async def _let_go(self, former: ActiveAdapter) -> None:
        async with self._landed:
            await self._landed.wait_for(lambda: not self._in_flight[former.name])
        async with self._switch:
            if self._adapter and self._adapter.name == former.name:  # it was called back meanwhile
                return
            try:
                await self._unload(former.name)
            except EngineError as exc:  # it costs memory on the server, nothing else
                log.warning("adapter.unload_failed", adapter=former.name, kind=exc.kind)

    async def _load_again(self, missing: ActiveAdapter) -> ActiveAdapter | None:
        async with self._switch:
            if self._adapter == missing:
                await self._load(missing)
                log.info("adapter.loaded_again", adapter=missing.name)
            return self._adapter

    async def _load(self, adapter: ActiveAdapter) -> None:
        """Load and prove that it acts; unload it again if it does not."""
        await asyncio.to_thread(check_adapter, adapter, self._base)
        await self._loaded_tokens()
        body = {"lora_name": adapter.name, "lora_path": str(adapter.path.resolve())}
        response = await self._post("/v1/load_lora_adapter", body)
        if response.status_code == httpx.codes.BAD_REQUEST and "already been loaded" in response.text:
            # by an earlier process of ours, or under the same name from another data folder
            if (await self._served()).get(adapter.name) != body["lora_path"]:
                await self._unload(adapter.name)
                response = await self._post("/v1/load_lora_adapter", body)
            else:
                response = httpx.Response(httpx.codes.OK)
        if response.status_code != httpx.codes.OK:
            raise self._load_refusal(adapter, response)
        try:
            await self._require_proof(adapter)
        except ModelError:
            await self._unload(adapter.name)
            raise

    async def _require_proof(self, adapter: ActiveAdapter) -> None:
        sealed = await asyncio.to_thread(sealed_probes, adapter)
        if sealed:
            await prove_likeness(adapter.name, self._served_name, sealed, self._probe)
        else:
            log.warning("adapter.proven_by_effect_alone", adapter=adapter.name)  # it was sealed before there were scores
            prompts = await asyncio.to_thread(probe_prompts, (await self._loaded_tokens()).renderer)
            await prove_effect(adapter.name, self._served_name, prompts, self._probe)

    def _load_refusal(self, adapter: ActiveAdapter, response: httpx.Response) -> ModelError | EngineError:
        message = _message(response)
        if "lora rank" in message.lower():
            return ModelError(
                f"The vLLM server refuses adapter {adapter.name}: {message}",
                mend="Start `twin serve` again: it takes the rank from TWIN_TRAINING__R.",
            )
        if response.status_code == httpx.codes.NOT_FOUND and message == "Not Found":
            return EngineError(
                "The vLLM server does not load adapters while it runs.", kind="refused", mend="Start it with `twin serve`, which allows it."
            )
        refusal = self._refusal(response)
        if refusal.kind == "unreachable" or response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return refusal
        return ModelError(f"The vLLM server refuses adapter {adapter.name}: {message}", mend="The former adapter stays.")

    async def _unload(self, name: str) -> None:
        response = await self._post("/v1/unload_lora_adapter", {"lora_name": name})
        if response.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):  # not found: restarted since
            raise self._refusal(response)

    async def _probe(self, model: str, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities of each prompt's own tokens but the first, generating one token that nobody reads."""
        found = []
        for ids in prompts:
            body = {"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            answer = await self._answer(await self._post("/v1/completions", body))
            with self._reading():
                scores = answer["choices"][0]["prompt_logprobs"]  # None for the first token, then {token id: {"logprob": ...}, ...}
                found.append([float(score[str(token)]["logprob"]) for token, score in zip(ids[1:], scores[1:], strict=True)])
        return found

    async def _served(self) -> dict[str, str]:
        """What the server has, name to path."""
        try:
            response = await self._client.get("/v1/models")
        except httpx.HTTPError as exc:
            raise self._failure(exc) from exc
        answer = await self._answer(response)
        with self._reading():
            return {card["id"]: card["root"] for card in answer["data"]}

    # --- the border ---------------------------------------------------------------------------------------------------

    async def _complete(self, adapter: ActiveAdapter | None, prompt: list[int], how: dict[str, Any]) -> httpx.Response:
        name = adapter.name if adapter else self._served_name
        self._in_flight[name] += 1
        try:
            return await self._post("/v1/completions", {"model": name, "prompt": prompt, "logprobs": 0, "return_token_ids": True, **how})
        finally:
            async with self._landed:
                self._in_flight[name] -= 1
                self._landed.notify_all()

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            async with asyncio.timeout(self._seconds):  # httpx's own limit counts between two bytes, not in all
                return await self._client.post(path, json=body)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc: httpx.HTTPError | TimeoutError) -> EngineError:
        if isinstance(exc, (TimeoutError, httpx.TimeoutException)) and not isinstance(exc, httpx.ConnectTimeout):
            return EngineError(
                f"The vLLM server at {self._url} gave no answer within {self._seconds:g} seconds.",
                kind="slow",
                mend="Raise TWIN_ENGINE__SECONDS or look at the server's load.",
            )
        return EngineError(f"The vLLM server at {self._url} cannot be reached.", kind="unreachable", mend=SERVE)

    async def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code == httpx.codes.NOT_FOUND and "does not exist" in response.text:
            served = ", ".join(sorted(await self._served())) or "nothing"
            raise EngineError(
                f"The vLLM server at {self._url} serves {served}, not {self._served_name}.",
                kind="refused",
                mend="Check TWIN_MODEL__BASE and TWIN_ENGINE__URL.",
            )
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)
        with self._reading():
            return dict(response.json())

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever of the answer is not as vLLM writes it becomes one error."""
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
            raise EngineError(
                f"What answers at {self._url} is not a vLLM server of version 0.32 or later.", kind="refused", mend=SERVE
            ) from exc

    def _refusal(self, response: httpx.Response) -> EngineError:
        status = response.status_code
        if status in (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT):
            return EngineError(f"The vLLM server at {self._url} is not up (HTTP {status}).", kind="unreachable", mend=SERVE)
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return EngineError(f"The vLLM server at {self._url} wants another key.", kind="refused", mend="Check TWIN_ENGINE__API_KEY.")
        return EngineError(f"The vLLM server refused: {_message(response)} (HTTP {status})", kind="refused", mend="Its log says more.")

    async def _loaded_tokens(self) -> _Tokens:
        async with self._loading:  # two threads that import transformers at a time each find half of it
            if self._tokens is None:
                self._tokens = await asyncio.to_thread(_Tokens, self._base)
            return self._tokens


class _Tokens:
    def __init__(self, base: Path) -> None:
        self.tokenizer = load_tokenizer(base)
        self.renderer = Renderer(self.tokenizer)
        self.stop = stop_token_ids(base, self.renderer)


def _drawn(sampling: Sampling) -> dict[str, Any]:
    """Every sampling parameter that a server could have another default for."""
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": sampling.seed,
    }


def _message(response: httpx.Response) -> str:
    """The server's own words, one short line. What it echoes of the request (its input, token ids) is cut out."""
    try:
        body = response.json()
        error = body.get("error", body)
        words = str(error.get("message") or error.get("detail") or response.reason_phrase)
    except (ValueError, AttributeError):
        words = response.reason_phrase
    if inner := re.search(r"failed with error '(.+?)', please check", words):  # a worker's error, wrapped twice by the engine
        words = inner.group(1)
    words = re.split(r"['\"]?\binput(?:_value)?['\"]?\s*[:=]", words)[0]
    words = re.sub(r"\[\s*\d+(?:\s*,\s*\d+)*[\s,.]*\]?", "[…]", words)
    line = " ".join(words.split())
    return line if len(line) <= 160 else f"{line[:159]}…"
