"""One renderer: bubbles come back as they were, prompts are prefixes of rows, and templates of every habit fit."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from factories import DAY, chat, me, random_chat, them

from twin.turns import bursts, join_bubbles, last_burst, last_conversation, split_bubbles, system_turn, to_turns

SYSTEM = system_turn("Olga", "Ada")


# --- bubbles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(200))
def test_any_burst_comes_back(seed):
    draw = random.Random(seed)
    bubbles = ["".join(draw.choices("\\n\na x🙂\u2028", k=draw.randint(1, 12))) + "." for _ in range(draw.randint(1, 5))]
    assert split_bubbles(join_bubbles(bubbles)) == bubbles


def test_turns_alternate_and_hold_every_word_of_both_sides():
    messages = [m._replace(kind="text", reply_to_id=None) for m in random_chat(3)]
    turns = to_turns(messages)
    assert [bubble for turn in turns for bubble in split_bubbles(turn.content)] == [m.text for m in messages]
    assert [turn.role for turn in turns] == ["assistant" if burst[0].out else "user" for burst in bursts(messages)]
    assert all(one.role != other.role for one, other in pairwise(turns))


@pytest.mark.parametrize("seed", range(50))
def test_the_last_burst_is_the_last_of_all(seed):
    messages = random_chat(seed)
    for end in range(len(messages) + 1):
        assert last_burst(messages[:end]) == next(iter(reversed(bursts(messages[:end]))), [])


def test_media_are_named_and_quotes_shortened():
    messages = chat(me("x " * 100), them("", kind="voice", reply_to_id=1), them("look", kind="photo"), me("sent", after=3))
    assert to_turns(messages)[1].content == f"> {('x ' * 40)}\\n[voice]\n[photo] look"


def test_a_quote_is_shortened_between_characters():
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    for one in ("🇩🇪", flag, "👨\u200d👩\u200d👧", "1\ufe0f\u20e3"):
        messages = chat(me("a" + one * 60), them("yes", reply_to_id=1))
        quote = to_turns(messages)[1].content.split("\\n")[0]
        assert quote.removeprefix("> a").replace(one, "") == ""
        assert len(quote) <= 82


def test_what_has_no_words_is_quoted_by_its_kind():
    messages = chat(me("", kind="sticker"), them("nice", reply_to_id=1))
    assert to_turns(messages)[1].content == "> [sticker]\\nnice"


def test_where_every_message_answers_another_only_the_contacts_quotes_are_shown():
    messages = chat(them("one", reply_to_id=99), me("two", reply_to_id=1), them("three", reply_to_id=2))
    assert [turn.content for turn in to_turns(messages)] == ["one", "two", "> two\\nthree"]


def test_a_silence_of_exactly_the_gap_ends_a_conversation():
    messages = chat(them("a"), them("b", after=DAY))
    assert [m.text for m in last_conversation(messages, 86_400)] == ["b"]
    assert [m.text for m in last_conversation(messages, 86_401)] == ["a", "b"]


def test_the_last_conversation_begins_after_the_last_long_silence():
    messages = chat(them("a"), me("b"), them("c", after=3 * DAY + 4), me("d"))
    assert [m.text for m in last_conversation(messages, 86_400)] == ["c", "d"]
    assert last_conversation([], 86_400) == []
