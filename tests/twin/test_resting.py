"""Not answering is an answer: what the owner lets rest with a contact is let rest, questions never."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import DAY, HOUR, chat, me, them

from twin.resting import Rest, kind_of, rests


def days(*each: list) -> list:
    """A chat in which each of these happens on a day of its own."""
    return chat(*[said for one in each for said in (replace(one[0], after=DAY), *one[1:])])


def ask(history, *said, after=DAY):
    burst = chat(replace(said[0], after=after), *said[1:], first_id=9000, start=history[-1].sent_at)
    return rests([*history, *burst], burst, now=burst[-1].sent_at)


RESTED, ANSWERED = [me("on my way"), them("ok")], [me("on my way"), them("ok"), me("good", after=2)]


def test_what_is_mostly_let_rest_is_let_rest():
    assert ask(days(*[RESTED] * 6), them("ok")) == Rest(1.0, 6)
    assert ask(days(*[RESTED] * 4, *[ANSWERED] * 2), them("Okkk!!")) == Rest(0.67, 6)


def test_what_is_mostly_answered_is_answered():
    assert ask(days(*[RESTED] * 3, *[ANSWERED] * 3), them("ok")) is None


def test_four_cases_are_too_few_and_the_newest_burst_is_none():
    assert ask(days(*[RESTED] * 4), them("ok")) is None
    assert ask(days(*[RESTED] * 5), them("ok")) == Rest(1.0, 5)


def test_what_waits_for_an_answer_overnight_is_no_case_of_being_let_rest():
    talk = days(*[ANSWERED] * 2)
    hellos = [replace(them("hello"), after=HOUR) for _ in range(8)]
    assert ask(talk, *hellos) is None


def test_another_word_is_another_matter():
    assert ask(days(*[RESTED] * 6), them("no")) is None


@pytest.mark.parametrize("text", ["ok?", "ok？", "حسنا؟", "ok, shall I bring something to eat then"])
def test_questions_and_whole_sentences_never_rest(text):
    assert ask(days(*[[me("on my way"), them(text)]] * 8), them(text)) is None


def test_a_question_before_it_in_the_burst_does_not_rest_either():
    assert ask(days(*[RESTED] * 6), them("are you there?"), them("ok")) is None


def test_an_answer_after_half_a_day_is_no_answer_but_one_within_is():
    late = [them("ok"), me("by the way", after=13 * HOUR)]
    early = [them("ok"), me("by the way", after=11 * HOUR)]
    assert ask(days(*[late] * 6), them("ok")) == Rest(1.0, 6)
    assert ask(days(*[early] * 6), them("ok")) is None


def test_a_contact_who_writes_anew_was_let_rest():
    anew = [them("ok"), them("have you seen the news about the bridge", after=2 * HOUR), me("yes")]
    assert ask(days(*[anew] * 6), them("ok")) == Rest(1.0, 6)


def test_who_writes_on_soon_did_not_wait_for_an_answer():
    assert ask(days(*[RESTED] * 5), them("ok"), after=5) is None  # the fifth is part of the newest silence
    assert ask(days(*[RESTED] * 5), them("ok"), after=HOUR) == Rest(1.0, 5)


def test_what_was_usual_more_than_a_year_ago_is_not_usual():
    assert ask(days(*[RESTED] * 9), them("ok"), after=400 * DAY) is None


def test_what_the_twin_answered_says_nothing_about_the_owner():
    twins = [them("ok"), me("good", source="twin")]
    assert ask(days(*[twins] * 9), them("ok")) is None
    assert ask(days(*[twins] * 9, *[RESTED] * 5), them("ok")) == Rest(1.0, 5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (them("👍"), them("👍🏽")),
        (them("haha"), them("hahahahah 😂")),
        (them("ахаха"), them("хахаха")),
        (them("哈哈"), them("哈哈哈哈")),
        (them("OK"), them("ok.")),
        (them("Merci"), them("mercii")),
        (them("😀", kind="sticker"), them("🐈", kind="sticker")),
    ],
)
def test_alike(one, other):
    kinds = [kind_of(chat(said)) for said in (one, other)]
    assert kinds[0] == kinds[1] is not None


@pytest.mark.parametrize("said", [them("", kind="voice"), them("a photo", kind="photo"), them("x" * 40), them("ok", forwarded=True)])
def test_what_has_something_in_it_is_not_light(said):
    assert kind_of(chat(said)) is None


def test_a_sticker_that_is_always_let_rest_is_let_rest():
    stickers = [me("look"), them("😀", kind="sticker")]
    assert ask(days(*[stickers] * 6), them("🐈", kind="sticker")) == Rest(1.0, 6)
