"""The environment variables of a provider's own account: `DAILIES_WAVESPEED_MAX_IN_FLIGHT` and its like, one set for each provider."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from resources.declared.validation import Usd
from resources.money import Micros, usd
from resources.orders import Caps
from resources.providers.registry import registered
from resources.providers.spec import ProviderSpec


def none_if_empty(value: Any) -> Any:
    """Read an empty variable as not set."""
    return None if value == "" else value


Cap = Annotated[Usd | None, BeforeValidator(none_if_empty)]
"""An amount of US dollars; 0 buys nothing, empty is no cap."""
Limit = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(none_if_empty)]
"""A number; empty is no limit."""
Seconds = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(none_if_empty)]
"""Seconds; empty is not set."""
Truth = Annotated[bool | None, BeforeValidator(none_if_empty)]
"""Yes or no; empty is not set."""


class AccountVariables(BaseModel):
    """The variables of one provider's own account; each is `DAILIES_<provider>_<field>`, and the key's is the provider's."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    api_key: SecretStr | None = None
    """The account's key."""
    admin_key: SecretStr | None = None
    """The account's second key, for its bill, if the provider has such a key."""
    url: str
    """The provider's address."""
    max_in_flight: Limit = None
    """Jobs it may have at once."""
    submits_per_minute: Limit = None
    """Submits a minute."""
    dedicated: Truth = None
    """Whether only this ledger uses the key; None if not known."""
    settle_seconds: Seconds = None
    """Seconds after a lost submit before a miss in the listing proves anything."""
    max_usd_per_day: Cap = None
    """Cap per day, in US dollars."""
    max_usd_per_month: Cap = None
    """Cap per month, in US dollars."""

    @classmethod
    def read(cls, spec: ProviderSpec, variables: Mapping[str, str]) -> "AccountVariables":
        """Read them.

        Args:
            spec: The provider.
            variables: By name in upper case.

        Raises:
            pydantic.ValidationError: A value is invalid.
        """
        names = variables_of(spec)
        values = {field: variables[name] for field, name in names.items() if name in variables}
        return cls.model_validate({"url": spec.url, **values})

    @property
    def caps(self) -> Caps:
        """The account's caps."""
        return Caps(per_day=_micros(self.max_usd_per_day), per_month=_micros(self.max_usd_per_month))


def _micros(amount: Any) -> Micros | None:
    return None if amount is None else usd(amount)


def variables_of(spec: ProviderSpec) -> dict[str, str]:
    """The variables of a provider's own account, by field of `AccountVariables`."""
    names = {field: spec.variable(field) for field in AccountVariables.model_fields}
    if not spec.admin_key:
        del names["admin_key"]
    return {**names, "api_key": spec.key_variable}


def known_variables() -> frozenset[str]:
    """The variables of all providers' own accounts."""
    return frozenset(name for spec in registered().values() for name in variables_of(spec).values())


def sandbox_variables(url: str, key: str) -> dict[str, str]:
    """The variables that replace every provider by a sandbox. The key is dedicated, since this home has made it."""
    variables: dict[str, str] = {}
    for spec in registered().values():
        variables |= {
            spec.variable("url"): url + spec.sandbox_path,
            spec.key_variable: key,
            spec.variable("dedicated"): "true",
        }
        if spec.admin_key:
            variables[spec.variable("admin_key")] = sandbox_admin_key(key)
    return variables


def sandbox_admin_key(key: str) -> str:
    """The sandbox's second key of the account of a key."""
    return f"{key}:admin"
