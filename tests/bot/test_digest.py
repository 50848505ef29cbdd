"""While you were away: what the digest counts, when it comes, and that it comes once."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from auto_rows import answered, drafted, wrote
from bot_scene import BEN, OWNER, Scene, opened, until

from bot import housekeeping
from bot.context import utc_now
from bot.digest_text import digest_text, moment
from bot.schedule import local_zone
from twin import digest
from twin.digest import Digest, Doings
from twin.store import drafts, facts
from twin.utf16 import length

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


async def seen_at(scene: Scene, at: datetime) -> None:
    async with scene.store.begin() as connection:
        await digest.seen(connection, at)


async def away(scene: Scene, *, hours: float) -> None:
    """The owner was last seen so long ago."""
    async with scene.store.begin() as connection:
        await facts.forget(connection, digest.SEEN)
    await seen_at(scene, utc_now() - timedelta(hours=hours))


async def test_the_digest_counts_what_happened_since_the_owner_was_seen(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await away(scene, hours=9)
        await wrote(scene, "coming?")
        await answered(scene, "yes\nat nine", in_seconds=300)
        await wrote(scene, "hello", dialog_id=BEN, name="Ben")
        await drafted(scene, "hi", dialog_id=BEN)
        long_ago = utc_now() - timedelta(hours=3)
        gone = await drafted(scene, "old", dialog_id=BEN, at=long_ago)
        refused = await drafted(scene, "refused", dialog_id=BEN)
        own = await drafted(scene, "superseded", dialog_id=BEN)
        async with scene.store.begin() as connection:
            await drafts.change(connection, gone, state="expired", reason="timed out", settled_at=long_ago)
            await drafts.change(connection, refused, state="failed", reason="they have blocked the bot", settled_at=utc_now())
            await drafts.change(connection, own, state="expired", reason="superseded", settled_at=utc_now())
        await scene.start()
        scene.says("/digest")
        text = (await scene.hear("While you were away")).text
        assert "Ada Lovelace\n1 answer by itself, the last: “yes / at nine”\n" in text
        assert "Ben\n1 draft for you to decide on\n1 draft expired before you decided\n1 answer not delivered, or in doubt" in text


async def test_nothing_happened_is_said_on_demand_only(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await away(scene, hours=9)
        await due_since(scene, days=1)
        await scene.start()
        scene.says("/digest")
        await scene.hear("Nothing happened since")
        await until(lambda: _noted(scene))
        await scene.idle()
        assert [text for text in scene.seen_by(OWNER) if "away" in text] == []


async def due_since(scene: Scene, *, days: float) -> None:
    """The last morning with a digest was so long ago."""
    async with scene.store.begin() as connection:
        await digest.note_morning(connection, utc_now() - timedelta(days=days))


async def _noted(scene: Scene) -> bool:
    async with scene.store.connect() as connection:
        return await digest.morning_due(connection, scene.settings, utc_now(), local_zone()) is None


async def test_the_mornings_digest_comes_once_however_often_the_bot_starts(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await away(scene, hours=30)
        await due_since(scene, days=2)
        await wrote(scene, "coming?")
        await answered(scene, "yes", in_seconds=300)
        for _ in range(3):
            await scene.start()
            await until(lambda: _noted(scene))
            await scene.stop()
        assert len([text for text in scene.seen_by(OWNER) if "While you were away" in text]) == 1


async def test_no_digest_comes_when_none_is_wanted_or_on_the_first_day(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False, digest_at=None) as scene:
        await due_since(scene, days=2)
        await wrote(scene, "coming?")
        await drafted(scene, "yes")
        await scene.start()
        await scene.card("coming?")
        await scene.idle()
        assert not any("away" in text for text in scene.seen_by(OWNER))
    async with opened(tmp_path / "other") as scene:
        scene.writes("hello")
        await scene.card("hello")
        await until(lambda: _told(scene))
        assert not any("away" in text for text in scene.seen_by(OWNER))


async def _told(scene: Scene) -> bool:
    return any(row["name"] == digest.MORNING for row in await scene.rows("facts"))


async def test_the_housekeeper_wakes_the_desk_when_the_morning_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "ROUND_SECONDS", 0.05)
    async with opened(tmp_path, started=False) as scene:
        await away(scene, hours=9)
        await wrote(scene, "coming?")
        await answered(scene, "yes", in_seconds=300)
        await scene.start()
        await scene.card("coming?")
        await due_since(scene, days=2)  # as if the clock had come to the next morning
        await scene.hear("While you were away")


async def test_whatever_the_owner_does_is_a_sign_of_him_and_nothing_else_is(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await away(scene, hours=9)
        before = utc_now()
        await scene.start()
        scene.writes("hello")
        card = await scene.card("hello")
        await scene.idle()
        assert await _last(scene) < before
        scene.tap(card, "Skip")
        await until(lambda: _is_seen(scene, before))
        async with scene.store.connect() as connection:
            assert before - await digest.away_since(connection, utc_now()) > timedelta(hours=8)


async def _last(scene: Scene) -> datetime:
    (fact,) = [row["value"] for row in await scene.rows("facts") if row["name"] == digest.SEEN]
    return datetime.fromisoformat(fact["last"])


async def _is_seen(scene: Scene, since: datetime) -> bool:
    return await _last(scene) > since


async def test_an_absence_begins_with_the_last_sign_and_lasts_until_the_next_absence(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:

        async def since(at: datetime) -> datetime:
            async with scene.store.connect() as connection:
                return await digest.away_since(connection, at)

        assert await since(NOW) == NOW - timedelta(days=1)
        for minutes in (0, 10, 25, 50):  # he is there
            await seen_at(scene, NOW + timedelta(minutes=minutes))
        left = NOW + timedelta(minutes=50)
        assert await since(left + timedelta(hours=6)) == left
        back = left + timedelta(hours=7)
        await seen_at(scene, back)
        await seen_at(scene, back + timedelta(minutes=5))
        assert await since(back + timedelta(minutes=6)) == left


@pytest.mark.parametrize(
    ("now", "morning"),
    [
        ("2026-11-21 07:00", "2026-11-21 07:00"),  # 08:00 in Berlin
        ("2026-11-21 06:59", "2026-11-20 07:00"),
        ("2026-11-21 22:59", "2026-11-21 07:00"),
        ("2026-03-29 06:00", "2026-03-29 06:00"),  # the day after the night that skips an hour
    ],
)
def test_a_morning_is_read_on_the_wall_clock(now: str, morning: str) -> None:
    assert digest.last_morning(time(8), datetime.fromisoformat(f"{now}+00:00"), BERLIN) == datetime.fromisoformat(f"{morning}+00:00")


def test_a_digest_of_a_thousand_contacts_fits() -> None:
    contacts = [Doings(i, "👨‍👩‍👧‍👦مرحبا" * 40, 3, "🏳️‍🌈" * 300, 1, 1, 1) for i in range(1000)]
    content = digest_text(Digest(NOW - timedelta(days=3), contacts), silent_since=NOW, now=NOW, zone=UTC).as_kwargs()
    assert length(content["text"]) <= 4096
    assert "more contacts" in content["text"]
    assert content["text"].endswith("/resume goes on.")
    assert max(e.offset + e.length for e in content["entities"]) <= length(content["text"])


def test_a_moment_is_named_by_the_day_if_it_is_not_today() -> None:
    assert moment(NOW, NOW, UTC) == "08:00"
    assert moment(NOW - timedelta(hours=9), NOW, UTC) == "Fri 23:00"
    assert moment(NOW - timedelta(days=30), NOW, UTC) == "22 Oct, 08:00"
