"""Nearest past replies: what the owner himself said when this contact wrote something like this before."""

from __future__ import annotations

from factories import chat, exchanges, me, them

from twin.nearest import LIKE, past_replies

PAST = [
    *(them("did you feed the cat?", after=60), me("yes"), me("twice", after=0.1)),
    *(them("what a lovely evening", after=60), me("it was!")),
    *(them("did you feed the cats at all?", after=60), me("of course")),
]


def now(*said):
    return chat(*said, first_id=900)


def test_the_likeliest_come_first_with_words_and_time():
    history = chat(*PAST)
    burst = now(them("did you feed the cat today?"))
    found = past_replies([*history, *burst], burst)
    assert [(reply.asked, reply.replied, reply.at) for reply in found] == [
        ("did you feed the cat?", "yes\ntwice", history[1].sent_at),
        ("did you feed the cats at all?", "of course", history[6].sent_at),
    ]
    assert 1 > found[0].likeness > found[1].likeness >= LIKE
    assert len(past_replies(history, burst, limit=1)) == 1


def test_what_has_nothing_to_do_with_it_is_not_shown():
    """Three letters in a row are soon shared: "what", " are", "you"."""
    history = chat(*(them("what about red vines?"), me("those are good")), *(them("what are you on about"), me("nothing")))
    assert past_replies(history, now(them("hey, what are you up to tonight?"))) == []
    assert past_replies(history, now(them("hey, what are you up to tonight?")), like=0.1) != []


def test_nothing_alike_is_nothing():
    assert past_replies(chat(*PAST), now(them("zzz qqq"))) == []
    assert past_replies([], now(them("did you feed the cat?"))) == []
    assert past_replies(chat(*PAST), []) == []


def test_the_twins_own_words_are_never_the_owners():
    history = chat(
        them("did you feed the cat?"), me("beep", source="twin"), them("did you feed the cat?"), me("beep", source="twin"), me("no!")
    )
    assert [reply.replied for reply in past_replies(history, now(them("did you feed the cat?")))] == ["no!"]


def test_no_reply_is_shown_twice_and_of_two_alike_the_newer():
    history = chat(*[said for _ in range(5) for said in (them("hungry?"), me("always"))], them("hungry?"), me("no"))
    found = past_replies(history, now(them("hungry?")), limit=3)
    assert [reply.replied for reply in found] == ["no", "always"]
    assert found[1].at == history[9].sent_at
    assert found[0].likeness == 1.0


def test_only_the_newest_messages_are_looked_at():
    history = [*chat(*PAST), *exchanges(1000, start=chat(*PAST)[-1].sent_at)]
    assert past_replies(history, now(them("did you feed the cat?"))) == []


def test_media_are_named():
    history = chat(them("", kind="voice"), me("", kind="sticker"))
    (found,) = past_replies(history, now(them("", kind="voice")))
    assert (found.asked, found.replied) == ("[voice]", "[sticker]")
