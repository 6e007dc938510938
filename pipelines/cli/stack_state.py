"""The state file of a running `dailies up`: how commands find its addresses."""

import contextlib
import json
from pathlib import Path
from typing import Any

from resources.processes import is_living

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"
"""Held by a `dailies up` from before its state file is there until it has gone; names its process."""
SANDBOX_KEY_FILE = "sandbox-key"


def running_stack(home: Path) -> dict[str, Any] | None:
    """The state file of a running `dailies up`, None if none runs."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads((home / STATE_FILE).read_text())
        if is_living(state["pid"], began=state.get("started_at")):
            return dict(state)
    return None


def why_no_stack(home: Path) -> str:
    """Why no run can be requested where no `dailies up` of this home is ready, and what to do: the beginning of a sentence."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads((home / LOCK_FILE).read_text())
        pid = holder["pid"]
        # a killed one leaves its file
        if is_living(pid, began=holder["started_at"]):
            return (
                f"`dailies up` (process {pid}) is not ready, or is ending. Nothing was bought. Ask again when it has printed its "
                "addresses"
            )
    return "Dagster does not run here. Nothing was bought. Start everything with `dailies up`"
