"""The budget: the caps, and the money that each of them counts.

Data and arithmetic only, so that commands can read settings without the ledger's database; `counters` keeps the sums.
"""

import datetime as dt
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from resources.ledger.policy_settings import ALL, Setting
from resources.money import show_usd, usd
from resources.orders import Caps

MOST_PER_CLIP = usd("100")
"""The default cap of one clip: several times the dearest clip in any provider's price list ($14.00), and far below a quote in
another unit."""
BAND = 5
"""An amount is believed if it lies within this factor of the quote, above or below. Providers' pages show discounts of a tenth,
and prices that differ by a factor of two between versions. Amounts in cents (factor 100), yuan (7), micro-USD or credits (a
million) fall outside."""
EVERYTHING, SERIES, ACCOUNT = "everything", "series", "account"
RUN, DAY, MONTH, TOTAL = "run", "day", "month", "total"


class Scope(NamedTuple):
    """What a counter counts."""

    of: str
    """`everything`, `series` or `account`."""
    name: str
    """The series' or the account's name."""
    period: str
    """`run`, `day`, `month` or `total`."""
    key: str
    """The decision, the day (YYYY-MM-DD) or the month (YYYY-MM); empty for a total."""


@dataclass(frozen=True)
class Budget:
    """What may be spent, besides the caps in each series' file."""

    timezone: str = "UTC"
    """The IANA time zone in which a day begins and ends."""
    everything: Caps = field(default_factory=Caps)
    """Over all accounts and series."""
    accounts: Mapping[str, Caps] = field(default_factory=dict)
    """By account."""
    per_clip: int | None = MOST_PER_CLIP
    """The most that one clip may cost, in micro-dollars; None is no cap."""
    request_factor: float = 1.0
    """How many times its quote one request may be charged before its account is stopped."""
    hour_factor: float = 2.0
    """How many times the ordered amount an account may be charged within an hour before it is stopped."""

    def day(self, now: float) -> str:
        """The day of a moment, as YYYY-MM-DD."""
        return dt.datetime.fromtimestamp(now, zoneinfo.ZoneInfo(self.timezone)).date().isoformat()

    def refusal(self, amount: int) -> str | None:
        """Why one clip may not cost this amount (micro-USD), for a person; None if it may."""
        if self.per_clip is None or amount <= self.per_clip:
            return None
        return (
            f"one clip may cost {show_usd(self.per_clip)} and this one needs {show_usd(amount)}: if that is its price and not "
            "an amount in another unit, raise DAILIES_MAX_USD_PER_CLIP, then `dailies policy apply`. Nothing was bought."
        )

    def cap(self, scope: Scope, series: Caps) -> int | None:
        """The cap of a scope in micro-USD; None if there is none."""
        caps = {
            EVERYTHING: self.everything,
            ACCOUNT: self.accounts.get(scope.name, Caps()),
            SERIES: series,
        }[scope.of]
        return {RUN: caps.per_run, DAY: caps.per_day, MONTH: caps.per_month, TOTAL: caps.total}[scope.period]


def scopes(*, account: str, series: str, decision: str, day: str) -> list[Scope]:
    """All counters of a purchase."""
    periods = [(RUN, decision), (DAY, day), (MONTH, day[:7]), (TOTAL, "")]
    return [
        Scope(of, name, period, key)
        for of, name in ((EVERYTHING, ""), (SERIES, series), (ACCOUNT, account))
        for period, key in periods
    ]


def exceeded(
    caps: Mapping[Scope, int | None], spent: Mapping[Scope, int], amount: int, timezone: str
) -> str | None:
    """Why a purchase would exceed a cap, for a person; None when it would not.

    Args:
        caps: By scope, in micro-dollars; None is no cap.
        spent: The money that each scope counts already, in micro-dollars.
        amount: The price in micro-dollars.
        timezone: The time zone in which a day begins.
    """
    refusals = [
        _refusal(scope, cap, spent[scope], amount, timezone)
        for scope, cap in caps.items()
        if cap is not None and spent[scope] + amount > cap
    ]
    return f"{'; '.join(refusals)}. Nothing was bought." if refusals else None


def _refusal(scope: Scope, cap: int, spent: int, amount: int, timezone: str) -> str:
    per = f"per_{scope.period}"
    raised = f"{Setting(scope.name or ALL, f'max_usd_{per}')}, then `dailies policy apply`"
    owner, setting = {
        EVERYTHING: ("", raised),
        ACCOUNT: (f" of {scope.name}", raised),
        SERIES: (
            f" of the series {scope.name}",
            f"`budget.{'total' if scope.period == TOTAL else per}` in its file",
        ),
    }[scope.of]
    period = {
        RUN: f"one run ({scope.key})",
        DAY: f"the day {scope.key} ({timezone})",
        MONTH: f"the month {scope.key} ({timezone})",
        TOTAL: "all its clips together",
    }[scope.period]
    return (
        f"the cap{owner} for {period} is {show_usd(cap)}; {show_usd(spent)} is spent or reserved and this clip needs "
        f"{show_usd(amount)}: raise {setting}"
    )
