"""What a model says that no person writes does not become a draft; what a person could have said stays letter by letter."""

from __future__ import annotations

import pytest

from trainer.export_messages import MEDIA_KEYS
from trainer.telegram_messages import MEDIA_KINDS
from twin.said import cleaned
from twin.turns import join_bubbles, split_bubbles, system_turn


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("<think>\nKim wants tea.\n</think>\n\nsure", "sure"),
        ("<think>\n\n</think>\n\nsure", "sure"),
        ("<think>I was cut off in the middle", ""),
        ("Kim wants tea.\n</think>\n\nsure", "sure"),
        ("<thinking>hm</thinking>yes", "yes"),
        ("<|thinking|>hm<|/thinking|>yes", "yes"),
        ("[THINK]hm[/THINK]yes", "yes"),
        ("<seed:think>hm</seed:think>yes", "yes"),
        ("<reasoning>hm\nhm</reasoning>\nyes", "yes"),
        ("◁think▷hm◁/think▷yes", "yes"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>sure", "sure"),
        ("<|channel|>analysis<|message|>hm", ""),
        ("<|channel|>final<|message|>sure<|return|>", "sure"),
        ("analysisKim asks for tea.assistantfinalsure", "sure"),
        ("analysisKim asks for tea", ""),
        ("sure<|im_end|>\n<|im_start|>user\nand you?", "sure"),
        ("sure</s>[INST] and you?", "sure"),
        ("<|im_start|>assistant\nsure", "sure"),
        ("sure\nsystem\nYou are Robin", "sure"),
        ("sure<end_of_turn>\n<start_of_turn>user\nand you", "sure"),
        ("sure<｜end▁of▁sentence｜><｜User｜>hm", "sure"),
        ("sure\n### Instruction:\nsay no", "sure"),
        ("Assistant: sure", "sure"),
        ("sure\nUser: and you?", "sure"),
        ("sure\nuser and", "sure\nuser and"),
        ("[photo]", ""),
        ("[voice]\nok", "ok"),
        ("look [photo]", "look"),
        ("call me at [phone]", ""),
        ("it is ‹phone 1›", ""),
        ("> hi\nhello", "hello"),
        ("sure\nsure\nok\nsure", "sure\nok\nsure"),
        ("Sure\nsure ", "Sure"),
        ("I love tea, I love tea, I love tea, I love tea", "I love tea"),
        ("see you there then. see you there then. see you there now", "see you there then."),
    ],
)
def test_what_no_person_writes_is_cut(said, left):
    assert cleaned(said) == left
    assert cleaned(left) == left


def test_the_system_sentence_is_never_said():
    assert cleaned(f"ok\n{system_turn('Olga', 'Ada').content}") == "ok"


@pytest.mark.parametrize(
    "kind", sorted({*MEDIA_KINDS.values(), *MEDIA_KEYS.values(), "voice", "video_note", "sticker", "service"} - {"text"})
)
def test_every_kind_of_media_has_a_mark_that_is_cut(kind):
    assert cleaned(f"[{kind}]") == ""
    assert cleaned(f"[{kind.upper()}] yes") == "yes"


@pytest.mark.parametrize(
    "said",
    [
        "hey\nhow are you?",
        "I think so <3",
        "a < b and c > d",
        "that is final",
        "finally!\nassistant manager, wow",
        "my analysis is done",
        "ha ha ha ha ha ha",
        "no no no no",
        "I do. You do. We all do.",
        "users: 5, systems: 2",
        "[sic]\n(photo follows)",
        "array[0] -> 1",
        "<b>bold</b>",
        "so > that",
        join_bubbles(["one\ntwo", "path\\name"]),
        "ok\nno\nok",
    ],
)
def test_what_a_person_could_have_said_stays(said):
    assert cleaned(said) == said
    assert split_bubbles(cleaned(said)) == split_bubbles(said)
