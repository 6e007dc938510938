"""Addresses of downloads: a URL is parsed once, resolved once, and refused unless its address is on the internet.

Output addresses come from outside. A name that resolves to this machine, a private network or a cloud's metadata service would let a
stranger read what only this machine can read.
"""

import queue
import socket
import threading
from dataclasses import dataclass, field
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import LocationParseError

from resources.network.proxies import Proxy, literal
from resources.network.public_addresses import is_fake, is_local_name, is_public
from resources.network.way_out import Network
from resources.storage.download_policy import DEFAULT_PORTS, DownloadError, DownloadPolicy, UnsafeAddressError

LOOKUP_SECONDS = 3.0
"""How long to look up a name that a proxy will resolve anyway; networks with such a proxy often drop DNS queries without an answer."""


@dataclass(frozen=True)
class Target:
    """The parts of a URL, and the addresses that its name had when it was resolved."""

    scheme: str
    """`https`, or `http` for an allowed origin."""
    host: str
    """The name for TLS and the Host header; an IPv6 address has no brackets."""
    port: int
    path: str
    """Path and query, for the request line only; never shown."""
    addresses: tuple[str, ...]
    """Numeric addresses, all of them allowed. The connection goes only to one of these, or through the proxy, which resolves the name
    itself."""
    network: Network = field(default_factory=Network)
    """The way out."""
    proxy: Proxy | None = None
    """The proxy; None if the connection goes to the addresses."""

    @property
    def peers(self) -> tuple[tuple[str, int], ...]:
        """Host and port to connect to: of the proxy, or else of each address."""
        if self.proxy is not None:
            return ((self.proxy.host, self.proxy.port),)
        return tuple((address, self.port) for address in self.addresses)

    @property
    def host_header(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def locate(url: str, policy: DownloadPolicy) -> Target:
    """Parse and resolve a URL.

    Raises:
        UnsafeAddressError: The URL must not be fetched.
        DownloadError: The name cannot be resolved now.
    """
    parts = _parsed(url)
    if parts is None:
        raise UnsafeAddressError("the output's address cannot be read as a URL")
    scheme, host = parts.scheme or "", (parts.host or "").strip("[]")
    if scheme not in DEFAULT_PORTS or not host:
        raise UnsafeAddressError(f"the output's address must be https, not {scheme or 'without a scheme'}")
    if parts.auth is not None:
        raise UnsafeAddressError(f"the output's address at {host} holds a user name or password")
    port = parts.port or DEFAULT_PORTS[scheme]
    allowed = policy.allows(scheme, host, port)
    if scheme == "http" and not allowed:
        raise UnsafeAddressError(
            f"the output's address at {host} is plain http, which anybody on the way can change; only https is fetched"
        )
    proxy = policy.network.proxies.proxy_for(scheme, host, port)
    addresses = _resolve(host, port) if proxy is None else _seen_from_here(host, port)
    if not allowed:
        _check(f"{scheme}://{host}:{port}", host, addresses, proxy)
    return Target(scheme, host, port, parts.request_uri, addresses, policy.network, proxy)


def joined(base: str, location: str) -> str:
    """The absolute URL of a redirect's Location."""
    try:
        return urljoin(base, location)
    except ValueError:
        raise UnsafeAddressError("a redirect leads to an address that cannot be read as a URL") from None


def shown(url: str) -> str:
    """A URL for a person: without user, query and fragment, and not too long."""
    parts = _parsed(url)
    if parts is None:
        return "an address that cannot be read"
    text = urllib3.util.Url(scheme=parts.scheme, host=parts.host, port=parts.port, path=parts.path).url
    return text if len(text) <= 160 else f"{text[:157]}..."


def _check(origin: str, host: str, addresses: tuple[str, ...], proxy: Proxy | None) -> None:
    """Refuse an address that is not on the internet, as far as this machine can see.

    A proxy resolves names itself, so its address cannot be pinned. Only https goes through it: the other side must show a certificate for
    the name, which no host of a private network has for a stranger's name.

    Raises:
        UnsafeAddressError: It must not be fetched.
    """
    if proxy is not None and literal(host) is None and is_local_name(host):
        raise UnsafeAddressError(
            f"the output's address {origin} is a name of a private network. If that is meant, allow exactly this origin: "
            "DAILIES_ALLOWED_ORIGINS"
        )
    bad = next((address for address in addresses if not is_public(address)), None)
    if bad is None:
        return
    if not is_fake(bad):
        raise UnsafeAddressError(
            f"the output's address {origin} leads to {bad}, which is not on the internet. "
            "If that is meant (the sandbox), allow exactly this origin: DAILIES_ALLOWED_ORIGINS"
        )
    # through a proxy, a fake address means no more than a missing one
    if proxy is None or literal(host) is not None:
        raise UnsafeAddressError(
            f"the output's address {origin} leads to {bad}, which no host of the internet has: a VPN on this machine gives "
            "fake addresses to names. Set HTTPS_PROXY to the VPN's own proxy, e.g. http://127.0.0.1:7890, switch its fake "
            "addresses (fake-ip) off, or allow exactly this origin: DAILIES_ALLOWED_ORIGINS"
        )


def _parsed(url: str) -> urllib3.util.Url | None:
    """Parse a URL; None if it cannot be parsed."""
    try:
        return urllib3.util.parse_url(url)
    except (LocationParseError, ValueError):
        return None


def _resolve(host: str, port: int) -> tuple[str, ...]:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a label of 64 characters is a UnicodeError
        raise DownloadError(f"the output's host {host} cannot be resolved now") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in addresses))


def _seen_from_here(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a name that a proxy will resolve; empty if this machine cannot resolve it in time."""
    written = literal(host)
    if written is not None:
        return (str(written),)
    answers: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_resolve(host, port))
        except DownloadError:
            answers.put(())

    threading.Thread(target=look_up, daemon=True).start()
    try:
        return answers.get(timeout=LOOKUP_SECONDS)
    except queue.Empty:
        return ()
