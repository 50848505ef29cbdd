"""parse_mode and entities: cases of Telegram's own parser tests (tdlib, test/message_entities.cpp) and of this door."""

import pytest

from sandbox.botapi.html import parse_html
from sandbox.botapi.markdown import parse_markdown
from sandbox.botapi.markdown_legacy import parse_markdown_legacy
from sandbox.botapi.spans import Unparsable, detected, link_entity, trim


def spans(entities: list[dict]) -> list[tuple]:
    return [(e["type"], e["offset"], e["length"], *(e[k] for k in ("url", "language", "custom_emoji_id") if k in e)) for e in entities]


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("plain & simple", "plain & simple", []),
        ("🏟 <i>🏟 &lt🏟</i>", "🏟 🏟 <🏟", [("italic", 3, 6)]),
        ("<b>a<i>b</i></b>", "ab", [("bold", 0, 2), ("italic", 1, 1)]),
        ("&lt;b&gt; &amp;amp; &quot;&#39;&#x41;", "<b> &amp; \"'A", []),
        ("&nbsp;&unknown;", "&nbsp;&unknown;", []),
        (
            "<strong>a</strong><em>b</em><ins>c</ins><del>d</del>",
            "abcd",
            [("bold", 0, 1), ("italic", 1, 1), ("underline", 2, 1), ("strikethrough", 3, 1)],
        ),
        ('<span class="tg-spoiler">x</span><tg-spoiler>y</tg-spoiler>', "xy", [("spoiler", 0, 1), ("spoiler", 1, 1)]),
        ("<i    aba  =  '&lt;&gt;&quot;'>a</>", "a", [("italic", 0, 1)]),
        ("<b></b>a", "a", []),
        ("<code>x<b>y</b></code>", "xy", [("code", 0, 2), ("bold", 1, 1)]),
        ('<pre><code class="language-python">x</code></pre>', "x", [("pre", 0, 1, "python")]),
        ('<code class="language-python"><pre>x</pre></code>', "x", [("pre", 0, 1, "python")]),
        ("<pre>x</pre><code>y</code>", "xy", [("pre", 0, 1), ("code", 1, 1)]),
        ('<a href="telegram.org">x</a>', "x", [("text_link", 0, 1, "http://telegram.org/")]),
        ("<a>telegram.org</a><a>none</a>", "telegram.orgnone", [("text_link", 0, 12, "http://telegram.org/")]),
        ('<tg-emoji emoji-id="54321">👍</tg-emoji>', "👍", [("custom_emoji", 0, 2, "54321")]),
        ("<blockquote   expandable   asd>a&lt;<pre  >b;</></>", "a<b;", [("expandable_blockquote", 0, 4), ("pre", 2, 2)]),
    ],
)
def test_html_becomes_text_and_entities(source: str, text: str, expected: list[tuple]) -> None:
    parsed, entities = parse_html(source)
    assert (parsed, spans(entities)) == (text, expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("🏟 <unknown>", 'Unsupported start tag "unknown" at byte offset 5'),
        ("a <b", "Unclosed start tag at byte offset 2"),
        ("<b>a", 'Can\'t find end tag corresponding to start tag "b"'),
        ("a</b>", "Unexpected end tag at byte offset 1"),
        ("<b>a</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("<b>a</b", "Unclosed end tag at byte offset 4"),
        ("<span>a</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ("<i =x>a</i>", 'Empty attribute name in the tag "i" at byte offset 0'),
        ("<i a=b_c>a</i>", "Unexpected end of name token at byte offset 5"),
        ('<tg-emoji emoji-id="x">a</tg-emoji>', "Invalid custom emoji identifier specified"),
    ],
)
def test_bad_html_is_refused_in_telegrams_words(source: str, message: str) -> None:
    with pytest.raises(Unparsable) as refused:
        parse_html(source)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("🏟 🏟_abac \\* asd _", "🏟 🏟abac * asd ", [("italic", 5, 11)]),
        ("🏟 🏟_🏟 *🏟*_", "🏟 🏟🏟 🏟", [("italic", 5, 5), ("bold", 8, 2)]),
        ("🏟 🏟_🏟 __🏟___", "🏟 🏟🏟 🏟", [("italic", 5, 5), ("underline", 8, 2)]),
        ("🏟 🏟__🏟 _🏟_ __", "🏟 🏟🏟 🏟 ", [("underline", 5, 6), ("italic", 8, 2)]),
        ("||test||~x~", "testx", [("spoiler", 0, 4), ("strikethrough", 4, 1)]),
        ("`_* *_`__*` `*__", "_* *_ ", [("code", 0, 5), ("code", 5, 1), ("bold", 5, 1), ("underline", 5, 1)]),
        ("🏟 🏟**", "🏟 🏟", []),
        ("```python\nx = [1]```", "x = [1]", [("pre", 0, 7, "python")]),
        ("```🏟\n\n🏟```", "\n🏟", [("pre", 0, 3, "🏟")]),
        ("```x```", "x", [("pre", 0, 1)]),
        ("[telegram\\.org](https://telegram.dog?)", "telegram.org", [("text_link", 0, 12, "https://telegram.dog/")]),
        ("[telegram\\.org]", "telegram.org", [("text_link", 0, 12, "http://telegram.org/")]),
        ("[telegram\\.org](asdasd)", "telegram.org", []),
        ("![👍](tg://emoji?test=1231&id=25#id=32)a", "👍a", [("custom_emoji", 0, 2, "25")]),
        (">a", "a", [("blockquote", 0, 1)]),
        ("> \n> \n>", " \n \n", [("blockquote", 0, 4)]),
        ("abc\n>def\n>def\n\r>ghi2\njkl", "abc\ndef\ndef\n\rghi2\njkl", [("blockquote", 4, 8), ("blockquote", 13, 5)]),
        (">\n**>2", "\n2", [("blockquote", 0, 1), ("blockquote", 1, 1)]),
        (">**\n>2", "\n2", [("blockquote", 0, 2)]),
        ("*>abcd\n*", "abcd\n", [("blockquote", 0, 5), ("bold", 0, 5)]),
        (">*b\n>ld \n>bo\n>ld*\nasd\ndef", "b\nld \nbo\nld\nasd\ndef", [("blockquote", 0, 12), ("bold", 0, 11)]),
        (">`b\n>ld \n>bo\nld`\n>asd\ndef", "b\n>ld \n>bo\nld\nasd\ndef", [("blockquote", 0, 18), ("code", 0, 13)]),
        (">asd\n>q||e||w||\nasdad", "asd\nqew\nasdad", [("expandable_blockquote", 0, 8), ("spoiler", 5, 1)]),
        (">asd\r\n>q||e||w||\r\nasdad", "asd\r\nqew\r\nasdad", [("expandable_blockquote", 0, 10), ("spoiler", 6, 1)]),
        (">asd\n>q||ew||\nasdad", "asd\nqew\nasdad", [("blockquote", 0, 8), ("spoiler", 5, 2)]),
        (">asd\n>q||e||w||", "asd\nqew", [("expandable_blockquote", 0, 7), ("spoiler", 5, 1)]),
        (">||", "", []),
    ],
)
def test_markdown_becomes_text_and_entities(source: str, text: str, expected: list[tuple]) -> None:
    parsed, entities = parse_markdown(source)
    assert parsed == text
    assert sorted(spans(entities)) == sorted(expected)


