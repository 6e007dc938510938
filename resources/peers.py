"""Which user of this machine has the other end of a connection over the loopback interface.

Linux shows the owner of every socket in `/proc/net/tcp` (proc_net_tcp(5)), so a port without a login need not be everybody's.
"""

import pwd
import socket
import sys
from pathlib import Path

TABLE = Path("/proc/net/tcp")
ROOT = 0
GONE = -1
"""Stands for the owner of a socket that its process has closed: the kernel no longer knows it."""


def user_of(
    client: tuple[str, int] | None, server: tuple[str, int | None] | None, *, table: Path = TABLE
) -> int | None:
    """The user id of a connection's client; None where the kernel does not say, `GONE` where it has left.

    Args:
        client: Its IPv4 address and port.
        server: Ours.
        table: The kernel's table of sockets.
    """
    ours, theirs = _written(server), _written(client)
    if ours is None or theirs is None:
        return None
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines[1:]:
        fields = line.split()
        if fields[1:3] == [theirs, ours]:
            # a socket without an inode has no process any more, and its owner reads as root
            return int(fields[7]) if fields[9] != "0" else GONE
    return GONE


def users(setting: str) -> frozenset[int]:
    """User ids from a setting such as `www-data, 1001`.

    Raises:
        ValueError: There is no such user on this machine.
    """
    found = set()
    for text in filter(None, (part.strip() for part in setting.split(","))):
        try:
            found.add(int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid)
        except KeyError:
            raise ValueError(
                f"no user {text!r} on this machine; names or numbers, separated by commas"
            ) from None
    return frozenset(found)


def _written(address: tuple[str, int | None] | None) -> str | None:
    """An address as the kernel's table has it, e.g. `0100007F:0BB8`; None for one that is no IPv4 address with a port."""
    if address is None or address[1] is None:
        return None
    try:
        host = int.from_bytes(socket.inet_pton(socket.AF_INET, address[0]), sys.byteorder)
    except OSError:
        return None
    return f"{host:08X}:{address[1]:04X}"
