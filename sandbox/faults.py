"""Faults on demand: rules that make a door misbehave for a method, a number of times."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["flood", "error", "drop_before", "drop_after", "no_reply", "delay", "duplicate", "reorder"]
ON_CALLS: tuple[Action, ...] = ("flood", "error", "drop_before", "drop_after", "no_reply", "delay")
ON_UPDATES: tuple[Action, ...] = ("duplicate", "reorder")


@dataclass
class Fault:
    """One rule. `flood` and `delay` take seconds in `arg`; `error` takes `[code, text]`.

    `drop_before` cuts the connection before acting, `drop_after` acts and then cuts it (the answer is lost), `no_reply`
    acts and stays silent; `delay` waits, then acts and answers, also if the client has given up.
    `duplicate` and `reorder` concern updates: method "updates".
    """

    method: str  # the protocol's own name: "sendMessage", "GetHistory", "updates", or "*"
    action: Action
    arg: Any = None
    skip: int = 0  # matching calls to let through first
    times: int = 1  # then hit this many


class Faults:
    """The rules in force. One instance is shared by all doors."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.rules.append(fault)

    def clear(self) -> None:
        self.rules.clear()

    def take(self, method: str, *, actions: Collection[Action] | None = None) -> Fault | None:
        """The fault that hits this call, counted down; None for an undisturbed call.

        With `actions` only rules of these kinds are looked at: a door that cannot play a rule here leaves it for later.
        """
        for rule in self.rules:
            if rule.method not in ("*", method) or rule.times <= 0 or (actions is not None and rule.action not in actions):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            rule.times -= 1
            return rule
        return None
