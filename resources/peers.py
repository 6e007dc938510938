"""The user of this machine at the other end of a loopback connection.

Linux shows the owner of every socket in `/proc/net/tcp` (proc_net_tcp(5)), so a port without a login can refuse other users.
"""

import pwd
import socket
import sys
from pathlib import Path

TABLE = Path("/proc/net/tcp")
ROOT = 0
GONE = -1
"""The owner of a socket that its process has closed; the kernel no longer knows it."""


def user_of(
    client: tuple[str, int] | None, server: tuple[str, int | None] | None, *, table: Path = TABLE
) -> int | None:
    """The user id of a connection's client; None if the kernel does not say, `GONE` if the client has left.

    Args:
        client: Its IPv4 address and port.
        server: Our IPv4 address and port.
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
            # a socket without an inode has no process, and root is shown as its owner
            return int(fields[7]) if fields[9] != "0" else GONE
    return GONE


def users(setting: str) -> frozenset[int]:
    """User ids from a setting such as `www-data, 1001`.

    Raises:
        ValueError: A user does not exist on this machine.
    """
    numbers = set()
    for text in filter(None, (part.strip() for part in setting.split(","))):
        try:
            numbers.add(int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid)
        except KeyError:
            raise ValueError(
                f"no user {text!r} on this machine; names or numbers, separated by commas"
            ) from None
    return frozenset(numbers)


def _written(address: tuple[str, int | None] | None) -> str | None:
    """An address in the form of the kernel's table, e.g. `0100007F:0BB8`; None if it is no IPv4 address with a port."""
    if address is None or address[1] is None:
        return None
    try:
        host = int.from_bytes(socket.inet_pton(socket.AF_INET, address[0]), sys.byteorder)
    except OSError:
        return None
    return f"{host:08X}:{address[1]:04X}"
