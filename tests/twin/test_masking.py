"""What must not be learned is masked, in any language, and what only looks like it is kept."""

import random
import re

import pytest

from twin import masking
from twin.masking import PASSWORD_WORDS, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ann.lee+x@mail.example.org ok?", "write to [email] ok?"),
        ("the password is Sunny-42!", "the password is [password]"),
        ("Passwort: geheim", "Passwort: [password]"),
        ("пароль - qwerty1", "пароль - [password]"),
        ("パスワードはabc123", "パスワードは[password]"),
        ("card 4111 1111 1111 1111 exp 12/29", "card [card] exp 12/29"),
        ("call +49 170 1234567 tonight", "call [phone] tonight"),
        ("call (555) 010-9999", "call [phone]"),
        ("0171 2345678", "[phone]"),
        ("DE89 3704 0044 0532 0130 00 please", "[account] please"),
        ("token 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawx", "token [key]"),
        ("sk-proj-abcdefghijklmnop1234", "[key]"),
        ("ghp_abcdefghijklmnopqrstuvwxyz12", "[key]"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id [key]"),
        ("aGVsbG8gd29ybGQ/dGhpcyBpcyBhIHNlY3JldCBrZXk=", "[key]"),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "[key]"),
    ],
)
def test_masks(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "see you at 10:30",
        "on 2024-12-24 or 24.12.2024",
        "it cost 1200 euros",
        "my password broke again",
        "skateboarding-championship and ghostbusters-afterlife, hfffffffffffffffff",
        "https://example.org/wiki/2024_Summer_Games_opening_ceremony/photos",
        "from 1999-2005, open 10.30-12.45, or 24.12.-26.12. again",
        "I scored 1234567 points",
        "hahahahahahahahahahahahahahahahahahahahahahaha",
        "https://example.org/a/b",
        "2 + 2 = 4",
        "",
    ],
)
def test_keeps(text: str) -> None:
    assert mask(text) == text


EVERY_LETTER = "".join(map(chr, range(0x110000)))


def test_the_cheap_look_for_a_password_misses_no_way_of_writing_its_letters() -> None:
    for letter in sorted(set(PASSWORD_WORDS.replace("|", ""))):
        for same in re.findall(re.escape(letter), EVERY_LETTER, re.IGNORECASE):
            assert masking._fold(same) == masking._fold(letter), (letter, same)


@pytest.mark.parametrize("word", PASSWORD_WORDS.split("|"))
def test_a_password_is_masked_after_every_word_however_it_is_written(word: str) -> None:
    for written in (word, word.upper(), word.title(), word.replace("s", "ſ"), word.replace("i", "İ"), word.replace("i", "ı")):
        assert mask(f"so, {written}: Sunny42") == f"so, {written}: [password]"


PIECES = ["password", "ŞİFRE", " is ", ": ", "は", "Sunny42", "sk-abcdefghijklmnopqrst", "-----BEGIN RSA PRIVATE KEY-----", " word ", "\n"]
PIECES += ["a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6", "١٢٣٤٥٦٧٨٩", "²", "+49 170 1234567", "DE89 3704 0044 0532 0130 00", "é", "@", "a@b.cd"]


def test_the_cheap_looks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(2)
    texts = ["".join(draw.choices(PIECES, k=draw.randrange(1, 7))) for _ in range(3000)]
    masked = [mask(text) for text in texts]
    monkeypatch.setattr(masking, "_may_name_a_password", lambda text: True)
    monkeypatch.setattr(masking, "_RUN", re.compile(""))
    monkeypatch.setattr(masking, "_DIGIT", re.compile(""))
    assert [mask(text) for text in texts] == masked
