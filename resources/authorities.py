"""The names of hosts by which browsers reach a server, as a setting lists them and as requests carry them."""

import re
from dataclasses import dataclass

AUTHORITY = r"([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?"
"""A pattern with two groups: the host's name or address, and the port."""


@dataclass(frozen=True)
class Authority:
    """A host's name and port; `port` is None if none is written, which means 80 or 443."""

    name: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "Authority | None":
        """Read `name` or `name:port`; None for every other form, e.g. with a user, a path or a dot at the end."""
        match = re.fullmatch(AUTHORITY, text.lower())
        return None if match is None else cls(match[1], int(match[2]) if match[2] else None)

    def covers(self, other: "Authority") -> bool:
        """Whether this setting allows another authority."""
        ports = {None, 80, 443} if self.port is None else {self.port}
        return self.name == other.name and other.port in ports


def hosts(setting: str) -> frozenset[Authority]:
    """Hosts of a proxy, from a setting such as `dailies.example.com, studio.example.com:8443`.

    Raises:
        ValueError: A part is no host with an optional port; wildcards are not allowed.
    """
    names = set()
    for text in filter(None, (part.strip() for part in setting.split(","))):
        host = Authority.parse(text)
        if host is None:
            raise ValueError("not names of hosts such as dailies.example.com or studio.example.com:8443")
        names.add(host)
    return frozenset(names)
