"""General instructions are read in the three forms people have them in; what is shipped is whole."""

from __future__ import annotations

import json

import pytest

from trainer.instructions import SYSTEM, held_out, read_instructions, training_rows
from twin.errors import InputError
from twin.turns import Turn

TALK = (SYSTEM, Turn("user", "what is two and two?"), Turn("assistant", "four"))
CHAT = {"messages": [{"role": "user", "content": "what is two and two?"}, {"role": "assistant", "content": "four"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "what is two and two?"}, {"from": "gpt", "value": "four"}]}
ALPACA = {"instruction": "what is two and two?", "input": "", "output": "four"}


@pytest.mark.parametrize("row", [CHAT, SHAREGPT, ALPACA], ids=["chat", "sharegpt", "alpaca"])
@pytest.mark.parametrize("as_list", [True, False])
def test_each_form_is_read_as_a_list_and_by_lines(tmp_path, row, as_list):
    path = tmp_path / "rows"
    path.write_text(json.dumps([row, row]) if as_list else f"{json.dumps(row)}\n\n{json.dumps(row)}\n", encoding="utf-8")
    assert read_instructions(path) == [TALK, TALK]


def test_an_alpaca_input_follows_its_instruction(tmp_path):
    path = tmp_path / "rows"
    path.write_text(json.dumps([{"instruction": "Translate.", "input": "hallo", "output": "hello"}]))
    assert read_instructions(path)[0][1].content == "Translate.\n\nhallo"


def test_a_system_turn_is_kept(tmp_path):
    path = tmp_path / "rows"
    path.write_text(json.dumps({"messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]}))
    assert read_instructions(path)[0][0] == Turn("system", "Be brief.")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (json.dumps([ALPACA, {"question": "?"}]), "row 2: expected an instruction with its answer"),
        (json.dumps([{"messages": CHAT["messages"][:1]}]), "row 1: an answer is missing"),
        (json.dumps([{"messages": CHAT["messages"][::-1]}]), "row 1: expected"),
        (json.dumps([{"messages": [{"role": "tool", "content": "x"}]}]), "row 1: expected"),
        (f"{json.dumps(CHAT)}\n{{", "line 2: expected JSON"),
        ("[1,\n", "line 2: expected JSON"),
    ],
)
def test_a_bad_row_is_named_by_its_place(tmp_path, text, what):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as refusal:
        read_instructions(path)
    assert str(path) in refusal.value.what


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        training_rows(tmp_path / "none.jsonl")


def test_what_is_shipped_has_many_languages_and_a_part_that_nothing_trains_on():
    rows, kept = training_rows(None), held_out(None)
    assert len(rows) >= 200
    assert len(kept) >= 70
    assert not set(rows) & set(kept)
    questions = [talk[1].content for talk in rows + kept]
    assert len(set(questions)) == len(questions)
    scripts = {"latin": "a", "cyrillic": "о", "arabic": "ا", "kana": "は", "hangul": "는", "devanagari": "क"}
    text = "".join(talk[-1].content + talk[1].content for talk in rows + kept)
    assert [name for name, letter in scripts.items() if letter not in text] == []
