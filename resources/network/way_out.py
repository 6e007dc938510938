"""The proxies and certificates that every client gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from resources.network.proxies import PORTS, Proxies, Proxy
from resources.network.trust import ADDING, REPLACING, TrustStore

_VARIABLES = frozenset({"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", *REPLACING, ADDING})


def is_variable(name: str) -> bool:
    """Whether an environment variable sets a proxy or certificates."""
    return name.upper() in _VARIABLES


@dataclass(frozen=True)
class Network:
    """Proxies and trusted certificates. Without arguments: no proxy, and the system's certificates."""

    proxies: Proxies = field(default_factory=Proxies)
    trust: TrustStore = field(default_factory=TrustStore)

    @classmethod
    def of(cls, *environments: Mapping[str, str | None]) -> "Network":
        """Read them from environments. The first environment that sets a variable, in upper or lower case, decides it.

        Raises:
            resources.errors.ConfigurationError: A store of certificates cannot be used.
        """
        merged: dict[str, str] = {}
        for environment in reversed(environments):
            variables_set = {
                name: value for name, value in environment.items() if is_variable(name) and value is not None
            }
            decided = {name.upper() for name in variables_set}
            merged = {
                name: value for name, value in merged.items() if name.upper() not in decided
            } | variables_set
        return cls(Proxies.of(merged), TrustStore.of(merged))

    def proxy_to(self, url: str) -> Proxy | None:
        """The proxy for an address; None if the address is reached without one.

        Raises:
            resources.errors.ConfigurationError: The proxy cannot be used.
        """
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        return self.proxies.proxy_for(parts.scheme, parts.hostname or "", port)
