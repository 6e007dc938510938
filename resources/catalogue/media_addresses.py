"""Addresses in YAML that a provider will fetch, checked without any request.

The provider resolves the name, never this machine. Literal addresses, and names that exist only on one machine or in one
network, are refused unless they are public.
"""

import re
import socket
import unicodedata

from resources.network.public_addresses import LOCAL_NAMES, is_public

MAX_URL = 2048
ALLOWED = "an address that begins with https:// or http://, on the internet and without a user or password"

_URL = re.compile(r"https?://([^/?#]*)(?:[/?#].*)?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@\[\]\\%<>\"'`{|}^]+)(:[0-9]{1,5})?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def address_mistake(text: str) -> str | None:
    """Why a provider cannot fetch this address; None if it can.

    The sentence shows no part of the address, because its query may be a signature.
    """
    match = _URL.fullmatch(text)
    if (
        match is None
        or len(text) > MAX_URL
        or not text.isprintable()
        or len(text.split()) != 1
        or "\\" in text
    ):
        return f"is not an address of at most {MAX_URL} characters without spaces"
    if "@" in match[1]:
        return "contains a user name or password"
    if not match[1].strip(".") or match[1][0] == ":":
        return "names no host"
    parts = _HOST.fullmatch(match[1])
    if parts is None or int((parts[2] or ":0")[1:]) > 65_535:
        return "has a host that cannot be read"
    return None if _is_public(parts[1]) else "leads to this machine or a private network"


def _is_public(written: str) -> bool:
    # browsers and clients read 127。0。0。1, 0x7f.1 and 2130706433 as 127.0.0.1
    host = (
        unicodedata.normalize("NFKC", written).replace("\N{IDEOGRAPHIC FULL STOP}", ".").rstrip(".").lower()
    )
    numeric = _literal(host)
    if numeric is not None:
        return numeric != "" and is_public(numeric)
    return host != "" and not any(host == name or host.endswith(f".{name}") for name in LOCAL_NAMES)


def _literal(host: str) -> str | None:
    """A numeric host in its usual form; empty if no such address exists, None for a name."""
    if host.startswith("["):
        try:
            return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host[1:-1]))
        except OSError:
            return ""
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return socket.inet_ntop(socket.AF_INET, socket.inet_aton(host))
    except OSError:
        return ""