@pytest.mark.parametrize("c", "]()>#+-=|{}.!")
def test_a_reserved_character_has_to_be_escaped(c: str) -> None:
    with pytest.raises(Unparsable) as refused:
        parse_markdown(f"a{c}")
    assert str(refused.value) == f"Character '{c}' is reserved and must be escaped with the preceding '\\'"
    assert parse_markdown(f"a\\{c}") == (f"a{c}", [])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("🏟 🏟_abacaba", "Can't find end of Italic entity at byte offset 9"),
        ("🏟 🏟_abac * asd ", "Can't find end of Bold entity at byte offset 15"),
        ("🏟 🏟```a", "Can't find end of Pre entity at byte offset 9"),
        ("🏟 🏟```a ", "Can't find end of PreCode entity at byte offset 9"),
        ("🏟 🏟__🏟 🏟_", "Can't find end of Italic entity at byte offset 20"),
        ("🏟 🏟_🏟 🏟__", "Can't find end of Underline entity at byte offset 19"),
        ("🏟 🏟```🏟 🏟`", "Can't find end of Code entity at byte offset 21"),
        ("[telegram\\.org](asd", "Can't find end of a URL at byte offset 16"),
        ("🏟 🏟||test\\|", "Can't find end of Spoiler entity at byte offset 9"),
        ("🏟 🏟![👍]", "Custom emoji entity must contain a tg://emoji URL"),
        ("🏟 🏟![👍](t://emoji?id=1234)", "Custom emoji URL must have scheme tg"),
        ("🏟 🏟![👍](tg:emojis?id=1234)", 'Custom emoji URL must have host "emoji"'),
        ("🏟 🏟![👍](tg://emoji#test)", "Custom emoji URL must have an emoji identifier"),
        (">*b\n>ld \n>bo\nld*\nasd\ndef", "Can't find end of Bold entity at byte offset 1"),
        (">\n*a*>2", "Character '>' is reserved and must be escaped with the preceding '\\'"),
        (">asd\n>q||e||w||\n||asdad", "Can't find end of Spoiler entity at byte offset 16"),
        (">asd\n>q||ew\n||asdad", "Can't find end of Spoiler entity at byte offset 7"),
        (">asd\n>q||e||w__\n||asdad", "Can't find end of Underline entity at byte offset 13"),
    ],
)
def test_bad_markdown_is_refused_in_telegrams_words(source: str, message: str) -> None:
    with pytest.raises(Unparsable) as refused:
        parse_markdown(source)
    assert str(refused.value) == message


