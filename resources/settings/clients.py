"""The common base of the settings of all clients."""

from pydantic import BaseModel, PrivateAttr

from resources.network.way_out import Network


class ClientSettings(BaseModel):
    """Settings of clients, which share proxies and certificates."""

    _network: Network = PrivateAttr(default_factory=Network)

    @property
    def network(self) -> Network:
        """Proxies and trusted certificates of all clients."""
        return self._network
