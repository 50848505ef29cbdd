"""`twin demo`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.panel import Panel
from rich.text import Text

from twin.cli import children, stages
from twin.cli.commands.evaluate import figures_table
from twin.cli.demo import sandbox as sandboxes
from twin.cli.demo import story
from twin.cli.demo.own_chats import OwnChats
from twin.cli.demo.setting import ended_at, isolate, prepare_folder, settings_for
from twin.cli.demo.steps import Steps
from twin.cli.folder import training, transact, utc_now
from twin.cli.guard import guarded
from twin.cli.terminal import Debug, Json, Screen, duration
from twin.errors import TwinError
from twin.settings import Settings
from twin.store import adapters, dialogs

app = typer.Typer(add_completion=False)

CONSENT = "sample world"  # the words that are kept: people who gave their chats to a public data set
VLLM_SECONDS = 600.0
BOT_SECONDS = 120.0
# Comparing two models on one reply takes as long as training on so many tokens (measured); loading them takes its time besides.
COMPARE_TOKENS, COMPARE_SECONDS, LOAD_SECONDS = 750.0, 150.0, 15.0
FEWEST_ITEMS, MOST_ITEMS = 30, 100


@app.command()
@guarded
def demo(
    script: Annotated[bool, typer.Option("--script", help="No hands and no browser: play the story, print it as JSON, end.")] = False,
    owner: Annotated[int, typer.Option("--owner", min=1, metavar="N", help="The N-th most active person of the sample chats.")] = 1,
    engine: Annotated[Literal["local", "vllm"], typer.Option("--engine", help="What generates: in-process, or a vLLM server.")] = "local",
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="Training budget.")] = 4.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; else what an earlier demo sealed is used again.")] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page, where there is a desktop.")] = True,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the page; 0: a free one.")] = 0,
    world: Annotated[str, typer.Option("--world", help="What the sandbox loads.", hidden=True)] = "chitchat",
    items: Annotated[int | None, typer.Option("--items", min=5, help="Held-out replies of the comparison.", hidden=True)] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where all is left. [dim](a folder in ~/.cache)[/dim]", show_default=False),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the whole of it on this machine, with no account.

    A Telegram on loopback with real human chats; the twin of one person is trained on them, and the page shows two phones: write on
    the contact's, approve on the owner's. Ctrl-C stops everything.
    """
    screen = Screen(as_json=as_json)
    folder = prepare_folder(data, owner=owner, world=world, fresh=fresh)
    isolate(folder)
    with ExitStack() as started:
        play = Demo(screen, started, folder, engine=engine, minutes=minutes, items=items)
        play.prepare(owner, world, port)
        if script:
            document = play.script(owner)
            screen.as_json = True
            screen.result(document)
            if not document["ok"]:
                raise typer.Exit(1)
        else:
            play.show(browser)


def _comparable(speed: float) -> int:
    """How many replies are compared: as many as COMPARE_SECONDS allow on a machine that trains on `speed` tokens a second."""
    return max(FEWEST_ITEMS, min(MOST_ITEMS, round(COMPARE_SECONDS * speed / COMPARE_TOKENS)))


