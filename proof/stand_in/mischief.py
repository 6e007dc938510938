"""The provider's faults, their frequency, and the requests that they hit.

The seed and the order of requests decide them, never a client's behaviour.
"""

import random
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import Any

from proof.stand_in.books import LISTS_ENDED
from resources.sandbox.faults import FaultRule, Faults, Subject

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
"""Faults of a POST.

A job is created, and its answer is lost, cut, an error or garbage. Or it is created after the client has given up. Or the
request is dropped or refused, with and without the API's own words, and no job is created. Or the answer takes long. Or the
client is killed before the job is created, or between that and the answer.
"""

POLLS = {
    "poll dropped": 0.015,
    "poll cut": 0.005,
    "poll error": 0.015,
    "poll throttled": 0.01,
    "poll garbage": 0.01,
    "poll backward": 0.03,
    "poll odd word": 0.03,
    "poll slow": 0.01,
    "kill at poll": 0.006,
}
FETCHES = {
    "fetch truncated": 0.05,
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
BILLS = {"bill odd rows": 0.3}
"""Pages of a bill with rows that prove nothing."""
UNKNOWN = {"not yet known": 0.05}
"""Jobs that polls do not find at first."""
FATES = {"failed": 0.03, "moderated": 0.01, "empty": 0.01, "stuck": 0.012}
"""The ends of jobs that do not succeed in time; failed and empty ones may be bought again."""


@dataclass(frozen=True)
class Mischief:
    """The faults of a round."""

    seed: int = 0
    posts: dict[str, float] = field(default_factory=lambda: dict(POSTS))
    """Share of the POSTs that each fault hits; likewise below."""
    polls: dict[str, float] = field(default_factory=lambda: dict(POLLS))
    fetches: dict[str, float] = field(default_factory=lambda: dict(FETCHES))
    lists: dict[str, float] = field(default_factory=lambda: dict(LISTS))
    bills: dict[str, float] = field(default_factory=lambda: dict(BILLS))
    fates: dict[str, float] = field(default_factory=lambda: dict(FATES))
    unknown: dict[str, float] = field(default_factory=lambda: dict(UNKNOWN))
    strangers: float = 25.0
    """Mean seconds between two jobs of a stranger while strangers buy."""
    list_lag: float = 15.0
    """The longest time until a list or a bill shows a job, in seconds."""
    refund_seconds: float = 200.0
    """Seconds from a failed job's end to its refund."""
    clock_off: dict[str, float] = field(
        default_factory=lambda: {"wavespeed": 600.0, "aimlapi": -600.0, "fal": -300.0, "replicate": 300.0}
    )
    """The error of each provider's clock, in seconds."""
    job_seconds: float = 47.5
    """Seconds that a job takes, half of them more or less."""
    kills: bool = True
    """Whether clients may be killed at chosen moments."""

    @classmethod
    def none(cls, seed: int) -> "Mischief":
        """No faults."""
        return cls(seed, {}, {}, {}, {}, {}, {}, {}, list_lag=2.0, clock_off={}, kills=False)

    @classmethod
    def losing(cls, seed: int, share: float) -> "Mischief":
        """No faults, except that a share of the answers to POSTs is lost."""
        return replace(cls.none(seed), posts={"lost": share})

    @classmethod
    def of(cls, document: dict[str, object]) -> "Mischief":
        """Read it from its JSON."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})  # type: ignore[arg-type]


CLIENT_GAVE_UP_SECONDS = 60.0
"""The hard deadline of a POST."""
PROPAGATION_SECONDS = 20.0
STUCK_SECONDS = 1800.0
SIZE = {"do": "wrong_size", "width": 64, "height": 64}
"""The size of every clip: decoding large ones would be most of the work of a storm."""
GARBAGE = '{"code":200,"message":"success","data":{"id'
PAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>"
_UNTOLD = {"lost", "cut", "error after", "garbage after", "late"}


class Dice(Faults):
    """Decides the faults of each request, as rules of the sandbox's fault script."""

    def __init__(self, mischief: Mischief) -> None:
        super().__init__()
        self.mischief = mischief
        self.calm = False
        self._counts: Counter[str] = Counter()

    def strike(self, subject: Subject) -> list[FaultRule]:
        """The faults of a request."""
        mischief, about = self.mischief, f"{subject.provider}:{subject.prompt}"
        if subject.operation == "submit":
            return self._submit(subject.provider, about)
        shares = {
            "poll": mischief.polls,
            "cdn": mischief.fetches,
            "list": mischief.lists,
            "billing": {**mischief.lists, **mischief.bills},
        }
        fault = self._throw(f"{subject.operation}:{about}", shares.get(subject.operation, {}))
        return [_rule(fault, self._effect(fault))] if fault else []

    def between(self, what: str, low: float, high: float) -> float:
        """A number drawn from the seed."""
        return self._random(f"between:{what}").uniform(low, high)

    def usual(self, provider: str) -> list[FaultRule]:
        """The effects on every job, also on a stranger's, which gets no faults."""
        lag = 0.0 if self.calm else self.between(f"{provider} lag", 0.0, self.mischief.list_lag)
        return [_rule("size", SIZE), _rule("lag", {"do": "unlisted", "seconds": lag})]

    def _submit(self, provider: str, about: str) -> list[FaultRule]:
        rules = self.usual(provider)
        fault = self._throw(f"post:{about}", self.mischief.posts)
        if fault:
            rules.append(_rule(fault, self._effect(fault)))
        fate = self._throw(f"fate:{about}", self.mischief.fates)
        # a listing of ended jobs proves nothing about a job that runs for ever
        if fate and not (fate == "stuck" and provider in LISTS_ENDED and fault in _UNTOLD):
            rules.append(_rule(fate, _FATES[fate]))
        if unknown := self._throw(f"unknown:{about}", self.mischief.unknown):
            rules.append(_rule(unknown, {"do": "not_yet_known", "seconds": PROPAGATION_SECONDS}))
        return rules

    def _effect(self, fault: str) -> dict[str, Any]:
        """The effect of a fault, by the last words of its name."""
        if fault.startswith("kill"):
            return {"do": "delay", "seconds": 0, "before": fault != "kill after"}
        if fault == "late":
            late = CLIENT_GAVE_UP_SECONDS + self.between("late", 1, 15)
            return {"do": "delay", "seconds": late, "before": True}
        if fault == "throttled":
            wait = self.between("retry-after", 3, 12)
            return {"do": "throttle", "retry_after": round(wait) if wait > 6 else None}
        kind = fault.removeprefix("poll ").removeprefix("fetch ").removeprefix("list ").removeprefix("bill ")
        if kind == "slow":
            return {"do": "delay", "seconds": self.between("slow", 2, 10), "before": True}
        return _EFFECTS[kind]

    def _throw(self, what: str, shares: dict[str, float]) -> str | None:
        if self.calm:
            return None
        thrown = self._random(what).random()
        for fault, share in shares.items():
            thrown -= share
            if thrown < 0:
                return fault if self.mischief.kills or not fault.startswith("kill") else None
        return None

    def _random(self, what: str) -> random.Random:
        self._counts[what] += 1
        return random.Random(f"{self.mischief.seed}:{what}:{self._counts[what]}")


_EFFECTS: dict[str, dict[str, Any]] = {
    "lost": {"do": "lose_answer"},
    "cut": {"do": "cut_answer", "share": 0.2},
    "truncated": {"do": "truncate"},
    "dropped": {"do": "drop"},
    "error": {"do": "reject", "status": 503, "body": PAGE},
    "error after": {"do": "error_after", "status": 502, "body": PAGE},
    "error before": {"do": "reject", "status": 502, "body": PAGE},
    "garbage": {"do": "garbage", "text": GARBAGE},
    "garbage after": {"do": "garbage", "text": GARBAGE},
    "throttled": {"do": "throttle"},
    "throttled bare": {"do": "throttle", "envelope": False},
    "backward": {"do": "backward"},
    "odd word": {"do": "status", "word": "postprocessing"},
    "odd rows": {"do": "odd_rows"},
    "page": {"do": "html"},
    "expired": {"do": "reject", "status": 403, "body": PAGE},
}
_FATES: dict[str, dict[str, Any]] = {
    "failed": {"do": "fail", "error": "internal error", "code": 5000},
    "moderated": {
        "do": "fail",
        "error": "Your request was blocked by our moderation system: content policy.",
        "code": 1200,
    },
    "empty": {"do": "empty_outputs"},
    "stuck": {"do": "take", "seconds": STUCK_SECONDS},
}


def _rule(name: str, effect: dict[str, Any]) -> FaultRule:
    return FaultRule.model_validate({"name": name, "then": effect})
