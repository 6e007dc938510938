"""Proxies, and the hosts that are reached without one, from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.

No standard defines these variables. If programs differ, dailies follows curl and Python's urllib: lower case has priority over upper
case, and a name in `NO_PROXY` covers its subdomains with and without a leading dot.
"""

import base64
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from resources.errors import ConfigurationError

Scheme = Literal["http", "https"]
PORTS: Mapping[str, int] = {"http": 80, "https": 443}

_VARIABLES = {"https": ("HTTPS_PROXY", "ALL_PROXY"), "http": ("HTTP_PROXY", "ALL_PROXY")}
_DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Proxy:
    """One proxy. Its text never shows the user and the password."""

    variable: str
    """The environment variable that names it."""
    scheme: Scheme
    """The protocol of the proxy itself."""
    host: str
    """Without brackets."""
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, variable: str, value: str) -> "Proxy":
        """Read the address of a proxy; without a scheme it is http.

        Raises:
            ConfigurationError: It is not the address of an HTTP proxy. The text shows nothing of it but a SOCKS scheme.
        """
        text = value if "://" in value else f"http://{value}"
        scheme = text.partition("://")[0].lower()
        if scheme.startswith("socks"):
            raise ConfigurationError(
                f"{variable} names a SOCKS proxy ({scheme[:8]}://), and dailies speaks to HTTP proxies only. Most SOCKS proxies "
                "have an HTTP port, too: set HTTPS_PROXY=http://host:port to it, or name hosts that need no proxy in NO_PROXY. "
                "Nothing was bought."
            )
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if scheme not in PORTS or not host or any(char.isspace() for char in text) or not text.isprintable():
            raise ConfigurationError(
                f"{variable} is not the address of a proxy. Write it like http://proxy.example.com:8080, with a user and "
                "password as http://user:password@proxy.example.com:8080 (characters such as @ and / percent-encoded). "
                "Nothing was bought."
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (user + password).isascii():
            # no standard says how others are encoded (RFC 7617), and boto3 sends none
            raise ConfigurationError(
                f"{variable}: the user and password of a proxy can have ASCII characters only. Nothing was bought."
            )
        return cls(
            variable, "https" if scheme == "https" else "http", host, port or PORTS[scheme], user, password
        )

    def __str__(self) -> str:
        return f"{self.scheme}://{self._authority}"

    @property
    def url(self) -> str:
        """The address with its secrets, for a client that takes nothing else."""
        user = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        return f"{self.scheme}://{user}{self._authority}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers with the proxy's user and password; empty without a user."""
        if not self.user:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {pair}"}

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def refusal(self, status: int, host: str, port: int) -> str:
        """The meaning of the proxy's status for a CONNECT. The request itself was not sent."""
        if status == 407:
            refusal = (
                f"refuses the user and password in {self.variable}"
                if self.user
                else f"wants a user and a password: write them into {self.variable}, http://user:password@host:port"
            )
            return f"the proxy {self} {refusal} (407)"
        if status in {401, 403}:
            return (
                f"the proxy {self} does not let dailies reach {host}:{port} ({status}); ask who runs it to allow it, or "
                "name the host in NO_PROXY where it is reached without the proxy"
            )
        return f"the proxy {self} cannot reach {host}:{port} ({status})"


@dataclass(frozen=True)
class Exemption:
    """One entry of `NO_PROXY`."""

    written: str
    domain: str | None = None
    """A name that covers its subdomains; empty for every host."""
    block: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    """One address, or a block of addresses."""
    port: int | None = None
    """The only port that it covers; None for all."""

    @classmethod
    def parse(cls, text: str) -> "Exemption | None":
        """Read an entry; None for one that cannot be read."""
        written = text
        text = text.lower()
        if text == "*":
            return cls(written, domain="")
        if (block := _block(text)) is not None:
            return cls(written, block=block)
        match = _WITH_PORT.fullmatch(text)
        if match is None or (match[2] and not 0 < int(match[2]) < 65_536):
            return None
        port = int(match[2]) if match[2] else None
        if (block := _block(match[1].strip("[]"))) is not None:
            return cls(written, block=block, port=port)
        domain = match[1].removeprefix("*").strip(".")
        return cls(written, domain=domain, port=port) if _DOMAIN.fullmatch(domain) else None

    def covers(self, host: str, port: int) -> bool:
        """Whether a host, in lower case and without brackets, is reached without a proxy."""
        if self.port not in {None, port}:
            return False
        address = literal(host)
        if self.block is not None:
            return address is not None and address in self.block
        if not self.domain:
            return True
        return address is None and (host == self.domain or host.endswith(f".{self.domain}"))


@dataclass(frozen=True)
class Proxies:
    """The proxies of the variables, read once. An unusable proxy is refused when a request would use it."""

    named: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)
    """Scheme of the target, variable, and value."""
    exemptions: tuple[Exemption, ...] = ()
    unread: tuple[str, ...] = ()
    """Entries of NO_PROXY that cannot be read and have no effect."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Proxies":
        """Read the variables of an environment."""
        named = []
        for scheme, variables in _VARIABLES.items():
            found = ((variable, _value(environment, variable)) for variable in variables)
            variable, value = next(((name, value) for name, value in found if value), ("", ""))
            if value:
                named.append((scheme, variable, value))
        entries = [entry for entry in re.split(r"[\s,]+", _value(environment, "NO_PROXY")) if entry]
        read = [(entry, Exemption.parse(entry)) for entry in entries]
        return cls(
            tuple(named),
            tuple(exemption for _, exemption in read if exemption is not None),
            tuple(entry for entry, exemption in read if exemption is None),
        )

    def way_to(self, scheme: str, host: str, port: int) -> "Proxy | Exemption | None":
        """The proxy that leads to a host; the entry of NO_PROXY that exempts it; None if no proxy is set, or for this machine.

        Raises:
            ConfigurationError: The proxy it would take cannot be used.
        """
        host = host.strip("[]").rstrip(".").lower()
        named = next(((variable, value) for of, variable, value in self.named if of == scheme), None)
        if named is None or is_loopback(host):
            return None
        exemption = next((one for one in self.exemptions if one.covers(host, port)), None)
        return exemption or Proxy.parse(*named)

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for a host; None if the host is reached without one.

        Raises:
            ConfigurationError: The proxy it would take cannot be used.
        """
        way = self.way_to(scheme, host, port)
        return way if isinstance(way, Proxy) else None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, which no proxy reaches: `localhost`, 127.0.0.0/8, ::1 or an unspecified address."""
    address = literal(host)
    if address is None:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def literal(host: str) -> IpAddress | None:
    """The numeric address in a host; None for a name. IPv4 inside IPv6 counts as IPv4, `0x7f.1` as 127.0.0.1."""
    text = host.strip("[]").partition("%")[0].rstrip(".")
    if ":" not in text and _NUMBER.fullmatch(text.rpartition(".")[2]):
        try:
            text = socket.inet_ntop(socket.AF_INET, socket.inet_aton(text))
        except OSError:
            return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return inner or address


def _block(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    host, slash, length = text.partition("/")
    try:
        return ipaddress.ip_network(f"{host.strip('[]')}{slash}{length}", strict=False)
    except ValueError:
        return None


def _value(environment: Mapping[str, str], variable: str) -> str:
    """A variable's value. Lower case has priority over upper case, and an empty variable counts as set to nothing."""
    for name in (variable.lower(), variable):
        if name in environment:
            return environment[name].strip()
    return ""
