"""The state file of a running `dailies up`, from which commands learn its addresses."""

import contextlib
import json
from pathlib import Path
from typing import Any

from resources.processes import is_living

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"
"""The lock file of a `dailies up`, which names its process. It is held before the state file exists until the process ends."""
SANDBOX_KEY_FILE = "sandbox-key"


def running_stack(home: Path) -> dict[str, Any] | None:
    """The state file of a running `dailies up`; None if none is running."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads((home / STATE_FILE).read_text())
        if is_living(state["pid"], began=state.get("started_at")):
            return dict(state)
    return None


def why_no_stack(home: Path) -> str:
    """Why no run can be requested because no `dailies up` of this home is ready, and the remedy; the beginning of a sentence."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads((home / LOCK_FILE).read_text())
        pid = holder["pid"]
        # a killed process leaves its file
        if is_living(pid, began=holder["started_at"]):
            return (
                f"`dailies up` (process {pid}) is not ready, or is ending. Nothing was bought. Try again when it has printed its "
                "addresses"
            )
    return "Dagster does not run here. Nothing was bought. Start everything with `dailies up`"
