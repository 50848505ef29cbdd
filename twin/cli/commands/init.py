"""`twin init`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.panel import Panel
from rich.text import Text

from twin.cli.asking import Asker
from twin.cli.dotenv import write_env
from twin.cli.guard import guarded
from twin.cli.services import who_is_bot
from twin.cli.terminal import Data, Debug, Json, Screen, Words
from twin.errors import InputError, SettingsError
from twin.sealing import new_api_key, new_secret_key
from twin.settings import Settings, load_settings

app = typer.Typer(add_completion=False)

# Word for word: core.telegram.org/api/terms and telegram.org/tos/content-licensing
TERMS = (
    "1.5. Your use of the Telegram API is further subject to the Telegram Terms of Service for Content Licensing and AI Scraping. "
    "As such, you are prohibited from using, accessing or aggregating data obtained from the Telegram platform to train, fine-tune or "
    "otherwise engage in the development, enhancement or deployment of artificial intelligence, machine learning models and similar "
    "technologies."
)
EXCEPTION = (
    "Exceptions may be granted in instances where all relevant users individually provide explicit, informed, affirmative and "
    "continued consent that is strictly limited to the specific content and chat"
)
MEANING = (
    f"The content licensing terms name one way out: “{EXCEPTION}”.\n\n"
    "So the twin trains on no chat unless you have recorded that this contact agreed, and leaves it out when they change their mind. "
    "Whether that is enough is yours to judge; this is no legal advice."
)


@app.command()
@guarded
def init(
    non_interactive: Annotated[
        bool, typer.Option("--non-interactive", help="Ask nothing: TWIN_* in the environment has the answers, stdin the sign-in code.")
    ] = False,
    accept_terms: Annotated[bool, typer.Option("--accept-terms", help="I have read Telegram's terms, 1.5, as shown here.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a .env that is there.")] = False,
    no_account: Annotated[bool, typer.Option("--no-account", help="Do not sign in: chats come from exports.")] = False,
    env_file: Annotated[Path, typer.Option("--env-file", help="Where to write.")] = Path(".env"),
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask for what is needed, check each answer against the real service, write .env.

    The bot's token by getMe, the owner's account by signing in with code and two-step password. A .env that is there is not replaced
    without asking.
    """
    screen = Screen(as_json=as_json)
    ask = Asker(screen, non_interactive=non_interactive)
    if env_file.exists() and not overwrite:
        refusal = InputError(f"{env_file} exists.", mend="Say --overwrite to replace it.")
        ask.agree(f"{env_file} exists. Replace it? What it holds is offered as answers.", refusal)
    terms = Text(f"{TERMS}\n\n{MEANING}")
    screen.say(Panel(terms, title="Telegram API Terms of Service", border_style="yellow", width=min(100, screen.err.width)))
    if not accept_terms:
        ask.agree("I have read this.", InputError("Telegram's terms were not acknowledged.", mend="Say --accept-terms."))
    known = load_settings(env_file if env_file.exists() else None, **({"data": data} if data else {}))
    settings = known.model_copy(update={"secret_key": known.secret_key or SecretStr(new_secret_key())})
    settings = with_group(settings, "engine", api_key=settings.engine.api_key or SecretStr(new_api_key()))
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings, bot = _bot(ask, settings)
    screen.say(Text(f"✓ @{bot}", style="green"))
    settings = _owner_by_hand(ask, settings) if no_account else _account(ask, settings)
    screen.say(Words(f"✓ {settings.owner.name}, account {settings.owner.id}", style="green"))
    write_env(env_file, changed(settings), heading="Written by `twin init`; .env.example explains each line. Keep it to yourself.")
    first = "import PATH" if no_account else "collect"
    screen.show(f"{env_file} is written. Next: `twin {first}`, then `twin contacts`, `twin nightly`, `twin run`.")
    screen.result({"env_file": str(env_file), "bot": bot, "owner_id": settings.owner.id, "signed_in": not no_account})


def _bot(ask: Asker, settings: Settings) -> tuple[Settings, str]:
    def change(before: Settings) -> Settings:
        token = before.bot.token.get_secret_value() if before.bot.token else None
        return with_group(
            before, "bot", token=SecretStr(ask.value("The bot's token, from @BotFather", token, "TWIN_BOT__TOKEN", hidden=True))
        )

    asked, bot = ask.until_right(settings, change, lambda asked: asyncio.run(who_is_bot(asked)))
    return asked, bot.username


def _account(ask: Asker, settings: Settings) -> Settings:
    """Sign the owner in; the account says who the owner is."""
    from trainer.session import sign_in

    def change(before: Settings) -> Settings:
        telegram = before.telegram
        asked: dict[str, Any] = {}
        if not telegram.server:
            api_id = ask.value("api_id, from my.telegram.org", str(telegram.api_id) if telegram.api_id else None, "TWIN_TELEGRAM__API_ID")
            if not api_id.isdecimal():
                raise SettingsError("api_id is a number.", mend="my.telegram.org shows it under API development tools.")
            api_hash = telegram.api_hash.get_secret_value() if telegram.api_hash else None
            asked["api_id"] = int(api_id)
            asked["api_hash"] = SecretStr(ask.value("api_hash", api_hash, "TWIN_TELEGRAM__API_HASH", hidden=True))
        asked["phone"] = ask.value("Your phone number, with the country code", telegram.phone, "TWIN_TELEGRAM__PHONE")
        return with_group(before, "telegram", **asked)

    asked, me = ask.until_right(settings, change, lambda asked: asyncio.run(sign_in(asked, ask_code=ask.once, ask_password=ask.once)))
    return _named(ask, with_group(asked, "owner", id=me.id), me.name)


def _owner_by_hand(ask: Asker, settings: Settings) -> Settings:
    def change(before: Settings) -> Settings:
        wanted = ask.value("Your numeric Telegram id", str(before.owner.id) if before.owner.id else None, "TWIN_OWNER__ID")
        if not wanted.isdecimal():
            raise SettingsError("The owner's id is a number.", mend="An export names it: personal_information.user_id.")
        return with_group(before, "owner", id=int(wanted))

    asked, _ = ask.until_right(settings, change, lambda asked: None)
    return _named(ask, asked, asked.owner.name)


def _named(ask: Asker, settings: Settings, account_name: str) -> Settings:
    unset = settings.owner.name == type(settings.owner)().name
    name = account_name if unset else settings.owner.name
    return with_group(settings, "owner", name=name if ask.non_interactive else ask.value("Your name in prompts", name, "TWIN_OWNER__NAME"))


def with_group(settings: Settings, group: str, **values: Any) -> Settings:
    """These settings with some values of one group replaced, checked as settings are."""
    before = getattr(settings, group)
    return settings.model_copy(update={group: type(before)(**{**dict(before), **values})})


def changed(settings: Settings) -> dict[str, object]:
    """What differs from the defaults, in the names that .env uses."""
    values: dict[str, object] = {"TWIN_DATA": settings.data}
    for field, info in Settings.model_fields.items():
        value = getattr(settings, field)
        if hasattr(value, "model_fields_set"):
            default = type(value)()
            for key in type(value).model_fields:
                if getattr(value, key) != getattr(default, key):
                    values[f"TWIN_{field}__{key}".upper()] = _plain(getattr(value, key))
        elif field != "data" and value != info.default:
            values[f"TWIN_{field}".upper()] = _plain(value)
    return values


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
