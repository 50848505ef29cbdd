"""`twin contacts`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from twin import modes, replies
from twin.cli.choosing import find_contact
from twin.cli.folder import open_folder, transact, utc_now
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, Words, Yes, table
from twin.contacts import told_apart
from twin.errors import InputError
from twin.names import NO_NAME
from twin.store import adapters, dialogs, messages
from twin.store.dialogs import Dialog

app = typer.Typer(add_completion=False)

CONSENT_STYLE = {"given": "green", "revoked": "red", "asked": "yellow"}


@app.command()
@guarded
def contacts(
    contact: Annotated[str | None, typer.Argument(help="Whom to show or set: id, @username or name.", show_default=False)] = None,
    consent: Annotated[
        Literal["given", "revoked", "asked"] | None,
        typer.Option("--consent", help="Record what the contact said to training on your chat."),
    ] = None,
    words: Annotated[str, typer.Option("--words", help="Their words, or yours when you asked.")] = "",
    mode: Annotated[
        Literal["off", "shadow", "approve", "auto", "default"] | None, typer.Option("--mode", help="How the twin answers them.")
    ] = None,
    exclude: Annotated[
        bool | None, typer.Option("--exclude/--include", help="Never read this chat again, or read it after all.", show_default=False)
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Set all contacts at once; with --consent it takes --words.")] = False,
    yes: Yes = False,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the private chats with counts, mode and consent, or show and set those of one contact.

    Nothing trains on a chat whose contact has not agreed; revoking takes the chat out of the next dataset.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    setting = consent is not None or mode is not None or exclude is not None
    if setting and not contact and not everybody:
        raise typer.BadParameter("Name a contact, or say --all.", param_hint="CONTACT")
    if contact and everybody:
        raise typer.BadParameter("Name one contact, or say --all.", param_hint="CONTACT")
    if consent and not words.strip():
        raise typer.BadParameter(
            "Telegram's terms ask for explicit consent: keep the words it was given or asked with.", param_hint="--words"
        )
    forgotten = transact(settings, dialogs.forgotten)
    known = [dialog for dialog in transact(settings, dialogs.find) if dialog.dialog_id not in forgotten]
    chosen = [transact(settings, partial(find_contact, wanted=contact))] if contact else known if setting else []
    if setting:
        if not chosen:
            raise InputError("There is no contact yet.", mend="`twin collect` or `twin import` brings them.")
        _confirm(screen, chosen, consent=consent, mode=mode, everybody=everybody, yes=yes)

        async def work(connection: Any) -> list[str]:
            carrying = set()
            for dialog in chosen:
                if consent:
                    await dialogs.record_consent(connection, dialog.dialog_id, consent, utc_now(), words)
                if mode:
                    await replies.set_mode(connection, dialog.dialog_id, None if mode == "default" else mode, settings, utc_now())
                if exclude is not None:
                    await dialogs.exclude(connection, dialog.dialog_id, exclude)
                if consent == "revoked":
                    carrying |= set(await adapters.carrying(connection, dialog.dialog_id))
            return sorted(carrying)

        carrying = transact(settings, work)
        if carrying:
            screen.say(f"Trained on it already: {', '.join(carrying)}. Retrain with `twin nightly`, or roll back.")
    rows = transact(settings, _rows)
    default = transact(settings, partial(modes.default, settings=settings))
    ids = {dialog.dialog_id for dialog in chosen}
    shown = [row for row in rows if not (contact or setting) or row["dialog_id"] in ids]
    grid = table("", "contact", "id", "messages", "owner's", "consent", "mode", "", right=("messages", "owner's"))
    for row in shown:
        who = (row["name"] or NO_NAME) + (f" @{row['username']}" if row["username"] else "")
        name: Text = Words(who, style="" if row["name"] else "dim")
        if row["dialog_id"] in forgotten:
            name = Text("(forgotten)", style="dim")
        agreed = Text(row["consent"] or "not asked", style=CONSENT_STYLE.get(row["consent"], "dim"))
        grid.add_row(
            name,
            str(row["dialog_id"]),
            f"{row['messages']:,}",
            f"{row['owner_messages']:,}",
            agreed,
            row["mode"] or f"{default} (default)",
            Text("excluded", style="red") if row["excluded"] else "",
        )
    screen.show(grid if shown else "No private chats yet: `twin collect` or `twin import` brings them.")
    screen.result({"contacts": shown})


async def _rows(connection: Any) -> list[dict[str, Any]]:
    counts = await messages.counts(connection)
    rows = []
    for dialog in await dialogs.find(connection):
        total, own = counts.get(dialog.dialog_id, (0, 0))
        row = dialog._asdict()
        row.pop("watermark")
        rows.append({**row, "messages": total, "owner_messages": own})
    return sorted(rows, key=lambda row: (-row["messages"], row["dialog_id"]))


def _confirm(screen: Screen, chosen: list[Dialog], *, consent: str | None, mode: str | None, everybody: bool, yes: bool) -> None:
    """Ask where a slip would do harm: words put into many mouths, and messages that leave without a look."""
    whom = f"all {len(chosen)} contacts" if everybody else told_apart(chosen)
    if consent == "given" and everybody:
        screen.confirm(f"Each of the {len(chosen)} contacts agreed, individually, in these words?", yes=yes)
    if consent == "revoked" and everybody:
        screen.confirm(f"Take all {len(chosen)} chats out of training?", yes=yes)
    if mode == "auto":
        screen.confirm(f"Let the twin answer {whom} without your look?", yes=yes)
