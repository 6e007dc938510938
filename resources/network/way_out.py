"""The one way out: proxies and certificates, as every client is given them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from resources.network.proxies import PORTS, Proxies, Proxy
from resources.network.trust import TrustStore


@dataclass(frozen=True)
class Network:
    """How this machine's clients reach others. Without arguments: no proxy, the system's certificates."""

    proxies: Proxies = field(default_factory=Proxies)
    trust: TrustStore = field(default_factory=TrustStore)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Network":
        """Read it from an environment.

        Raises:
            resources.errors.ConfigurationError: A store of certificates cannot be used.
        """
        return cls(Proxies.of(environment), TrustStore.of(environment))

    def proxy_to(self, url: str) -> Proxy | None:
        """The proxy that leads to an address, None where it is reached without one.

        Raises:
            resources.errors.ConfigurationError: The proxy it would take cannot be used.
        """
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        return self.proxies.proxy_for(parts.scheme, parts.hostname or "", port)
