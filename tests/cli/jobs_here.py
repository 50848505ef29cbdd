"""The heavy jobs in this process, which has their libraries already; in a process of its own each takes seconds to import them."""

from __future__ import annotations

import json
from typing import Any

from trainer.jobs import perform
from twin.cli import launchers
from twin.settings import Settings


def run_in_this_process(settings: Settings, job: str, order: dict[str, Any], on_event: launchers.Listener) -> Any:
    """Stands for `launchers._run_here`; what crosses the border of processes there is made JSON here too."""
    ended: list[dict[str, Any]] = []

    def tell(event: str, **more: Any) -> None:
        told = json.loads(json.dumps({"event": event, **more}, default=str))
        if event in ("error", "done"):
            ended.append(told)
        else:
            on_event(told)

    perform(job, json.loads(json.dumps(order)), tell)
    (end,) = ended
    if end["event"] == "error":
        raise launchers.error_of(end)
    return end["result"]
