"""Text is measured and cut as Telegram does it."""

import pytest

from twin.utf16 import cut, first, length, pieces

FAMILY = "👨‍👩‍👧‍👦"


@pytest.mark.parametrize(("text", "units"), [("", 0), ("abc", 3), ("😀", 2), (FAMILY, 11), ("é", 1), ("e\u0301", 2), ("שלום", 4)])
def test_length_counts_utf16_units(text: str, units: int) -> None:
    assert length(text) == units == len(text.encode("utf-16-le")) // 2


def test_what_fits_is_not_touched() -> None:
    assert cut("hello", 5) == "hello"
    assert cut("hello", 4) == "hel…"
    assert cut("hello", 0) == ""


@pytest.mark.parametrize("limit", range(2, 40))
def test_nothing_is_torn_apart(limit: int) -> None:
    for text in ("😀" * 30, FAMILY * 10, "e\u0301" * 40, "👍🏽" * 12):
        kept = cut(text, limit)
        assert length(kept) <= limit
        body = kept.removesuffix("…")
        whole = {"😀", FAMILY, "e\u0301", "👍🏽"}
        unit = next(unit for unit in whole if text.startswith(unit))
        assert body == unit * (len(body) // len(unit)) or limit < length(unit) + 2


def test_pieces_are_parted_at_white_space_and_lose_no_word() -> None:
    text = "one two three four five six seven " * 20
    parts = pieces(text, 50)
    assert max(map(length, parts)) <= 50
    assert " ".join(parts).split() == text.split()
    assert pieces("x" * 120, 50) == ["x" * 50, "x" * 50, "x" * 20]
    assert pieces("  \n ", 50) == []


SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
WHOLE = ["🇩🇪", SCOTLAND, FAMILY, "1️⃣", "👍🏽", "🏳️‍🌈", "e\u0301", "한"]


@pytest.mark.parametrize("one", WHOLE)
@pytest.mark.parametrize("limit", range(20, 34))
def test_what_a_reader_takes_for_one_character_stays_whole(one: str, limit: int) -> None:
    """Flags of two letters, of tags, joined emoji and keycaps too, whether a text is shortened or goes in parts."""
    text = one * 40
    assert cut(text, limit).removesuffix("…").replace(one, "") == ""
    assert first(text, limit).replace(one, "") == ""
    parts = pieces(text, limit)
    assert "".join(parts) == text
    assert all(part.replace(one, "") == "" and length(part) <= limit for part in parts)


def test_letters_before_a_flag_do_not_move_its_boundary() -> None:
    assert cut("ab🇩🇪🇫🇷", 9) == "ab🇩🇪…"
    assert cut("a🇩🇪🇫🇷", 7) == "a🇩🇪…"
    assert first("a🇩🇪🇫🇷", 4) == "a🇩🇪"
    assert first("abc", 2) == "ab"