class Demo:
    """One demo. Whatever it starts is put on `started`, which stops it."""

    def __init__(self, screen: Screen, started: ExitStack, folder: Path, *, engine: str, minutes: float, items: int | None) -> None:
        self.screen = screen
        self.folder = folder
        self.engine = engine
        self.minutes = minutes
        self.items = items
        self.document: dict[str, Any] = {}
        self.watched: list[tuple[children.Child, str]] = []
        started.callback(lambda: children.stop(*(child for child, _ in self.watched)))
        models = Path(os.environ["TWIN_MODELS"])
        known = any(models.glob("*/manifest.json"))
        trained = any((folder / "adapters").glob("*/manifest.json"))
        plan = {
            "sandbox": ("Starting a Telegram on this machine", 4.0),
            "collect": ("Collecting the owner's chats, over MTProto with Telethon", 20.0),
            "model": ("Preparing the base model", 1.0 if known else 25.0),
            "dataset": ("Building the dataset", 15.0),
            "train": ("Training the adapter", 5.0 if trained else minutes * 60 + 20),
            "evaluate": (
                "Comparing it with the base model, on messages neither has seen",
                5.0 if trained else LOAD_SECONDS + COMPARE_SECONDS,
            ),
            **({"vllm": ("Starting the vLLM server", 60.0)} if engine == "vllm" else {}),
            "bot": ("Starting the bot", 10.0),
        }
        self.steps = Steps(screen, plan)

    def prepare(self, owner: int, world: str, port: int) -> None:
        """Everything up to a bot that answers."""
        screen, steps = self.screen, self.steps
        with steps.step("sandbox"):
            self.sandbox = sandboxes.start(owner, world=world, folder=self.folder, port=port, ended_at=ended_at(self.folder))
            self.watched.append((self.sandbox.child, "The sandbox"))
        with steps.step("collect") as progress:
            self._sign_in()
            collected = stages.collect(self.settings, progress)
            consented = transact(self.settings, _consent)
        screen.say(_found(f"{collected.new_messages:,} messages of {consented} contacts, whose consent is recorded ({CONSENT})"))
        with steps.step("model") as progress:
            base = stages.prepare_base_apart(self.settings, progress)
        with steps.step("dataset") as progress:
            report = stages.build(self.settings, base, progress)
        learned = f"{report.examples['train']:,} examples, {report.tokens:,} tokens; {report.targets['holdout']:,} replies held out"
        screen.say(_found(learned + (" (built before)" if report.reused else "")))
        is_known = any((self.folder / "adapters").glob("*/manifest.json"))
        with training(self.settings, "train") as run:
            run.stage("train")
            with steps.step("train") as progress:
                adapter = stages.train(self.settings, report.path, base, None, on_event=stages.into(progress, screen))
            speed = stages.read_adapter(adapter.path)["metrics"]["tokens_per_second"]
            items = self.items or _comparable(speed)
            if not is_known:
                steps.expect("evaluate", LOAD_SECONDS + items * COMPARE_TOKENS / speed)
            run.stage("evaluate")
            with steps.step("evaluate") as progress:
                figures = stages.evaluate(self.settings, report.path, base, [adapter], progress, items=items)
            screen.say(figures_table(figures, {adapter.name: "the adapter"}))
            transact(self.settings, lambda connection: adapters.promote(connection, adapter.name, utc_now()))
        if self.engine == "vllm":
            with steps.step("vllm"):
                self._start_server()
        with steps.step("bot"):
            story.greet(self.sandbox)
            self._start("run", "The bot", BOT_SECONDS)
            story.wait_for_greeting(self.sandbox)
        self.document = {
            "messages": collected.new_messages,
            "examples": report.examples["train"],
            "tokens": report.tokens,
            "train_seconds": stages.read_adapter(adapter.path)["metrics"]["seconds"],
            "holdout": {"base": stages.numbers(figures["base"]), "adapter": stages.numbers(figures[adapter.name])},
        }

    def script(self, owner: int) -> dict[str, Any]:
        """Play the story; the JSON document of `--script`."""
        began_at = time.monotonic()
        self.screen.say(Text.assemble(("Playing the story", "bold"), f": “{story.OPENING}”"))
        told = story.tell(self.sandbox, self.settings)
        self.screen.say(Text.assemble(("Going on in the owner's own chats", "bold"), ": approve, auto and undo, takeover"))
        chats = OwnChats(self.sandbox, self.settings).play()
        took = [*self.steps.took, {"name": "story", "seconds": round(time.monotonic() - began_at, 1)}]
        return {
            "owner": owner,
            "engine": self.engine,
            **self.document,
            "drafts": told.drafts,
            "sent": told.sent,
            "own_chats": chats,
            "steps": took,
            "data": str(self.folder),
            "ok": told.ok and chats["approve"] and chats["takeover"],
        }

    def show(self, browser: bool) -> None:
        """Leave it to the person who watches, until Ctrl-C or until something dies."""
        lines = Text.assemble(
            ("Two phones: ", "bold"),
            (self.sandbox.page, "bold cyan underline"),
            f"\n\nOn the contact's phone write “{story.OPENING}”. On the owner's, a draft card comes: press Send.",
            "\nThen connect the bot to the owner's account (⋮ on the owner's phone), write to the owner himself, and try /mode, "
            "Auto from now on, Undo, and answering by hand.",
            f"\n\nReady after {duration(sum(float(str(step['seconds'])) for step in self.steps.took))}. ",
            f"Everything is in {self.folder}: there, `twin adapters` and `twin chat` work as well.\nCtrl-C stops it all.",
        )
        self.screen.say(Panel(lines, expand=False, border_style="cyan"))
        self.screen.result({"page": self.sandbox.page, **self.document, "steps": self.steps.took, "data": str(self.folder)})
        if browser and has_desktop():
            webbrowser.open(self.sandbox.page)
        while True:
            for child, name in self.watched:
                if child.poll() is not None:
                    raise TwinError(f"{name} has ended (exit code {child.returncode}).", mend=f"{self.folder / 'logs'} says why.")
            time.sleep(0.5)

    def _sign_in(self) -> None:
        from trainer.session import sign_in

        sandbox = self.sandbox
        unnamed = self._settings_for("the owner")

        async def ask_code(_: str) -> str:
            return await asyncio.to_thread(sandbox.login_code, sandbox.owner_phone)

        async def ask_password(_: str) -> str:
            raise TwinError("The sample owner's account wants a password.")

        me = asyncio.run(sign_in(unnamed, ask_code=ask_code, ask_password=ask_password))
        self.settings = self._settings_for(me.name)

    def _settings_for(self, owner_name: str, engine_url: str | None = None) -> Settings:
        return settings_for(
            self.sandbox, self.folder, engine=self.engine, minutes=self.minutes, owner_name=owner_name, engine_url=engine_url
        )

    def _start_server(self) -> None:
        found = self._start("serve", "The vLLM server", VLLM_SECONDS, "--port", 0)
        self.settings = self._settings_for(self.settings.owner.name, found["url"])

    def _start(self, command: str, name: str, seconds: float, *more: object) -> dict[str, Any]:
        """Start one of our own commands as a child and wait until it is ready."""
        ready_file, log = self.folder / f"{command}.json", self.folder / "logs" / f"{command}.log"
        ready_file.unlink(missing_ok=True)
        child = children.start(children.python("twin", command, "--json", "--ready-file", ready_file, *more), log=log, cwd=self.folder)
        self.watched.append((child, name))
        return children.wait_until_ready(child, ready_file, seconds=seconds, name=name, log=log)


async def _consent(connection: Any) -> int:
    known = await dialogs.find(connection)
    for dialog in known:
        await dialogs.record_consent(connection, dialog.dialog_id, "given", utc_now(), CONSENT)
    return len(known)


def _found(words: str) -> Text:
    return Text(f"    {words}", style="dim")


def has_desktop() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
