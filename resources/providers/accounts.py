"""Builds the client of an account from its settings."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from resources.errors import ConfigurationError
from resources.log_lines import hide_secret
from resources.network.way_out import Network
from resources.providers.address import checked_base_url, checked_key
from resources.providers.provider import Capabilities, Provider
from resources.providers.registry import ProviderName, spec_of
from resources.providers.spec import Connection
from resources.storage.download_policy import OutputKey

if TYPE_CHECKING:
    import httpx


class AccountSettings(BaseModel):
    """One account at one provider: its address, its key and its limits. Its repr never shows the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """The account's name in the ledger, e.g. `wavespeed` or `wavespeed-team-b`."""
    provider: ProviderName
    """The provider."""
    base_url: str
    """Address without the API's path; https, or http for this machine (the sandbox)."""
    key_variable: str = ""
    """The environment variable of its key, for messages; empty for the provider's own."""
    api_key: SecretStr | None = None
    """The account's key, None if none is set."""
    admin_key: SecretStr | None = None
    """The account's second key, for its bill, if the provider has such a key."""
    max_in_flight: int | None = Field(default=None, ge=1)
    """Jobs that may run at once, None for no limit of ours. WaveSpeed's Bronze level allows 2."""
    submits_per_minute: int | None = Field(default=None, ge=1)
    """Submits in any sixty seconds, None for no limit of ours. WaveSpeed's Bronze level allows 2."""
    submit_deadline_seconds: float = Field(default=60, gt=0, le=600)
    """Hard total time of one submit in seconds."""
    dedicated: bool | None = None
    """Whether only this ledger uses the key; None if this host does not say; see `resources.ledger.keys`."""
    dedicated_by: str = ""
    """Where `dedicated` is set, for messages: a variable, or a field of a file."""
    settle_seconds: float | None = Field(default=None, gt=0)
    """Seconds after the deadline from which a miss in the provider's listing can prove that there is no job; None for the
    provider's usual value. An earlier miss proves nothing."""
    unusable: str | None = None
    """Why nothing may be bought or read with its key, None if it may."""
    network: Network = Field(default=Network(), exclude=True, repr=False)
    """Proxies and trusted certificates."""

    @property
    def capabilities(self) -> Capabilities:
        """The provider's capabilities, also without a key. Without its second key, an account has no bill."""
        spec = spec_of(self.provider)
        if spec.admin_key and self.admin_key is None:
            return spec.capabilities.without_bill()
        return spec.capabilities

    @property
    def output_key(self) -> OutputKey | None:
        """The key for outputs at hosts of its provider; None if they need none."""
        spec = spec_of(self.provider)
        if not spec.keyed_hosts or self.api_key is None:
            return None
        header = f"{spec.key_scheme} {self.api_key.get_secret_value()}"
        if self.base_url == spec.url:
            return OutputKey(header, hosts=spec.keyed_hosts)
        parts = urlsplit(self.base_url)
        return OutputKey(header, origin=f"{parts.scheme}://{parts.netloc}")

    def check_usable(self) -> None:
        """Raise if its key must not be used.

        Raises:
            ConfigurationError: With the reason and the remedy.
        """
        if self.unusable is not None:
            raise ConfigurationError(self.unusable)
        if key := self.api_key.get_secret_value() if self.api_key else "":
            try:
                checked_key(key)
            except ConfigurationError as error:
                variable = self.key_variable or spec_of(self.provider).key_variable
                raise ConfigurationError(
                    f"the account {self.name!r} ({variable}): {error}. Nothing was sent."
                ) from None

    @field_validator("base_url")
    @classmethod
    def _usable(cls, value: str) -> str:
        return checked_base_url(value)


def output_hosts(settings: AccountSettings) -> tuple[str, ...]:
    """Known hosts of an account's outputs; empty if its address is not the provider's public one."""
    spec = spec_of(settings.provider)
    return spec.output_hosts if settings.base_url == spec.url else ()


def build_provider(
    settings: AccountSettings,
    *,
    transport: "httpx.AsyncBaseTransport | None" = None,
    clock: Callable[[], float] = time.time,
    webhook_url: Callable[[str], str] | None = None,
) -> Provider:
    """The client of an account. Connects to nothing yet; `Provider.check` does.

    Args:
        transport: Replaces the network in tests.
        clock: Seconds since the epoch, for comparison with the provider's clock.
        webhook_url: Builds the callback address of a submission id; None for no callbacks.

    Raises:
        ConfigurationError: The key is missing or malformed, or another account has it. The text names the variable and how to run without one.
    """
    settings.check_usable()
    spec = spec_of(settings.provider)
    variable = settings.key_variable or spec.key_variable
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if not key:
        raise ConfigurationError(
            f"no API key for the account {settings.name!r}: set {variable} in the environment or in .env. To try "
            "everything without a key and without spending, use the sandbox: `dailies up` or `make demo`"
        )
    hide_secret(key)
    connection = Connection(
        settings.name,
        settings.base_url,
        key,
        settings.network,
        clock,
        transport,
        webhook_url,
        settings.admin_key.get_secret_value() if settings.admin_key else None,
        None if variable == spec.key_variable else variable,
    )
    try:
        return spec.build(connection)
    except ConfigurationError as error:
        raise ConfigurationError(f"the account {settings.name!r} ({variable}): {error}") from None
