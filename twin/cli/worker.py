"""The heavy stages in a process of their own: `python -m twin.cli.worker JOB JSON`, one JSON event a line on stdout.

Ctrl-C then ends them at once, wherever they are, and their memory is given back when they end. Jobs and events: trainer.jobs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from trainer.jobs import perform


def main() -> int:
    # torch and its libraries print to stdout what they like: events keep the real one, the rest goes to stderr.
    events = sys.stdout
    sys.stdout = sys.stderr

    def tell(event: str, **more: Any) -> None:
        events.write(json.dumps({"event": event, **more}, default=str) + "\n")
        events.flush()

    return 0 if perform(sys.argv[1], json.loads(sys.argv[2]), tell) else 1


if __name__ == "__main__":
    sys.exit(main())