def test_white_space_at_the_ends_goes_and_entities_move_along() -> None:
    text, entities = trim("  😀 x \n", [{"type": "bold", "offset": 0, "length": 5}, {"type": "italic", "offset": 7, "length": 1}])
    assert (text, spans(entities)) == ("😀 x", [("bold", 0, 3)])


def test_commands_mentions_links_and_addresses_are_found() -> None:
    text = "/start go 😀 /mode@twin_bot #tag @ada_ashby https://example.com/a. me@example.org and/or 1/2"
    found = {
        text.encode("utf-16-le")[e["offset"] * 2 : (e["offset"] + e["length"]) * 2].decode("utf-16-le"): e["type"]
        for e in detected(text, [])
    }
    assert found == {
        "/start": "bot_command",
        "/mode@twin_bot": "bot_command",
        "#tag": "hashtag",
        "@ada_ashby": "mention",
        "https://example.com/a": "url",
        "me@example.org": "email",
    }


def test_nothing_is_found_inside_code() -> None:
    code = [{"type": "code", "offset": 0, "length": 6}]
    assert detected("/start", code) == code


def test_a_link_to_an_account_is_a_mention() -> None:
    assert link_entity("tg://user?id=5") == {"type": "text_mention", "user": {"id": 5}}
    assert link_entity("tg://user?id=x") is None
    assert link_entity("javascript:alert(1)") is None


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("*b* _i_ `c` 1.0!", "b i c 1.0!", [("bold", 0, 1), ("italic", 2, 1), ("code", 4, 1)]),
        ("\\*😀 *x*", "*😀 x", [("bold", 4, 1)]),
        ("```python\nx```", "x", [("pre", 0, 1, "python")]),
        ("```\nx```", "x", [("pre", 0, 1)]),
        ("[a](telegram.org)[b](c)", "ab", [("text_link", 0, 1, "http://telegram.org/")]),
    ],
)
def test_the_older_markdown_still_works(source: str, text: str, expected: list[tuple]) -> None:
    parsed, entities = parse_markdown_legacy(source)
    assert (parsed, spans(entities)) == (text, expected)


def test_an_open_mark_of_the_older_markdown_is_refused() -> None:
    with pytest.raises(Unparsable, match="Can't find end of the entity starting at byte offset 10"):
        parse_markdown_legacy("😀 snake_case")
