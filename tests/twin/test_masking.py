"""What must not be learned is masked, in any language, and what only looks like it is kept."""

import pytest

from twin.masking import mask


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
