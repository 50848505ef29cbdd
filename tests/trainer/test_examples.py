"""What the model is trained to write, what it only reads, and why the rest is left out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from factories import DAY, HOUR, chat, exchanges, me, random_chat, them

from trainer.examples import Example, Rules, Tally, examples_of
from trainer.verdicts import REASONS, SPLITS
from twin.turns import Message, Turn, split_bubbles, system_turn

SYSTEM = system_turn("Olga", "Ada")
RULES = Rules(gap_seconds=86_400, max_tokens=1000, holdout_fraction=0.1, validation_fraction=0.05, repeat_cap=5)


def count(turn: Turn) -> int:
    return len(turn.content.split()) + 1


def build(messages: list[Message], rules: Rules = RULES) -> tuple[list[Example], Counter[str]]:
    tally = Tally()
    return examples_of(7, messages, SYSTEM, rules, count, tally), tally.verdicts


def shown(example: Example) -> str:
    """`they: hi | ME: hey`; targets in capitals."""
    names = {i: "ME" if i in example.targets else {"user": "they", "assistant": "me"}[t.role] for i, t in enumerate(example.turns) if i}
    return " | ".join(f"{names[i]}: {example.turns[i].content}" for i in names)


def only(messages: list[Message], rules: Rules = RULES) -> str:
    found, _ = build(messages, rules)
    assert len(found) == 1
    assert found[0].turns[0] == SYSTEM
    return shown(found[0])


# --- conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [6, 30, 180, 23 * HOUR])
def test_a_reply_hours_later_is_a_reply(minutes):
    assert only(chat(them("hi"), me("hey", after=minutes))) == "they: hi | ME: hey"


@pytest.mark.parametrize("minutes", [DAY, 3 * DAY + 4])  # 3 days and 4 minutes are 4 minutes in timedelta.seconds
def test_a_day_of_silence_starts_a_new_conversation(minutes):
    messages = chat(them("hi"), me("hey"), them("again", after=minutes), me("yes"))
    found, verdicts = build(messages)
    assert [shown(e) for e in found] == ["they: hi | ME: hey", "they: again | ME: yes"]
    assert verdicts == {"train": 2}


def test_an_opener_is_context_and_no_target():
    found, verdicts = build(chat(me("hello?"), them("hi"), me("how are you")))
    assert [shown(e) for e in found] == ["me: hello? | they: hi | ME: how are you"]
    assert verdicts == {"train": 1, "opener": 1}


def test_what_came_through_a_connection_is_neither_learned_nor_read():
    messages = chat(
        them("hi"), me("hey"), them("secret?", source="business"), me("secret!", source="business"), me("my own words", source="owner"),
        them("again"), me("yes"),
    )  # fmt: skip
    found, verdicts = build(messages)
    assert [shown(e) for e in found] == ["they: hi | ME: hey", "me: my own words | they: again | ME: yes"]
    assert verdicts == {"train": 2, "opener": 1, "business": 1}
    collected = [m._replace(source="collected") for m in messages]
    assert build(collected)[1]["train"] == 4


def test_a_first_message_after_a_silence_answers_nothing():
    found, verdicts = build(chat(them("hi"), me("hey"), me("still there?", after=2 * DAY), them("yes"), me("good")))
    assert [shown(e) for e in found] == ["they: hi | ME: hey", "me: still there? | they: yes | ME: good"]
    assert verdicts == {"train": 2, "opener": 1}


# --- the anchor -------------------------------------------------------------------------------------------------------

MANY = [side for i in range(60) for side in (them(f"q{i}", after=2 * DAY), me(f"a{i}"), them("and"), me(f"b{i}"))]
ANCHORED = replace(RULES, anchor_fraction=0.3)


def by_split(messages: list[Message], rules: Rules) -> dict[str, set[str]]:
    found, _ = build(messages, rules)
    return {split: {e.turns[i].content for e in found if e.split == split for i in e.targets} for split in SPLITS}


def test_whole_older_conversations_are_the_anchor_and_train_nothing():
    without, with_anchor = by_split(chat(*MANY), RULES), by_split(chat(*MANY), ANCHORED)
    assert 0.15 < len(with_anchor["anchor"]) / len(without["train"]) < 0.45
    assert with_anchor["anchor"] | with_anchor["train"] == without["train"]
    assert not with_anchor["anchor"] & with_anchor["train"]
    assert {text[1:] for text in with_anchor["anchor"] if text[0] == "a"} == {text[1:] for text in with_anchor["anchor"] if text[0] == "b"}
    assert (with_anchor["holdout"], with_anchor["validation"]) == (without["holdout"], without["validation"])


def test_what_is_written_later_moves_nothing_in_or_out_of_the_anchor():
    before, after = by_split(chat(*MANY[:160]), ANCHORED), by_split(chat(*MANY), ANCHORED)
    assert before["anchor"] <= after["anchor"]
    assert before["train"] <= after["train"]


def test_each_target_knows_when_it_began():
    messages = chat(them("hi"), me("hey"), me("there"), them("so?"), me("well"))
    (found,), _ = build(messages)
    assert found.at == (int(messages[1].sent_at.timestamp()), int(messages[4].sent_at.timestamp()))


# --- bursts -----------------------------------------------------------------------------------------------------------


def test_a_burst_is_one_turn_and_can_be_taken_apart():
    bubbles = ["one", "two\nlines", "back\\nslash", "\\", "end"]
    found, verdicts = build(chat(them("say"), them("something"), *(me(text, after=0.1) for text in bubbles)))
    assert [turn.role for turn in found[0].turns] == ["system", "user", "assistant"]
    assert split_bubbles(found[0].turns[2].content) == bubbles
    assert verdicts == {"train": 5}


def test_a_turn_that_took_hours_to_write_is_context_only():
    messages = chat(them("hi"), me("hey"), me("by the way", after=61), them("yes?"), me("nothing"))
    found, verdicts = build(messages)
    assert shown(found[0]) == "they: hi | me: hey\nby the way | they: yes? | ME: nothing"
    assert verdicts == {"train": 1, "spread": 2}


def test_service_and_empty_messages_have_no_place():
    messages = chat(them("hi"), me("", kind="service"), me("   "), me("hey"), them("x", kind="service"), me("there"))
    found, verdicts = build(messages)
    assert shown(found[0]) == "they: hi | ME: hey\nthere"
    assert verdicts == {"train": 2, "service": 2}


# --- whose words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"source": "twin"}, "twin"),
        ({"source": "owner"}, "train"),
        ({"source": "imported"}, "train"),
        ({"source": "received"}, "train"),
        ({"forwarded": True}, "forwarded"),
        ({"via_bot": True}, "via_bot"),
        ({"unattended": True}, "unattended"),
        ({"kind": "photo"}, "media"),
        ({"kind": "round_video_of_tomorrow"}, "media"),
    ],
)
def test_only_the_owners_own_written_words_are_targets(fields, verdict):
    found, verdicts = build(chat(them("a"), me("b", **fields), them("c"), me("d")))
    assert verdicts == Counter({verdict: 1}) + Counter({"train": 1})
    assert len(found[0].targets) == (2 if verdict == "train" else 1)
    assert found[0].turns[2].content.endswith("b")  # as context it stays


def test_one_word_of_the_twin_in_a_burst_leaves_the_burst_out():
    _, verdicts = build(chat(them("a"), me("b"), me("c", source="twin"), them("d"), me("e")))
    assert verdicts == {"twin": 2, "train": 1}


def test_both_sides_are_masked():
    text = only(chat(them("write to ada@example.org"), me("ok, call +49 170 1234567"), them("my card 4111 1111 1111 1111"), me("no")))
    assert text == "they: write to [email] | ME: ok, call [phone] | they: my card [card] | ME: no"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("ada@example.org", "masked"), ("+49 170 1234567!", "masked"), ("it is ada@example.org", "train"), (":)", "train"), ("🙂", "train")],
)
def test_an_answer_of_masks_alone_teaches_nothing(answer, verdict):
    assert build(chat(them("your address?"), me(answer)))[1] == {verdict: 1}


# --- reply marks ------------------------------------------------------------------------------------------------------


def test_a_marked_reply_stands_under_what_it_answers():
    messages = chat(them("dinner?"), me("wait"), them("and the car?"), me("sold"), me("yes", after=2, reply_to_id=1))
    assert build(messages)[1] == {"train": 3}  # one burst, whose first message bears no mark
    messages = chat(them("dinner?"), me("wait"), them("and the car?"), me("yes, at eight", reply_to_id=1), them("good"), me("bye"))
    found, verdicts = build(messages)
    assert [shown(e) for e in found] == [
        "they: dinner? | ME: yes, at eight",
        "they: dinner? | ME: wait | they: and the car? | me: yes, at eight | they: good | ME: bye",
    ]
    assert verdicts == {"train": 3}


def test_a_reply_mark_reaches_over_a_gap():
    messages = chat(them("dinner?"), me("maybe"), me("yes!", after=2 * DAY, reply_to_id=1), them("great"), me("see you"))
    found, verdicts = build(messages)
    assert [shown(e) for e in found] == ["they: dinner? | ME: yes!", "they: dinner? | ME: maybe", "me: yes! | they: great | ME: see you"]
    assert verdicts == {"train": 3}


def test_an_answer_to_what_is_not_there_is_no_target():
    _, verdicts = build(chat(them("a"), me("b", reply_to_id=99), them("c"), me("d"), me("e", after=2 * DAY, reply_to_id=98)))
    assert verdicts == {"missing": 2, "train": 1}


def test_a_mark_on_what_comes_later_is_not_followed():
    _, verdicts = build(chat(them("a"), me("b", reply_to_id=3), them("c"), me("d")))
    assert verdicts == {"missing": 1, "train": 1}


def test_a_mark_on_an_own_message_changes_nothing():
    text = only(chat(them("a"), me("b"), them("c"), me("as I said", reply_to_id=2)))
    assert text == "they: a | ME: b | they: c | ME: as I said"


def test_a_contacts_mark_is_shown_as_a_quote_and_the_owners_is_not():
    messages = chat(them("one"), me("two"), them("three"), me("four"), them("really?", reply_to_id=2), me("yes", reply_to_id=5))
    assert only(messages) == "they: one | ME: two | they: three | ME: four | they: > two\\nreally? | ME: yes"


# --- repeats and lengths ----------------------------------------------------------------------------------------------


def test_repeats_are_capped_in_training_alone_and_over_all_chats():
    said = [part for i in range(40) for part in (them(f"q{i}", after=5), me("Ok" if i % 2 else "ok "))]
    tally = Tally()
    rules = replace(RULES, repeat_cap=3)
    first = examples_of(1, chat(*said), SYSTEM, rules, count, tally)
    assert tally.verdicts == {"train": 3, "repeated": 31, "validation": 2, "holdout": 4}
    assert sum(len(e.targets) for e in first if e.split == "train") == 3
    examples_of(2, chat(*said), SYSTEM, rules, count, tally)
    assert tally.verdicts == {"train": 3, "repeated": 65, "validation": 4, "holdout": 8}


def test_a_reply_too_long_for_a_window_is_left_out_and_the_rest_stays():
    _, verdicts = build(chat(them("a"), me("word " * 50), them("b"), me("c")), replace(RULES, max_tokens=40))
    assert verdicts == {"too_long": 1, "train": 1}


def test_a_long_chat_is_cut_between_turns_and_every_reply_keeps_its_question():
    found, verdicts = build(exchanges(100), replace(RULES, max_tokens=64))
    assert len(found) > 10
    assert verdicts == {"train": 85, "validation": 5, "holdout": 10}
    for example in found:
        assert sum(map(count, example.turns)) <= 64
        for i in example.targets:
            assert example.turns[i].content == example.turns[i - 1].content.replace("question", "answer")


# --- any chat ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_the_rules_hold_for_any_chat(seed):
    messages = random_chat(seed)
    rules = replace(RULES, max_tokens=(48, 100, 400)[seed % 3], gap_seconds=(3600, 86_400)[seed % 2])
    found, verdicts = build(messages, rules)
    own = {f"m{m.message_id}.": m for m in messages}
    in_targets: dict[str, list[Message]] = {split: [] for split in SPLITS}
    in_training: set[int] = set()
    for example in found:
        assert sum(map(count, example.turns)) <= rules.max_tokens
        assert [turn.role for turn in example.turns[1:]] == [
            ("user", "assistant")[(i + (example.turns[1].role == "assistant")) % 2] for i in range(len(example.turns) - 1)
        ]
        assert example.targets
        assert example.targets[-1] == len(example.turns) - 1
        for i in example.targets:
            assert (example.turns[i].role, example.turns[i - 1].role) == ("assistant", "user")
            in_targets[example.split] += [own[name] for name in re.findall(r"m\d+\.", example.turns[i].content)]
        if example.split == "train":
            in_training |= {own[name].message_id for t in example.turns for name in re.findall(r"m\d+\.", t.content)}
    every = [m.message_id for split in SPLITS for m in in_targets[split]]
    assert len(every) == len(set(every))  # a message is a target once
    assert {split: len(in_targets[split]) for split in SPLITS} == {split: verdicts[split] for split in SPLITS}
    assert sum(verdicts.values()) == sum(m.out for m in messages)
    assert set(verdicts) <= {*REASONS, *SPLITS}
    assert all(m.out and m.source != "twin" and m.kind == "text" and not m.forwarded for split in SPLITS for m in in_targets[split])
    times = [[m.sent_at for m in in_targets[split]] for split in SPLITS if in_targets[split]]
    assert all(max(earlier) < min(later) for earlier, later in pairwise(times))
    assert all(own_id < min(m.message_id for m in in_targets["holdout"]) for own_id in in_training)  # nothing held out is read either
    assert build(messages, rules) == (found, verdicts)
