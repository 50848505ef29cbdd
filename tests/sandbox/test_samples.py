"""Sample worlds: the same every time, ids in the order of time."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.samples import OWNER_ID, WorldFileError, dump_world, load_chitchat, load_world, small_world
from sandbox.world import BusinessConnection, World


def everything(world: World) -> list[tuple]:
    return [
        (m.chat, m.sender_id, m.text, m.date, m.entities, m.media, m.forwarded_from, m.edit_date, m.service, m.reactions)
        for m in world.messages.values()
    ]


def test_the_most_active_person_is_the_owner_with_every_partner_as_a_chat() -> None:
    world = World()
    sample = load_chitchat(world)
    assert sample.owner_id == OWNER_ID
    assert len(sample.contact_ids) > 100
    assert sample.messages == len(world.messages) > 40_000
    assert set(world.dialogs(OWNER_ID)) == set(sample.contact_ids)
    sizes = [len(world.history(OWNER_ID, contact)) for contact in sample.contact_ids]
    assert sizes == sorted(sizes, reverse=True)


def test_dates_never_fall_along_the_ids_of_a_box_and_end_an_hour_ago() -> None:
    world = World(clock=lambda: 2_000_000_000)
    sample = load_chitchat(world, 5)
    dates = [world.in_box(OWNER_ID, i).date for i in range(1, sample.messages + 1)]
    assert dates == sorted(dates)
    assert dates[-1] == 2_000_000_000 - 3600


def test_without_shift_the_real_times_stay_and_gaps_are_the_same() -> None:
    real, moved = World(), World()
    load_chitchat(real, 5, shift=False)
    load_chitchat(moved, 5)
    assert {time.gmtime(m.date).tm_year for m in real.messages.values()} <= {2018, 2019}
    apart = {m.date - r.date for r, m in zip(real.messages.values(), moved.messages.values(), strict=True)}
    assert len(apart) == 1


@pytest.mark.parametrize("load", [load_chitchat, small_world])
def test_a_world_that_ends_at_a_given_time_is_the_same_whenever_it_is_loaded(load: Callable[..., object]) -> None:
    today, tomorrow = World(clock=lambda: 1_800_000_000.0), World(clock=lambda: 1_800_086_400.5)
    for world in (today, tomorrow):
        load(world, ended_at=1_700_000_000)
    assert max(m.date for m in today.messages.values()) == 1_700_000_000
    assert list(today.messages.values()) == list(tomorrow.messages.values())


def test_names_usernames_and_phones_are_distinct_and_the_same_every_time() -> None:
    first, second = World(), World()
    load_chitchat(first, 1)
    load_chitchat(second, 1)
    people = [a for a in first.accounts.values() if not a.is_bot]
    for card in ({(a.first_name, a.last_name) for a in people}, {a.username for a in people}, {a.phone for a in people}):
        assert len(card) == len(people)
    assert all(a.phone.startswith("+99966") for a in people)
    assert first.accounts == second.accounts


def test_a_rank_that_nobody_has_is_refused() -> None:
    with pytest.raises(ValueError, match="owner_rank is 1 to"):
        load_chitchat(World(), 0)


def test_the_small_world_has_one_of_each_kind() -> None:
    world = World()
    sample = small_world(world)
    messages = list(world.messages.values())
    assert len(sample.contact_ids) == 3
    assert world.bot(sample.bot_token).id == sample.bot_id
    assert {g.kind for g in world.groups.values()} == {"group", "channel"}
    for kind in ("media", "edit_date", "forwarded_from", "service", "reply_to"):
        assert any(getattr(m, kind) for m in messages), kind
    assert [m.date for m in messages] == sorted(m.date for m in messages)


def test_a_world_file_gives_the_world_back(tmp_path: Path) -> None:
    world, again = World(clock=lambda: 1_900_000_000), World()
    sample = small_world(world)
    world.connections["bc"] = BusinessConnection("bc", OWNER_ID, sample.bot_id, 5, rights={"can_reply": False})
    world.react(OWNER_ID, world.history(OWNER_ID, sample.contact_ids[0])[0], ["👍"])
    dump_world(world, tmp_path / "world.json", owner_id=OWNER_ID)
    assert load_world(again, tmp_path / "world.json") == sample
    assert everything(again) == everything(world)
    assert (again.accounts, again.groups, again.connections) == (world.accounts, world.groups, world.connections)
    replies = [again.messages[m.reply_to].text for m in again.messages.values() if m.reply_to]
    assert replies == ["hey, are you coming on saturday?"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"format": "other"}, "format"),
        ({"owner_id": 5}, "owner_id"),
        ({"accounts": [{"id": 1, "first_name": "A", "colour": "red"}]}, "accounts[0]"),
        ({"messages": [{"from": 1, "to": 9, "date": 1}]}, "messages[0]"),
        ({"messages": [{"from": 1, "to": 2, "date": "soon"}]}, "messages[0]"),
        ({"messages": [{"from": 1, "to": 2, "date": 9, "text": "a"}, {"from": 1, "to": 2, "date": 8, "text": "b"}]}, "messages[1]"),
    ],
)
def test_a_bad_world_file_is_refused_with_the_place(tmp_path: Path, change: dict, place: str) -> None:
    good = {"format": "telegram-twin sandbox world 1", "owner_id": 1, "accounts": [{"id": i, "first_name": "A"} for i in (1, 2)]}
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(good | change))
    with pytest.raises(WorldFileError) as refused:
        load_world(World(), path)
    assert place in str(refused.value)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(WorldFileError):
        load_world(World(), tmp_path / "x.json")
