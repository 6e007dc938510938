"""The settings of the policy: their names, their texts for people, and reading them from a host."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from resources.money import show_usd, usd
from resources.providers.registry import provider_names, spec_of

ALL = "*"
"""Stands for all accounts together."""
OF_ALL = (
    "max_usd_per_clip",
    "max_usd_per_run",
    "max_usd_per_day",
    "max_usd_per_month",
    "max_request_factor",
    "max_hour_factor",
    "timezone",
)
OF_ACCOUNTS = (
    "max_usd_per_day",
    "max_usd_per_month",
    "max_in_flight",
    "submits_per_minute",
    "settle_seconds",
)
Value = int | float | str | None
"""Micro-dollars for a cap; None is no cap, no limit, or the provider's own settle time."""


class Setting(NamedTuple):
    """A setting that is part of the policy."""

    account: str
    """`ALL`, or an account."""
    name: str
    """One of `OF_ALL` or `OF_ACCOUNTS`."""

    def __str__(self) -> str:
        """The place where a person sets it: a variable, or a field of a file in `data/accounts/`."""
        if self.account == ALL:
            return f"DAILIES_{self.name.upper()}"
        if self.account in provider_names():
            return spec_of(self.account).variable(self.name)
        return f"{self.name} of {self.account} in data/accounts"

    @property
    def is_money(self) -> bool:
        """Whether its value is micro-dollars."""
        return "usd" in self.name

    def show(self, value: Value) -> str:
        """A value for a person."""
        if value is None:
            if self.name == "settle_seconds":
                return "the provider's usual time"
            return "no cap" if self.is_money else "no limit"
        if isinstance(value, int) and self.is_money:
            return show_usd(value)
        if self.name == "settle_seconds":
            return f"{value:g} s"
        return str(value) if isinstance(value, str) else f"{value:g}"


Policy = Mapping[Setting, Value]
"""The settings of a host, or the policy in force."""


def host_policy(account: str, values: Mapping[str, Any]) -> dict[Setting, Value]:
    """Read a host's policy settings of an account, or of all together.

    Args:
        values: The values by the names of settings; amounts in US dollars. Other names are ignored.
    """
    known = OF_ALL if account == ALL else OF_ACCOUNTS
    return {
        Setting(account, name): usd(value) if isinstance(value, Decimal) else value
        for name, value in values.items()
        if name in known
    }
