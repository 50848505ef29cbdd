"""Fixed prompts on which a model is compared with itself: with and without an adapter, in one engine and in another.

Their own tokens are scored, nothing is generated. A trainer seals its scores with the adapter, so a host without torch can
prove that a server acts as it was trained to.
"""

from __future__ import annotations

from twin.renderer import Renderer
from twin.turns import Turn, system_turn

PROBES = (
    (
        Turn("system", "You are Robin, chatting with Kim."),
        Turn("user", "hey, what are you up to tonight?"),
        Turn("assistant", "not much, probably cooking something"),
        Turn("user", "nice, can I come over?"),
    ),
    (Turn("system", "You are Robin, chatting with Kim."), Turn("user", "did you see the match? I still can't believe it")),
    (
        system_turn("Robin", "Kim"),
        Turn("user", "are we still on for saturday"),
        Turn("assistant", "yes!\nten o'clock?"),
        Turn("user", "ok"),
    ),
    (Turn("system", "You are a helpful assistant."), Turn("user", "Name three rivers in Europe and say where each one ends.")),
)


def probe_prompts(renderer: Renderer) -> list[list[int]]:
    """Token ids of each probe, ready to be continued."""
    return [renderer.prompt(turns) for turns in PROBES]
