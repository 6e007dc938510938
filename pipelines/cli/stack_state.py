"""The state file of a running `dailies up`: how commands find its addresses."""

import contextlib
import json
from pathlib import Path
from typing import Any

from resources.processes import is_living, started_at

STATE_FILE = "stack.json"
SANDBOX_KEY_FILE = "sandbox-key"


def running_stack(home: Path) -> dict[str, Any] | None:
    """The state file of a running `dailies up`, None if none runs."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads((home / STATE_FILE).read_text())
        began = state.get("started_at")
        # another program may have the process id of one that was killed
        if is_living(state["pid"]) and began in {None, started_at(state["pid"])}:
            return dict(state)
    return None
