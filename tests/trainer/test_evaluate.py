"""The three figures: what they are for a model that listens, for one that does not, and that they are computed rightly."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dataset_scene import toy_dataset

import trainer.evaluate
import trainer.hearing
import trainer.scoring
from trainer import instructions
from trainer.dataset_reader import load_tokenizer, read_examples
from trainer.evaluate import _loss, _share, _unsure, _verbatim, evaluate
from trainer.examples import Example
from trainer.scoring import CONTEXTS, Item, choose_items, choose_talks, groups, own_nats, score_group
from trainer.train import train
from twin.errors import InputError, ModelError
from twin.generator import Sampling
from twin.renderer import Renderer
from twin.settings import Training
from twin.turns import Turn, system_turn

GREEDY = Sampling(temperature=0, max_new_tokens=4)


@pytest.fixture(scope="module")
def adapter(toy: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Training(r=8, alpha=16, learning_rate=2e-2, batch_tokens=256, epochs=1)
    return train(toy, tiny_base, tmp_path_factory.mktemp("adapters") / "v1.5", recipe)


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """General instructions of which one is held out."""
    path = tmp_path_factory.mktemp("general") / "general.json"
    path.write_text(json.dumps([{"instruction": f"Count to {i}.", "output": f"One, two, {i}."} for i in range(4)]))
    return path


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> Renderer:
    return Renderer(load_tokenizer(tiny_base))


def item(dialog_id: int, question: str, answer: str) -> Item:
    return Item(dialog_id, (system_turn("Olga", "Ada"), Turn("user", question)), Turn("assistant", answer))


ITEMS = [
    item(i, f"{word}: what is it?", f"{word} is {other}, I think")
    for i, (word, other) in enumerate(zip("abcdefgh", "stuvwxyz", strict=True))
]


# --- scores -----------------------------------------------------------------------------------------------------------


class Listener:
    """A model whose next token is likely if the prompt has it: it listens, or (deaf) likes all tokens alike."""

    def __init__(self, vocabulary: int, *, listens: bool, size: float = 1.0) -> None:
        import torch

        self.vocabulary, self.listens, self.size = vocabulary, listens, size
        self._one = torch.nn.Parameter(torch.zeros(1))

    def parameters(self) -> Any:
        return iter([self._one])

    def __call__(self, *, input_ids: Any, attention_mask: Any, logits_to_keep: Any, **_: Any) -> Any:
        import torch

        logits = torch.zeros(1, len(logits_to_keep), self.vocabulary)
        for row, at in enumerate(logits_to_keep.tolist()):
            seen = input_ids[0][attention_mask[0, 0, at]]
            if self.listens:
                logits[0, row, seen] = self.size
        return type("Output", (), {"logits": logits})


def chosen_share(model: Any, renderer: Renderer, items: list[Item]) -> float:
    scores = [score for group, counted in groups(items) for score in score_group(model, renderer, group)[:counted]]
    assert len(scores) == len(items)
    return sum(score.chosen for score in scores) / len(scores)


def test_a_model_that_listens_chooses_every_context_and_a_deaf_one_none(base):
    renderer = Renderer(load_tokenizer(base))  # its vocabulary has the words, and other contexts share no pieces of them
    assert chosen_share(Listener(49_152, listens=True), renderer, ITEMS) == 1.0
    assert chosen_share(Listener(49_152, listens=False), renderer, ITEMS) == 0.0  # a tie is no choice


def test_a_model_that_knows_nothing_chooses_by_chance(tiny_base, renderer):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    syllables = [f"{a}{b}" for a in "bcdfgklmnp" for b in ("ar", "el", "im", "on", "ut", "ax", "ey", "iz", "op", "ug")]
    unrelated = [item(i, f"{syllables[(i * 37 + 11) % 100]}?", f"{syllables[i]} it is") for i in range(100)]
    with torch.inference_mode():
        assert chosen_share(model, renderer, unrelated) == pytest.approx(1 / CONTEXTS, abs=0.12)  # three standard errors


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_branches_of_one_pass_score_as_pairs_on_their_own(tiny_base, renderer, dtype):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=getattr(torch, dtype), attn_implementation="sdpa").eval()
    group = [*ITEMS[:4], item(9, "and a longer question with more words?", "no")]

    def pair(context: Item, reply: Item) -> tuple[int, float]:
        row = renderer.row((*context.context, reply.reply))
        first = len(renderer.prompt(context.context))
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0].float()
        target = torch.tensor(row.ids[first:])
        return len(target), torch.nn.functional.cross_entropy(logits[first - 1 : -1], target, reduction="sum").item()

    with torch.inference_mode():
        scores = score_group(model, renderer, group)
    for k, score in enumerate(scores):
        tokens, nats = pair(group[k], group[k])
        assert score.tokens == tokens
        assert score.nats == pytest.approx(nats, rel=1e-5 if dtype == "float32" else 1e-2)
        if dtype == "float32":
            assert score.chosen == all(nats < pair(group[c], group[k])[1] for c in range(CONTEXTS) if c != k)


@pytest.mark.parametrize("count", [5, 6, 8, 12, 16, 20, 21, 240])
def test_every_item_is_counted_once_among_five_different_ones(count):
    items = [item(i, f"q{i}", f"a{i}") for i in range(count)]
    seen = []
    for group, counted in groups(items):
        assert len({i.dialog_id for i in group}) == CONTEXTS
        seen += [i.dialog_id for i in group[:counted]]
    assert sorted(seen) == list(range(count))


def test_figures_of_known_scores():
    assert _loss("loss", [(2, 4.0), (2, 8.0), (4, 12.0), (8, 24.0)]) == {
        "loss": 3.0,  # 48 nats over 16 tokens, not the mean of means
        "loss_error": pytest.approx((4 + 4) ** 0.5 / 16, abs=1e-4),
    }
    assert _share("distinct", 3, 4) == {"distinct": 0.75, "distinct_error": pytest.approx((0.75 * 0.25 / 4) ** 0.5, abs=1e-4)}


def test_only_longer_replies_count_as_repeated_and_case_and_spaces_do_not_matter():
    known = {"i am on my way now", "ok"}
    found = _verbatim(["I am  on my way NOW", "ok", "I am on my way"], known)
    assert (found["verbatim_count"], found["verbatim_of"], found["verbatim"]) == (1, 3, 0.3333)


def test_replies_score_alone_as_in_a_batch(tiny_base, renderer):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation="sdpa").eval()
    talks = [(*one.context, one.reply) for one in [*ITEMS, item(9, "and a longer question with more words?", "no, or maybe later")]]
    with torch.inference_mode():
        together = own_nats(model, renderer, talks)
        alone = [own_nats(model, renderer, [talk])[0] for talk in talks]
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    assert [nats for _, nats in together] == pytest.approx([nats for _, nats in alone], rel=1e-5)


@pytest.mark.parametrize(("spread", "likeliest"), [(6.0, 64), (0.1, 64), (3.0, 1)])
def test_draws_are_of_the_nucleus_and_as_often_as_they_are_likely(monkeypatch, spread, likeliest):
    """The same tokens as transformers' own filter leaves, whether the likeliest few hold the nucleus or not."""
    import torch
    from transformers import TopPLogitsWarper

    monkeypatch.setattr(trainer.scoring, "LIKELIEST", likeliest)
    torch.manual_seed(1)
    one = torch.randn(1, 300) * spread
    kept = TopPLogitsWarper(0.9)(None, one / 0.7)
    drawn = trainer.scoring.draw(None, one.expand(20_000, -1), temperature=0.7, top_p=0.9)
    assert torch.isfinite(drawn).sum().item() == 20_000
    often = torch.isfinite(drawn).float().mean(0)
    assert not often[torch.isinf(kept[0])].any()
    assert (often - kept[0].softmax(-1)).abs().max() < 0.02


