"""What goes wrong, how often, and for whom: decided by the seed and the order of things, never by what a client does."""

import random
from collections import Counter
from dataclasses import dataclass, field, fields, replace

POSTS = {
    "lost": 0.03,
    "cut": 0.012,
    "error after": 0.015,
    "garbage after": 0.01,
    "late": 0.01,
    "dropped": 0.012,
    "error before": 0.012,
    "throttled": 0.015,
    "throttled bare": 0.006,
    "slow": 0.02,
    "kill before": 0.015,
    "kill after": 0.025,
}
"""A POST: a job is created and the answer lost, cut, an error or garbage; it is created after the client has given up; the
request is dropped or refused without one; the client is refused with and without the API's own words; the answer takes
long; the client is killed before the job is created, or after it and before the answer."""

POLLS = {
    "poll dropped": 0.015,
    "poll cut": 0.005,
    "poll error": 0.015,
    "poll throttled": 0.01,
    "poll garbage": 0.01,
    "poll backward": 0.03,
    "poll odd word": 0.03,
    "poll not yet known": 0.02,
    "poll slow": 0.01,
    "kill at poll": 0.006,
}
FETCHES = {
    "fetch cut": 0.05,
    "fetch error": 0.03,
    "fetch page": 0.02,
    "fetch expired": 0.01,
    "fetch slow": 0.01,
    "kill at fetch": 0.025,
}
LISTS = {
    "list dropped": 0.03,
    "list error": 0.04,
    "list garbage": 0.02,
    "list throttled": 0.01,
    "kill at list": 0.03,
}
ROWS = {"odd row": 0.1}
"""Rows of a bill beside which there are others that prove nothing."""
FATES = {"failed": 0.03, "moderated": 0.01, "empty": 0.01, "stuck": 0.012}
"""How jobs end that do not succeed in time; failed and empty may be bought again."""


@dataclass(frozen=True)
class Mischief:
    """What goes wrong.

    Attributes:
        seed: Decides all of it.
        posts: Share of the POSTs each fault meets; and so on.
        strangers: Mean seconds between two jobs of somebody else's while strangers are about.
        list_lag: The longest time until a list or a bill shows a job, in seconds.
        refund_lag: The longest time until a failed job is paid back, in seconds.
        clock_off: By how many seconds each provider's clock is wrong.
        job_seconds: How long a job takes, from and to.
        kills: Whether clients may be killed at chosen moments.
    """

    seed: int = 0
    posts: dict[str, float] = field(default_factory=lambda: dict(POSTS))
    polls: dict[str, float] = field(default_factory=lambda: dict(POLLS))
    fetches: dict[str, float] = field(default_factory=lambda: dict(FETCHES))
    lists: dict[str, float] = field(default_factory=lambda: dict(LISTS))
    rows: dict[str, float] = field(default_factory=lambda: dict(ROWS), kw_only=True)
    fates: dict[str, float] = field(default_factory=lambda: dict(FATES))
    strangers: float = 25.0
    list_lag: float = 15.0
    refund_lag: float = 400.0
    clock_off: dict[str, float] = field(default_factory=lambda: {"wavespeed": 600.0, "aimlapi": -600.0})
    job_seconds: tuple[float, float] = (25.0, 70.0)
    kills: bool = True

    @classmethod
    def none(cls, seed: int) -> "Mischief":
        """Nothing goes wrong."""
        return cls(
            seed,
            {},
            {},
            {},
            {},
            {},
            rows={},
            list_lag=2.0,
            clock_off={"wavespeed": 0.0, "aimlapi": 0.0},
            kills=False,
        )

    @classmethod
    def losing(cls, seed: int, share: float) -> "Mischief":
        """Nothing goes wrong but that a share of the answers to POSTs is lost."""
        return replace(cls.none(seed), posts={"lost": share})

    @classmethod
    def of(cls, document: dict[str, object]) -> "Mischief":
        """From its JSON."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})  # type: ignore[arg-type]


class Dice:
    """Decides what befalls each request.

    Args:
        mischief: What may.
    """

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief
        self.calm = False
        self._counts: Counter[str] = Counter()

    def post(self, what: str) -> str | None:
        """The fault of the next POST about something, None for none."""
        return self._throw("post", what, self.mischief.posts)

    def poll(self, what: str) -> str | None:
        """The fault of the next poll."""
        return self._throw("poll", what, self.mischief.polls)

    def fetch(self, what: str) -> str | None:
        """The fault of the next download."""
        return self._throw("fetch", what, self.mischief.fetches)

    def list(self, what: str) -> str | None:
        """The fault of the next page of a list or a bill."""
        return self._throw("list", what, self.mischief.lists)

    def row(self, what: str) -> str | None:
        """The fault beside a row of a bill."""
        return self._throw("row", what, self.mischief.rows)

    def fate(self, what: str) -> str:
        """How the next job ends."""
        return self._throw("fate", what, self.mischief.fates) or "done"

    def between(self, what: str, low: float, high: float) -> float:
        """A number for something, the same for the same seed."""
        return self._random(f"between:{what}").uniform(low, high)

    def _throw(self, kind: str, what: str, shares: dict[str, float]) -> str | None:
        if self.calm:
            return None
        thrown = self._random(f"{kind}:{what}").random()
        for fault, share in shares.items():
            thrown -= share
            if thrown < 0:
                return fault if self.mischief.kills or not fault.startswith("kill") else None
        return None

    def _random(self, what: str) -> random.Random:
        self._counts[what] += 1
        return random.Random(f"{self.mischief.seed}:{what}:{self._counts[what]}")
