"""The policy in force: caps, limits and settle times, as facts of the ledger.

The first host that sets a value puts it in force in the ledger. From then on, every transaction that reserves money or claims a
POST reads the ledger, so that a host with older settings cannot exceed it. A host whose settings differ buys nothing until
`dailies policy apply` puts them in force or they are changed. A host that leaves a setting out follows the ledger.
"""

import datetime as dt
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa

from resources.ledger.budget import Budget
from resources.ledger.limits import Limits
from resources.ledger.policy_settings import ALL, Policy, Setting, Value
from resources.ledger.shared_tables import policy as entries
from resources.orders import Caps

NAMED = 3
"""The most differences that a refusal names."""


class PolicyEntry(NamedTuple):
    """One statement about a setting, as the ledger keeps it."""

    seq: int
    """Its place in the history."""
    setting: Setting
    """The setting that it concerns."""
    value: Value
    """The value in force since then."""
    at: float
    """When it was recorded, in seconds since the epoch."""
    who: str
    """Who set it: a person on a host, or a host at its first use."""


class PolicyDifference(NamedTuple):
    """A setting whose value on a host differs from the value in force."""

    setting: Setting
    here: Value
    """The host's value."""
    entry: PolicyEntry
    """The statement in force."""

    def __str__(self) -> str:
        since = f"{dt.datetime.fromtimestamp(self.entry.at, dt.UTC):%Y-%m-%d %H:%M} UTC"
        return (
            f"{self.setting} is {self.setting.show(self.here)} here, and {self.setting.show(self.entry.value)} is in force "
            f"(said by {self.entry.who}, {since})"
        )


class PolicyChange(NamedTuple):
    """A setting whose value in force has changed."""

    setting: Setting
    before: PolicyEntry | None
    """The statement before; None if no host had set a value."""
    value: Value
    """The value in force now."""


@dataclass(frozen=True)
class InForce:
    """The policy at one moment, and the settings of one host."""

    entries: Mapping[Setting, PolicyEntry]
    """The ledger's policy: the newest statement about each setting."""
    of_host: Policy
    """This host's settings."""
    own: Budget
    """The default caps, for settings that neither has."""

    def value(self, setting: Setting, otherwise: Any = None) -> Any:
        """The value of a setting; `otherwise` if the ledger keeps none."""
        entry = self.entries.get(setting)
        return otherwise if entry is None else entry.value

    @cached_property
    def differences(self) -> tuple[PolicyDifference, ...]:
        """The settings of this host that are not in force."""
        return tuple(
            PolicyDifference(setting, here, entry)
            for setting, here in sorted(self.of_host.items())
            if (entry := self.entries.get(setting)) is not None and entry.value != here
        )

    @cached_property
    def refusal(self) -> str | None:
        """Why this host may buy nothing, for a person; None if it may."""
        if not self.differences:
            return None
        named = "; ".join(map(str, self.differences[:NAMED]))
        more = f"; and {len(self.differences) - NAMED} more" if len(self.differences) > NAMED else ""
        return (
            f"the settings of this host ({socket.gethostname()}) are not the policy in force: {named}{more}. Nothing was bought. "
            "`dailies policy apply` on this host puts its settings in force; or change them, or leave them out."
        )

    @cached_property
    def budget(self) -> Budget:
        """The caps in force, without those of series."""

        def caps(account: str, own: Caps) -> Caps:
            periods = [
                period for period in ("day", "month", "run") if (account, f"max_usd_per_{period}") in by
            ]
            changed = {f"per_{period}": by[account, f"max_usd_per_{period}"].value for period in periods}
            return own.model_copy(update=changed) if changed else own

        by: Mapping[Any, PolicyEntry] = self.entries
        accounts = {*self.own.accounts, *(setting.account for setting in self.entries)} - {ALL}
        return replace(
            self.own,
            timezone=self.value(Setting(ALL, "timezone"), self.own.timezone),
            everything=caps(ALL, self.own.everything),
            accounts={name: caps(name, self.own.accounts.get(name, Caps())) for name in accounts},
            per_clip=self.value(Setting(ALL, "max_usd_per_clip"), self.own.per_clip),
            request_factor=self.value(Setting(ALL, "max_request_factor"), self.own.request_factor),
            hour_factor=self.value(Setting(ALL, "max_hour_factor"), self.own.hour_factor),
        )

    def limits(self, account: str, own: Limits) -> Limits:
        """The limits of an account in force; `own` are this host's settings."""
        return Limits(
            self.value(Setting(account, "max_in_flight"), own.in_flight),
            self.value(Setting(account, "submits_per_minute"), own.per_minute),
        )

    def settle_seconds(self, account: str, own: float | None) -> float | None:
        """The settle time of an account in force, None for its provider's; `own` is this host's setting."""
        value: float | None = self.value(Setting(account, "settle_seconds"), own)
        return value


_VERSION = sa.select(sa.func.max(entries.c.seq))
_NEWEST = sa.select(entries).where(
    entries.c.seq.in_(sa.select(sa.func.max(entries.c.seq)).group_by(entries.c.account, entries.c.setting))
)


class PolicyReader:
    """Reads the policy within a transaction, and caches it until the policy changes.

    Args:
        of_host: This host's settings.
        default_caps: The default caps, for settings that neither the ledger nor the host has.
    """

    def __init__(self, of_host: Policy, default_caps: Budget) -> None:
        self.of_host = of_host
        self.own = default_caps
        # one value, so that a thread never pairs its policy with a version that another thread has read since
        self._known: tuple[int | None, InForce] | None = None

    def read(self, connection: sa.Connection) -> InForce:
        """Read the policy in force. A transaction that reserves money or changes the policy has taken `lock_money` before."""
        version = connection.execute(_VERSION).scalar()
        known = self._known
        if known is None or known[0] != version:
            known = self._known = (version, InForce(newest(connection), self.of_host, self.own))
        return known[1]


def newest(connection: sa.Connection) -> dict[Setting, PolicyEntry]:
    """The newest statement about each setting."""
    return {entry.setting: entry for entry in map(entry_of, connection.execute(_NEWEST))}


def entry_of(row: sa.Row[Any]) -> PolicyEntry:
    """Read a row of the table."""
    return PolicyEntry(row.seq, Setting(row.account, row.setting), json.loads(row.value), row.at, row.who)
