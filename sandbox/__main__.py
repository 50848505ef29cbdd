"""`python -m sandbox`: one world, three doors on 127.0.0.1, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.faults import Faults
from sandbox.samples import BOT_ID, BOT_TOKEN, Sample, WorldFileError, add_bot, dump_world, load_chitchat, load_world, small_world
from sandbox.world import World

PARENT_LOOK_SECONDS = 0.25


class CannotStart(Exception):
    """The sandbox cannot be started as asked. Its text is a sentence for the terminal."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A Telegram on this machine: the Bot API over HTTP, MTProto over TCP and a web page with two phones, "
        "all on one world of accounts and chats. It listens on 127.0.0.1 only and reaches nothing outside.",
    )
    parser.add_argument("--world", default="chitchat", help="chitchat (real human chats), small, or a world file (default: %(default)s)")
    parser.add_argument("--owner", type=int, metavar="N", help="in chitchat, the N-th most active person is the owner (default: 1)")
    parser.add_argument(
        "--ended-at", type=int, metavar="SECONDS", help="unix time of the last message, in chitchat and small (default: an hour ago)"
    )
    for door, what in (("page", "web page"), ("bot", "Bot API"), ("mtproto", "MTProto door")):
        parser.add_argument(f"--port-{door}", type=_port, default=0, metavar="PORT", help=f"of the {what} (default: a free one)")
    parser.add_argument("--token", type=_token, help=f"the bot's token, id:secret (default: {BOT_TOKEN})")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="write addresses and ids there as JSON once all doors are open")
    parser.add_argument("--print-ready", action="store_true", help="print the same JSON in one line on stdout")
    parser.add_argument("--save", type=Path, metavar="PATH", help="at the end write the world there, as a world file")
    parser.add_argument("--with-parent", action="store_true", help="stop when the process that started this one ends")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    parent = os.getppid()
    options = parse(arguments)
    try:
        return asyncio.run(run(options, parent))
    except CannotStart as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    except KeyboardInterrupt:  # while the world was loading
        return 130


async def run(options: argparse.Namespace, parent: int) -> int:
    from sandbox.botapi import BotApi
    from sandbox.mtproto import MtprotoServer
    from sandbox.page import PageServer

    if options.ready_file:
        options.ready_file.unlink(missing_ok=True)  # one of an earlier run would send its reader to closed doors
    world, faults = World(), Faults()
    sample = fill(world, options)
    bot_api, mtproto = BotApi(world, faults), MtprotoServer(world, faults)

    def login_code(phone: str) -> str | None:
        try:
            return mtproto.login_code(phone)
        except KeyError:
            return None

    page = PageServer(world, faults, sample.owner_id, login_code=login_code)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with AsyncExitStack() as doors:
        for name, door, port in (
            ("--port-bot", bot_api, options.port_bot),
            ("--port-mtproto", mtproto, options.port_mtproto),
            ("--port-page", page, options.port_page),
        ):
            try:
                await door.start(port)
            except OSError as error:
                raise CannotStart(f"{name} {port}: {error.strerror or error}") from None
            doors.push_async_callback(door.stop)
        announce(options, ready(world, sample, page.base_url, bot_api.base_url, mtproto.port, mtproto.public_key_pem))
        await until_the_end(ended, parent if options.with_parent else None)
    if options.ready_file:
        options.ready_file.unlink(missing_ok=True)
    if options.save:
        dump_world(world, options.save, owner_id=sample.owner_id)
    return 0


def fill(world: World, options: argparse.Namespace) -> Sample:
    """Load the world that was asked for and see to it that it has the bot that was asked for."""
    if options.owner is not None and options.world != "chitchat":
        raise CannotStart("--owner goes with --world chitchat; another world names its owner itself.")
    began = time.monotonic()
    try:
        if options.world == "chitchat":
            sample = load_chitchat(world, options.owner or 1, bot=False, ended_at=options.ended_at)
        elif options.world == "small":
            sample = small_world(world, ended_at=options.ended_at)
        else:
            sample = load_world(world, Path(options.world))
    except (WorldFileError, ValueError) as error:
        raise CannotStart(str(error)) from None
    except ModuleNotFoundError:
        raise CannotStart("The sample chats are not installed: pip install chitchat-dataset, or take --world small.") from None
    sys.stderr.write(f"sandbox: {sample.messages} messages of {len(sample.contact_ids)} contacts, {time.monotonic() - began:.1f} s\n")
    return with_bot(world, sample, options.token)


def with_bot(world: World, sample: Sample, token: str | None) -> Sample:
    bot_id = int((token or BOT_TOKEN).partition(":")[0])
    bot = world.accounts[sample.bot_id] if sample.bot_id is not None else None
    if bot is None:
        if bot_id in world.accounts:
            raise CannotStart(f"The id {bot_id} of the token belongs to a person of this world.")
        bot = add_bot(world, bot_id=bot_id, token=token)
    elif token is not None:
        if bot.id != bot_id:
            raise CannotStart(f"The bot of this world has the id {bot.id}, so its token has to begin with {bot.id}:")
        bot.token = token
    elif bot.token is None:
        bot.token = f"{bot.id}:{BOT_TOKEN.removeprefix(f'{BOT_ID}:')}"
    return replace(sample, bot_id=bot.id, bot_token=bot.token)


def ready(world: World, sample: Sample, page: str, bot_api: str, mtproto_port: int, public_key_pem: str) -> dict[str, Any]:
    """What a starter has to know, and what `--ready-file` holds."""
    return {
        "pid": os.getpid(),
        "page": page,
        "bot_api": bot_api,
        "bot_id": sample.bot_id,
        "bot_token": sample.bot_token,
        "mtproto": {"host": "127.0.0.1", "port": mtproto_port, "public_key_pem": public_key_pem},
        "owner_id": sample.owner_id,
        "owner_phone": world.accounts[sample.owner_id].phone,
        "contact_ids": list(sample.contact_ids),
        "messages": sample.messages,
    }


def announce(options: argparse.Namespace, addresses: dict[str, Any]) -> None:
    if options.ready_file:
        write_whole(options.ready_file, json.dumps(addresses, indent=1))
    if options.print_ready:
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
    sys.stderr.write(
        f"\n  Two phones  {addresses['page']}\n  Bot API     {addresses['bot_api']}\n"
        f"  MTProto     127.0.0.1:{addresses['mtproto']['port']}\n\n  Ctrl-C ends it.\n\n"
    )


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, for its owner's eyes: it holds the bot's token."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.touch(mode=0o600)
    part.write_text(text, encoding="utf-8")
    part.replace(path)


async def until_the_end(ended: asyncio.Event, parent: int | None) -> None:
    """Until a signal, or until the parent has gone.

    Looking at the parent's id works everywhere; Linux' PR_SET_PDEATHSIG fires as soon as the parent's *thread* ends.
    """
    while not ended.is_set() and parent in (None, os.getppid()):
        try:
            await asyncio.wait_for(ended.wait(), None if parent is None else PARENT_LOOK_SECONDS)
        except TimeoutError:
            continue


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _token(text: str) -> str:
    bot_id, _, secret = text.partition(":")
    if not bot_id.isdecimal() or int(bot_id) == 0 or not secret:
        raise argparse.ArgumentTypeError("a token looks like 42:secret")
    return text


if __name__ == "__main__":
    sys.exit(main())
