"""What the model is shown when the conversation is longer than it may be."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from small_tokenizer import ByteTokenizer

from inference.prompting import fit_prompt, stop_token_ids
from twin.renderer import Renderer
from twin.turns import Turn

TOKENIZER = ByteTokenizer()
RENDERER = Renderer(TOKENIZER)
SYSTEM = Turn("system", "You are Robin, chatting with Kim.")


def conversation(turns: int) -> list[Turn]:
    return [SYSTEM, *(Turn("assistant" if i % 2 else "user", f"message number {i}") for i in range(turns))]


def test_a_short_conversation_is_shown_whole() -> None:
    turns = conversation(5)
    assert fit_prompt(RENDERER, turns, 1000) == RENDERER.prompt(turns)


def test_whole_turns_go_from_the_front_and_the_system_turn_stays() -> None:
    turns = conversation(9)
    ids = fit_prompt(RENDERER, turns, 200)
    assert len(ids) <= 200
    kept = [n for n in range(1, 10) if ids == RENDERER.prompt([SYSTEM, *turns[n:]])]
    assert kept, "the prompt is the system turn and a tail of whole turns"
    assert len(RENDERER.prompt([SYSTEM, *turns[kept[0] - 1 :]])) > 200, "one turn more would not have fitted"


def test_of_a_last_turn_that_is_too_long_the_end_is_kept() -> None:
    ids = fit_prompt(RENDERER, [SYSTEM, Turn("user", "a" * 500 + " so are you coming?")], 160)
    text = TOKENIZER.decode(ids)
    assert len(ids) <= 160
    assert "so are you coming?" in text
    assert SYSTEM.content in text


def test_a_name_that_is_long_in_tokens_leaves_room_for_the_message() -> None:
    ids = fit_prompt(RENDERER, [Turn("system", f"You are Robin, chatting with {'🦊' * 200}."), Turn("user", "hello there")], 256)
    assert len(ids) <= 256
    assert "hello there" in TOKENIZER.decode(ids)


def test_a_conversation_of_ten_thousand_turns_is_cut_without_rendering_it() -> None:
    rendered: list[int] = []

    class Counting(Renderer):
        def prompt(self, turns):  # type: ignore[no-untyped-def]
            rendered.append(len(turns))
            return super().prompt(turns)

    fit_prompt(Counting(TOKENIZER), conversation(10_001), 512)
    assert max(rendered) < 60
    assert len(rendered) < 10


def test_a_conversation_that_ends_with_the_owner_can_be_continued() -> None:
    turns = conversation(4)
    assert fit_prompt(RENDERER, turns, 1000) == RENDERER.prompt(turns)


def test_replies_stop_at_the_tokenizers_end_and_at_those_the_makers_name(tmp_path: Path) -> None:
    assert stop_token_ids(tmp_path, RENDERER) == [2], "what training teaches, also where the tokenizer names no end token"
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 2]}))
    assert stop_token_ids(tmp_path, RENDERER) == [2, 9]
    other = SimpleNamespace(ends=[2], tokenizer=SimpleNamespace(eos_token_id=5))
    assert stop_token_ids(tmp_path, other) == [2, 5, 9]
