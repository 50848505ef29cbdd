"""A vLLM server in a process of its own, and what is said to it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from inference.serve import VllmServer, start_server
from inference.vllm import VllmGenerator
from twin.generator import Sampling
from twin.settings import Engine, Settings
from twin.turns import Turn, join_bubbles

KEY = "canary-key-of-the-server"
READY_SECONDS = 240  # it takes 25 on an idle two-core machine
GREEDY = Sampling(temperature=0, max_new_tokens=12)
SYSTEM = Turn("system", "You are Robin, chatting with Kim.")
CONVERSATIONS = [
    (SYSTEM, *turns)
    for turns in (
        (Turn("user", "hey, what are you up to tonight?"),),
        (Turn("user", "can you lend me your bike?"),),
        (Turn("user", "what is the capital of France?"),),
        (Turn("user", "wie geht's dir? 😊 schönes Wochenende!"),),
        (Turn("user", "привет, ты где?"),),
        (Turn("user", "今晚吃什么？🍜"),),
        (Turn("user", join_bubbles(["hi", "are you there??", "a bubble\nof two lines"])),),
        (Turn("user", "how was the exam?"), Turn("assistant", "went ok I think"), Turn("user", "when do you get the result?")),
        (Turn("user", "🎉🎉🎉"), Turn("assistant", join_bubbles(["haha", "thanks!!"])), Turn("user", "so, party on Saturday?")),
        (Turn("assistant", "sorry, just saw this"), Turn("user", "no problem! still up for lunch?")),
        (
            Turn("user", "I lost my keys"),
            Turn("assistant", "oh no, again?"),
            Turn("user", "yes 🙈"),
            Turn("assistant", "try the coat"),
            Turn("user", "found them, you are a genius"),
        ),
        (Turn("user", "x" * 30 + " \\n & <b>markup</b> *stars* `code`"),),
    )
]


@dataclass
class Served:
    """One server at a time on one port."""

    base: Path
    log: Path
    stack: AsyncExitStack
    server: VllmServer | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Settings:
        engine = Engine(kind="vllm", url=self.url, api_key=SecretStr(KEY))
        return Settings(_env_file=None, engine=engine)  # type: ignore[call-arg]

    async def start(self) -> None:
        self.server = await self.stack.enter_async_context(
            start_server(self.settings, self.base, log=self.log, port=self.port, ready_seconds=READY_SECONDS)
        )
        self.port = int(self.server.url.rpartition(":")[2])

    def client(self, seconds: float = 120.0) -> VllmGenerator:
        return VllmGenerator(self.base, url=self.url, served_name="smollm2-135m", api_key=KEY, seconds=seconds, max_prompt_tokens=512)
