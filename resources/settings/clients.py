"""What the settings of all clients have in common."""

from pydantic import BaseModel, PrivateAttr

from resources.network.way_out import Network


class ClientSettings(BaseModel):
    """Settings of clients, which leave this machine by one way."""

    _network: Network = PrivateAttr(default_factory=Network)

    @property
    def network(self) -> Network:
        """The way out of every client: proxies, and the certificates that are believed."""
        return self._network
