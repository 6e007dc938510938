"""The fault script: rules that select requests and give their faults.

A rule's `when` selects requests; its `then` changes the answer, or the job that the request creates. In YAML:

    faults:
      - name: one bad gateway after the job was taken
        when: {provider: wavespeed, operation: submit, prompt_contains: storm, times: 1}
        then: {do: error_after, status: 502}
"""

import hashlib
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from resources.errors import ConfigurationError
from resources.sandbox.front_registry import fronts

Operation = Literal[
    "submit", "poll", "list", "cdn", "balance", "price", "billing", "models", "delete", "upload", "secret"
]
"""The operation of a request, by one name for all providers (AI/ML API's log is `list`, its billing `balance`)."""


class _Effect(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fail(_Effect):
    """The job ends as failed after its usual time, with this text; WaveSpeed adds the code."""

    do: Literal["fail"]
    error: str = "Task failed: upstream worker restarted, please try again"
    code: int = 1405


class Stuck(_Effect):
    """The job never ends, and keeps its slot."""

    do: Literal["stuck"]


class EmptyOutputs(_Effect):
    """The job ends as completed, and charged, with nothing to fetch."""

    do: Literal["empty_outputs"]


class TakenBack(_Effect):
    """The job succeeds, but polls first show a false end for some seconds: failed, completed without outputs, or gone."""

    do: Literal["taken_back"]
    shows: Literal["failed", "empty", "gone"]
    seconds: float = Field(ge=0)
    error: str = "Task failed: upstream worker restarted, please try again"


class WrongSize(_Effect):
    """The clip has another size than ordered; the pixels must be even numbers."""

    do: Literal["wrong_size"]
    width: int = Field(ge=16, le=4096, multiple_of=2)
    height: int = Field(ge=16, le=4096, multiple_of=2)


class Spoil(_Effect):
    """The clip has the ordered size, but is black, does not move, is silent, or has no sound track."""

    do: Literal["black", "frozen", "silent", "mute"]


class Substitute(_Effect):
    """Another model does the work, and the answers name it."""

    do: Literal["substitute"]
    model: str


class JobSeconds(_Effect):
    """The job works this many seconds instead of its usual time."""

    do: Literal["take"]
    seconds: float = Field(ge=0)


class Unlisted(_Effect):
    """The job appears in lists and logs only this many seconds after it was accepted."""

    do: Literal["unlisted"]
    seconds: float = Field(ge=0)


class NotYetKnown(_Effect):
    """Polls do not know the job for some seconds after it was accepted."""

    do: Literal["not_yet_known"]
    seconds: float = Field(ge=0)


class Drop(_Effect):
    """The connection is dropped without an answer, and nothing is carried out."""

    do: Literal["drop"]


class ErrorAfter(_Effect):
    """The request is carried out, but the answer is this error."""

    do: Literal["error_after"]
    status: int = Field(default=502, ge=400, le=599)
    body: Any = "<html><body><h1>502 Bad Gateway</h1></body></html>"


class LoseAnswer(_Effect):
    """The request is carried out, but the connection is dropped without an answer."""

    do: Literal["lose_answer"]


class CutAnswer(_Effect):
    """The request is carried out, but the connection is dropped after this share of the answer's body."""

    do: Literal["cut_answer"]
    share: float = Field(default=0.5, ge=0, lt=1)


class Garbage(_Effect):
    """The request is carried out, but the body of the answer (status 200) is this text."""

    do: Literal["garbage"]
    text: str = '{"code":200,"message":"succ'


class Reject(_Effect):
    """Nothing is carried out; the answer has this status and this body, JSON or text."""

    do: Literal["reject"]
    status: int = Field(ge=300, le=599)
    body: Any = None
    headers: dict[str, str] = Field(default_factory=dict)


class Throttle(_Effect):
    """Nothing is carried out; the answer is a 429 with the provider's error body, or with a gateway's page."""

    do: Literal["throttle"]
    envelope: bool = True
    retry_after: float | None = Field(default=None, ge=0)


class Delay(_Effect):
    """The answer is late; with `before`, the request is also carried out late."""

    do: Literal["delay"]
    seconds: float = Field(ge=0)
    before: bool = False


class StatusWord(_Effect):
    """A poll shows this word as the job's status; it shows outputs only with `keep_outputs`."""

    do: Literal["status"]
    word: str
    keep_outputs: bool = False


class Backward(_Effect):
    """A poll shows the job as not begun, even after a later state."""

    do: Literal["backward"]


class OddRows(_Effect):
    """The bill has two additional rows for each of its own: one of the opposite kind, and one with an unreadable price."""

    do: Literal["odd_rows"]


class Html(_Effect):
    """The CDN answers 200 with a web page instead of the clip."""

    do: Literal["html"]
    text: str = (
        "<!doctype html><title>Just a moment...</title><p>Checking your browser before you continue.</p>"
    )


class Truncate(_Effect):
    """The CDN sends this share of the clip and drops the connection."""

    do: Literal["truncate"]
    share: float = Field(default=0.5, ge=0, lt=1)


JobEffect = (
    Fail
    | Stuck
    | EmptyOutputs
    | TakenBack
    | WrongSize
    | Spoil
    | Substitute
    | JobSeconds
    | Unlisted
    | NotYetKnown
)
Effect = (
    JobEffect
    | Drop
    | ErrorAfter
    | LoseAnswer
    | CutAnswer
    | OddRows
    | Garbage
    | Reject
    | Throttle
    | Delay
    | StatusWord
    | Backward
    | Html
    | Truncate
)

_ONLY_AT: dict[type[_Effect], Operation] = {
    **dict.fromkeys(
        (
            Fail,
            Stuck,
            EmptyOutputs,
            TakenBack,
            WrongSize,
            Spoil,
            Substitute,
            JobSeconds,
            Unlisted,
            NotYetKnown,
        ),
        "submit",
    ),
    **dict.fromkeys((StatusWord, Backward), "poll"),
    **dict.fromkeys((Html, Truncate), "cdn"),
    OddRows: "billing",
}


def _a_front(name: str) -> str:
    if name not in fronts():
        raise ValueError(f"there is no provider {name!r} at the sandbox; allowed: {', '.join(fronts())}")
    return name


class When(BaseModel):
    """The requests that a rule selects: every given condition must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Annotated[str, AfterValidator(_a_front)] | None = None
    """Name of a provider, None for all."""
    endpoint: str | None = None
    """The requested model id."""
    operation: Operation | None = None
    """The operation; None is the effect's own operation, `submit` for most."""
    prompt_contains: str | None = None
    """A part of the job's prompt; upper and lower case are the same."""
    prompt_matches: re.Pattern[str] | None = None
    """A regular expression that matches in the job's prompt."""
    number: int | None = Field(default=None, ge=1)
    """Only the nth of the selected requests, from 1."""
    probability: float = Field(default=1, ge=0, le=1)
    """The probability for each selected request, drawn with `seed`."""
    seed: int = 0
    """Makes the draws repeatable."""
    times: int | None = Field(default=None, ge=1)
    """The most times that the rule fires."""


class FaultRule(BaseModel):
    """One rule of a fault script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    when: When = Field(default_factory=When)
    then: Annotated[Effect, Field(discriminator="do")]

    @model_validator(mode="after")
    def _belongs(self) -> Self:
        place = _ONLY_AT.get(type(self.then))
        if place and self.when.operation not in {None, place}:
            raise ValueError(
                f"{self.then.do!r} can only happen at operation {place!r}, not {self.when.operation!r}"
            )
        return self

    @property
    def operation(self) -> Operation:
        """The operation that the rule applies to."""
        return self.when.operation or _ONLY_AT.get(type(self.then), "submit")

    @property
    def key(self) -> str:
        """The key of its counts; two equal rules share them."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class FaultScript(BaseModel):
    """All rules. Every rule that selects a request applies to it, in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: list[FaultRule] = Field(default_factory=list)


def load_faults(path: Path) -> FaultScript:
    """Read a fault script.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or has an invalid rule.
    """
    try:
        return FaultScript.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the fault script {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"the fault script {path} is wrong at {where}: {first['msg']}") from error


@dataclass
class Tally:
    """The number of requests that a rule selected, and of those for which it fired."""

    seen: int = 0
    fired: int = 0


@dataclass(frozen=True)
class Subject:
    """The part of a request that rules read; endpoint and prompt are empty if it has no job."""

    provider: str
    operation: Operation
    endpoint: str = ""
    prompt: str = ""


@dataclass
class Faults:
    """The active rules and their counts."""

    rules: list[FaultRule] = field(default_factory=list)
    """In the order in which they apply."""
    tallies: dict[str, Tally] = field(default_factory=dict)
    """By `FaultRule.key`."""

    def strike(self, subject: Subject) -> list[FaultRule]:
        """Count a request and return the rules that fire."""
        hit = []
        for rule in self.rules:
            if not _fits(rule, subject):
                continue
            tally = self.tallies.setdefault(rule.key, Tally())
            tally.seen += 1
            if _due(rule.when, tally):
                tally.fired += 1
                hit.append(rule)
        return hit

    def tally(self, rule: FaultRule) -> Tally:
        """The counts of a rule."""
        return self.tallies.get(rule.key, Tally())


def _fits(rule: FaultRule, subject: Subject) -> bool:
    when = rule.when
    return (
        rule.operation == subject.operation
        and when.provider in {None, subject.provider}
        and when.endpoint in {None, subject.endpoint}
        and (when.prompt_contains is None or when.prompt_contains.casefold() in subject.prompt.casefold())
        and (when.prompt_matches is None or when.prompt_matches.search(subject.prompt) is not None)
    )


def _due(when: When, tally: Tally) -> bool:
    if when.number is not None and tally.seen != when.number:
        return False
    if when.times is not None and tally.fired >= when.times:
        return False
    return when.probability >= 1 or random.Random(f"{when.seed}:{tally.seen}").random() < when.probability
