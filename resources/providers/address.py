"""Checks an account's address and key before anything is sent."""

import ipaddress
import re
from urllib.parse import urlsplit

from resources.errors import ConfigurationError
from resources.plain import without_queries

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
"""A host that every client parses alike; a host with other letters is written in its `xn--` form."""
_SCHEMES = {"basic", "bearer", "key", "token"}
"""What a provider's example has before the key, and dailies adds itself."""


def checked_base_url(url: str) -> str:
    """The address without a trailing slash, if a key may be sent to it.

    Plain http is for this machine only (the sandbox), since others on the network could read the key.

    Raises:
        ConfigurationError: It is not an http(s) address, carries a user, query or fragment, or is plain http to
            another machine.
    """
    shown = without_queries(url)[:200]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"the provider address {shown!r} is not a URL") from None
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or not _HOST.fullmatch(host)
        or not all("!" <= char <= "~" for char in url)
    ):
        raise ConfigurationError(f"the provider address {shown!r} must look like https://api.example.com")
    if parts.username or parts.password or parts.query or parts.fragment or "?" in url or "#" in url:
        raise ConfigurationError(
            f"the provider address {shown!r} must be an address only: no user, password, query or fragment"
        )
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(
            f"the provider address {shown!r} is plain http, so everybody on the way could read the API key; "
            "use https (plain http is allowed for this machine only, e.g. http://127.0.0.1:8700)"
        )
    return url.rstrip("/")


def checked_key(key: str) -> str:
    """Check that a key can be a header value, and return it.

    Raises:
        ConfigurationError: It is empty, begins with the scheme of a header, or has a space, a line break or a character that no key
            has. The text never shows the key.
    """
    if not key:
        raise ConfigurationError("the API key is empty; paste the key from the provider's dashboard")
    if key != key.strip():
        raise ConfigurationError(
            "the API key begins or ends with a space or line break (often from copying, or from `echo` into a "
            "secret file); remove it"
        )
    scheme, _, rest = key.partition(" ")
    if rest and scheme.lower() in _SCHEMES:
        raise ConfigurationError(
            f"the API key begins with {scheme!r}, which is sent before every key: leave it out, and keep only what follows it"
        )
    if not all("!" <= char <= "~" for char in key):
        raise ConfigurationError(
            "the API key holds a space, line break or character that no key has; paste it again"
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
