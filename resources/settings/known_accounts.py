"""Settings of the data folder and of the accounts. A provider's variables declare one account, each file in `data/accounts` another."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, PrivateAttr, ValidationError

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.network.way_out import Network
from resources.providers.account_files import DeclaredAccounts, load_accounts
from resources.providers.account_variables import (
    AccountVariables,
    sandbox_admin_key,
    sandbox_variables,
    variables_of,
)
from resources.providers.accounts import AccountSettings
from resources.providers.registry import provider_names, spec_of
from resources.settings.clients import ClientSettings
from resources.settings.messages import in_words
from resources.variables import merged

BUCKET = Path("bucket")
"""The value of `DAILIES_DATA` for the pushed data folder instead of one of this host."""
POINTER = Path("data", "current")
"""The file in the home that names the pushed folder which this host has read last; the folders are beside it."""
CANNOT_EDIT = (
    "this host reads the data folder of the bucket (DAILIES_DATA=bucket), which cannot be edited. Nothing was changed. Edit the "
    "folder where it is kept; `dailies data push` there makes it current on every host."
)


class KnownAccounts(ClientSettings):
    """The data folder and the accounts that it declares."""

    data: Path = Field(default=Path("data"), validation_alias="DAILIES_DATA")
    """Folder of the declarations: `series/`, `models/`, `images/`, `characters/`; or `bucket` for the one that `dailies data push` has
    made current."""
    _variables: Mapping[str, str] = PrivateAttr(default_factory=lambda: merged(os.environ))

    def through(self, network: Network, variables: Mapping[str, str]) -> Self:
        """These settings, with a way out and with the variables of the accounts, by name in upper case."""
        self._network = network
        self._variables = variables
        return self

    def reading(self, data: Path) -> Self:
        """These settings with another data folder."""
        return self.model_copy(update={"data": data})

    @property
    def reads_bucket(self) -> bool:
        """Whether this host reads the pushed data folder instead of its own."""
        return self._variables.get("DAILIES_DATA") == str(BUCKET)

    @property
    def own_data(self) -> Path:
        """The data folder, to be changed.

        Raises:
            ConfigurationError: This host reads the bucket's, which cannot be changed.
        """
        if self.reads_bucket:
            raise ConfigurationError(CANNOT_EDIT)
        return self.data

    @property
    def account_names(self) -> tuple[str, ...]:
        """All accounts, whether they have a key or not; each has its completion sensor."""
        return (*provider_names(), *self.declared_accounts.found)

    @property
    def declared_accounts(self) -> DeclaredAccounts:
        """The accounts of the data folder's files as they are now."""
        return load_accounts(self.data)

    @property
    def accounts_with_key(self) -> list[AccountSettings]:
        """The accounts that have a key."""
        return [account for account in map(self.account, self.account_names) if account.api_key is not None]

    def key_variables(self, provider: str | None = None) -> str:
        """Name the variables of the accounts' keys, of all accounts or of one provider's, joined by "or"."""
        accounts = [self.account(name) for name in self.account_names]
        return " or ".join(one.key_variable for one in accounts if provider in {None, one.provider})

    def account(self, name: str) -> AccountSettings:
        """The settings of one account.

        Raises:
            ConfigurationError: There is no such account, or its address is invalid.
        """
        if name not in self.account_names:
            raise ConfigurationError(
                f"there is no account {name!r}; allowed: {', '.join(self.account_names)}{suggestion(name, self.account_names).removesuffix('.')}"
            )
        own, declared = self.given(name), self.declared_accounts.found.get(name)
        spec = spec_of(name if declared is None else declared.provider)
        try:
            return AccountSettings(
                name=name,
                provider=spec.name,
                key_variable=self._key_variable(name),
                dedicated_by=spec.variable("dedicated")
                if declared is None
                else f"dedicated of data/accounts: {name}",
                base_url=own.url,
                api_key=own.api_key,
                admin_key=own.admin_key,
                max_in_flight=own.max_in_flight,
                submits_per_minute=own.submits_per_minute,
                dedicated=own.dedicated,
                settle_seconds=own.settle_seconds,
                unusable=self._same_key(name),
                network=self.network,
            )
        except ValidationError as error:
            raise ConfigurationError(f"Invalid settings of the account {name!r}: {in_words(error)}") from None

    def given(self, name: str) -> AccountVariables:
        """The variables of one account, not yet checked together.

        Raises:
            ConfigurationError: A value is invalid.
        """
        declared = self.declared_accounts.found.get(name)
        spec = spec_of(name if declared is None else declared.provider)
        try:
            if declared is not None:
                return declared.settings(self._variables)
            return AccountVariables.read(spec, self._variables)
        except ValidationError as error:
            raise ConfigurationError(
                f"Invalid setting: {in_words(error, variables_of(spec))}. See .env.example."
            ) from None

    def check_accounts(self) -> None:
        """Check the variables of all accounts.

        Raises:
            ConfigurationError: A value is invalid.
        """
        for name in self.account_names:
            self.given(name)

    def _same_key(self, name: str) -> str | None:
        """Why an account that shares its key with another one cannot be used: each would count the other's jobs as a stranger's."""
        accounts = self.declared_accounts
        key = self.given(name).api_key
        if key is None or not key.get_secret_value():
            return None
        twins = [
            other
            for other in self.account_names
            if accounts.provider_of(other) == accounts.provider_of(name) and self.given(other).api_key == key
        ]
        if len(twins) == 1:
            return None
        variables = [self._key_variable(twin) for twin in twins]
        return (
            f"the accounts {' and '.join(map(repr, twins))} have the same key, so neither is used; other accounts go on. Set "
            f"another key in one of {' and '.join(variables)}, or remove one account from data/accounts. Nothing was bought."
        )

    def _key_variable(self, name: str) -> str:
        declared = self.declared_accounts.found.get(name)
        return spec_of(name).key_variable if declared is None else declared.key

    def at_sandbox(self, url: str, key: str) -> Self:
        """A copy of these settings in which a sandbox replaces every provider."""
        changed = self.model_copy(update={"allowed_origins_setting": url})
        return changed.through(self.network, {**self._variables, **self.sandbox_variables(url, key)})

    def sandbox_variables(self, url: str, key: str) -> dict[str, str]:
        """The variables that replace every provider by a sandbox. Each declared account gets its own key."""
        declared = self.declared_accounts.found.values()
        variables = sandbox_variables(url, key) | {one.key: f"{key}.{one.name}" for one in declared}
        admin = {one.admin_key: sandbox_admin_key(f"{key}.{one.name}") for one in declared if one.admin_key}
        return {**variables, **admin}
