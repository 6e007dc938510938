"""The listening ports of processes on this machine."""

import contextlib
import os
from pathlib import Path

from bench.processes import descendants


def listening() -> set[int]:
    """TCP ports on which processes below this one listen, from the kernel's table."""
    sockets = set()
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            sockets |= {str(link.readlink()) for link in Path("/proc", str(pid), "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    found.add(int(fields[1].rpartition(":")[2], 16))
    return found