def test_answers_in_rounds_are_those_of_one_go(tiny_base, renderer, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation="sdpa").eval()
    talkative = Sampling(temperature=0, max_new_tokens=12)
    with torch.inference_mode():
        likely = trainer.scoring.answers(model, renderer, ITEMS, talkative)
        ids, _ = trainer.scoring._continued(model, [renderer.prompt(ITEMS[0].context)], [2], talkative, 12)[0]
        monkeypatch.setattr(trainer.scoring, "FIRST_ROUND", 5)
        assert trainer.scoring.answers(model, renderer, ITEMS, talkative) == likely
        ended, logprobs = trainer.scoring._continued(model, [renderer.prompt(ITEMS[0].context)], [ids[3]], talkative, 12)[0]
    assert len(set(likely)) > 1
    assert ended == ids[: ids.index(ids[3]) + 1]
    assert len(logprobs) == len(ended)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_sampled_answer_knows_how_likely_it_was_before_temperature_and_nucleus(tiny_base, renderer, temperature, monkeypatch):
    """The same number as reading prompt and answer once more gives, in one round or in two."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation="sdpa").eval()
    kept: list[tuple[list[int], list[int], list[float]]] = []
    speak = trainer.scoring._continued

    def listen(model: Any, prompts: Any, *order: Any) -> Any:
        more = speak(model, prompts, *order)
        kept.extend((prompt, ids, logprobs) for prompt, (ids, logprobs) in zip(prompts, more, strict=True))
        return more

    monkeypatch.setattr(trainer.scoring, "_continued", listen)
    monkeypatch.setattr(trainer.scoring, "FIRST_ROUND", 4)
    with torch.inference_mode():
        said = trainer.scoring.sampled(model, renderer, ITEMS[:3], Sampling(temperature=temperature, top_p=0.8, max_new_tokens=7))
        for prompt, ids, logprobs in kept:
            logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].float()
            real = logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)
            assert logprobs == pytest.approx(real.tolist(), abs=1e-3)
    assert len(kept) > len(said) == 3
    spoken = [[value for _, _, logprobs in (kept[i], *kept[3 + i : 4 + i]) for value in logprobs] for i in range(3)]
    assert [answer.mean_logprob for answer in said] == pytest.approx([sum(each) / len(each) for each in spoken])


def test_a_fifth_of_the_answers_is_unsure_and_of_too_few_nothing_is_said():
    assert _unsure([-float(i) for i in range(11)]) == {"unsure_below": -8.0}
    assert _unsure([-1.0] * 9) == {}


# --- which replies ----------------------------------------------------------------------------------------------------


def test_replies_are_spread_over_all_chats_and_contexts_are_short(toy, renderer, monkeypatch):
    monkeypatch.setattr(trainer.scoring, "CONTEXT_TOKENS", 40)
    holdout = list(read_examples(toy, "holdout"))
    available = sum(len(example.targets) for example in holdout)
    chosen = choose_items(holdout, renderer, 6)
    assert len(chosen) == 6
    assert {one.dialog_id for one in chosen} == {1, 2}
    assert chosen == choose_items(holdout, renderer, 6)
    assert len(choose_items(holdout, renderer, 1000)) == available
    for one in chosen:
        assert one.context[0].role == "system"
        assert one.context[-1].role == "user"
        assert one.reply.content.startswith(one.context[-1].content[:-1])
        assert sum(map(renderer.count, one.context[1:])) <= 40


# --- the whole of it --------------------------------------------------------------------------------------------------


def test_base_and_adapters_side_by_side(toy, tiny_base, adapter, general, tmp_path):
    other = tmp_path / "v1.6"
    shutil.copytree(adapter, other)
    told: list[tuple[float, float | None]] = []

    def tell(done: float, total: float | None, note: str = "") -> None:
        told.append((done, total))

    found = evaluate(toy, tiny_base, [adapter, other], tell, items=7, answers=3, sampling=GREEDY, generic=general)
    assert list(found) == ["base", "v1.5", "v1.6", "owner"]
    ceiling = found.pop("owner")
    assert ceiling["style_length"] > found["base"]["style_length"]
    for figures in found.values():
        assert figures["item_count"] == len(figures["items"]) == 7
        assert figures["generic_loss"] > 0
        assert len(figures["answers"]) == 3
        assert figures["answers"][0].keys() == {"message", "owner", "answer"}
    errors = {name: figures.pop("difference_errors") for name, figures in found.items()}
    assert errors["v1.5"]["base"] == errors["base"]["v1.5"]
    assert set(errors["v1.5"]["v1.6"].values()) == {0.0}
    assert found["v1.5"] == found["v1.6"]
    assert found["v1.5"]["loss"] < found["base"]["loss"] - 0.5
    assert [one["owner"] for one in found["base"]["answers"]] == [one["owner"] for one in found["v1.5"]["answers"]]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_it_says_the_same_every_time_whatever_was_drawn_before(toy, tiny_base, adapter, general):
    import torch

    drawn = Sampling(max_new_tokens=5)
    torch.manual_seed(1)
    first = evaluate(toy, tiny_base, [adapter], items=5, answers=4, sampling=drawn, generic=general)
    torch.manual_seed(2)
    assert evaluate(toy, tiny_base, [adapter], items=5, answers=4, sampling=drawn, generic=general) == first
    other = evaluate(toy, tiny_base, [adapter], items=5, answers=4, sampling=replace(drawn, seed=9), generic=general)
    assert other["base"]["answers"] != first["base"]["answers"]
    assert other["base"]["loss"] == first["base"]["loss"]


def test_alone_the_base_can_be_measured_too(toy, tiny_base, general):
    assert list(evaluate(toy, tiny_base, [], items=5, answers=1, sampling=GREEDY, generic=general)) == ["base", "owner"]


def test_who_was_asked_before_is_not_asked_again(toy, tiny_base, adapter, general, tmp_path, monkeypatch):
    cache = tmp_path / "kept"

    def ask(*adapters: Path, items: int = 5) -> Any:
        return evaluate(toy, tiny_base, adapters, items=items, answers=2, sampling=GREEDY, generic=general, cache=cache)

    first = ask(adapter)
    assert len(list(cache.iterdir())) == 4  # of the base and the adapter what depends on the dataset, and what does not
    assert {file.stat().st_mode & 0o777 for file in cache.iterdir()} == {0o600}
    load = trainer.hearing._load
    monkeypatch.setattr(trainer.hearing, "_load", None)  # calling it would fail
    assert ask(adapter) == first
    monkeypatch.setattr(trainer.hearing, "_load", load)
    other = tmp_path / "v1.7"
    shutil.copytree(adapter, other)
    asked: list[str] = []
    sit = trainer.hearing._sit
    monkeypatch.setattr(trainer.hearing, "_sit", lambda *order: asked.append(order[3]) or sit(*order))
    assert ask(adapter, other)["v1.7"]["items"] == first["v1.5"]["items"]
    assert asked == ["v1.7"]
    ask(adapter, items=6)
    assert asked == ["v1.7", "base", "v1.5"]


def test_only_the_newest_of_what_was_kept_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.hearing, "KEPT_FILES", 2)
    for age in range(4):
        (tmp_path / f"{age}.json").write_text("{}")
        os.utime(tmp_path / f"{age}.json", (1e9 - age, 1e9 - age))
    trainer.hearing._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "1.json"]


def test_an_adapter_whose_training_went_wrong_is_named(toy, tiny_base, adapter, general, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "v9"
    shutil.copytree(adapter, broken)
    weights = load_file(broken / "adapter_model.safetensors")
    save_file({name: weight * float("nan") for name, weight in weights.items()}, broken / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"v9 gives no numbers.*twin train --full"):
        evaluate(toy, tiny_base, [broken], items=5, answers=1, generic=general)


def test_a_file_without_held_out_instructions_is_replaced_by_ours_and_a_large_one_is_not_read_whole(renderer, general):
    talks = instructions.held_out(None)
    assert len(choose_talks(talks, renderer)) == len(talks)
    assert len(choose_talks(talks * 1000, renderer)) == trainer.scoring.TALKS
    long = (Turn("user", "word " * 600), Turn("assistant", "yes"))
    assert choose_talks([long, *talks], renderer) == talks


def test_of_a_long_history_only_what_is_chosen_is_tokenised(renderer):
    encoded: list[Turn] = []

    class Counting:
        def count(self, turn: Turn) -> int:
            encoded.append(turn)
            return renderer.count(turn)

    talk = (system_turn("Olga", "Ada"), *(Turn(role, f"{role} {i}") for i in range(500) for role in ("user", "assistant")))
    example = Example(1, "holdout", talk, tuple(range(2, 1001, 2)), (0,) * 500)
    assert len(choose_items([example] * 20, Counting(), 5)) == 5
    assert len(encoded) < 5 * 40


def test_too_small_a_holdout_is_said(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_scene.TOPICS", ("tea",))
    small = toy_dataset(tmp_path, tiny_base)
    monkeypatch.setattr(trainer.evaluate, "read_examples", lambda *_: list(read_examples(small, "validation"))[:1])
    monkeypatch.setattr(trainer.evaluate, "CONTEXTS", 50)
    with pytest.raises(InputError, match="at least 50 are needed"):
        evaluate(small, tiny_base, [])


@pytest.mark.parametrize("spoilt", ["nothing", "not sealed", "another base", "another tokenizer"])
def test_an_adapter_that_does_not_belong_is_refused(toy, tiny_base, adapter, tmp_path, spoilt):
    folder = tmp_path / "bad"
    if spoilt != "nothing":
        shutil.copytree(adapter, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["base"] |= {"another base": {"name": "else"}, "another tokenizer": {"tokenizer": "0"}}.get(spoilt, {})
        (folder / "manifest.json").write_text(json.dumps(manifest))
        if spoilt == "not sealed":
            (folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match="bad"):
        evaluate(toy, tiny_base, [folder], items=5, answers=1)
