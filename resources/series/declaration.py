"""The format of a series file. Editors show its docstrings, because they are part of the JSON Schema."""

import functools
import re
import zoneinfo
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from resources.checks import Checks
from resources.declared.problems import nearest
from resources.declared.validation import Declared, Plain, Usd, refused
from resources.money import usd
from resources.orders import MOST_TAKES, Caps, Otherwise, Review
from resources.providers.registry import ProviderName
from resources.series.cron import cron_mistake
from resources.series.dates import DateRule
from resources.series.prompts import PromptDeclaration
from resources.series.templates import BUILT_IN, RESERVED

MAX_CLIPS = 2000
"""Clips of one series for one date."""

_NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"
NAME = re.compile(_NAME)
_DATE_SHAPED = re.compile(r"(?<![0-9])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
_OWNER = r"team:[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"


def is_date_shaped(text: str) -> bool:
    """Whether a text contains something like a date, which would make a clip's key ambiguous."""
    return _DATE_SHAPED.search(text) is not None


def _matching(pattern: str, allowed: str, longest: int) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if len(value) > longest or not compiled.fullmatch(value):
            raise refused(allowed=f"{allowed}, at most {longest} characters")
        return value

    return check


def _undated(value: str) -> str:
    if is_date_shaped(value):
        raise refused("looks like a date, and clip keys contain the date already", found=True)
    return value


def _variable(value: str) -> str:
    if value in BUILT_IN | RESERVED:
        raise refused("is a name with a meaning in templates; choose another")
    return value


def _text(pattern: str, longest: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": longest})


Name = Annotated[
    str,
    AfterValidator(_matching(_NAME, "lower-case letters, digits and single hyphens", 48)),
    AfterValidator(_undated),
    _text(_NAME, 48),
]
VariableName = Annotated[
    str,
    AfterValidator(_matching("[a-z][a-z0-9_]*", "lower-case letters, digits and _", 40)),
    AfterValidator(_variable),
    _text("[a-z][a-z0-9_]*", 40),
]
Owner = Annotated[
    str, AfterValidator(_matching(_OWNER, "an e-mail address or team:name", 120)), _text(_OWNER, 120)
]
TagKey = Annotated[
    str,
    AfterValidator(_matching("[A-Za-z0-9_.-]+", "letters, digits, _ . and -", 63)),
    _text("[A-Za-z0-9_.-]+", 63),
]
TagValue = Annotated[
    str,
    AfterValidator(_matching("[A-Za-z0-9_.-]*", "letters, digits, _ . and -", 63)),
    _text("[A-Za-z0-9_.-]*", 63),
]


@functools.cache
def _timezones() -> frozenset[str]:
    # to list them reads the whole time zone database
    return frozenset(zoneinfo.available_timezones())


def _timezone(value: str) -> str:
    if value not in _timezones():
        # of an abbreviation the most similar one is another time: CEST is not EST
        hint = nearest(value, _timezones()) if "/" in value else ""
        raise refused(hint, allowed="" if hint else "a time zone of the IANA database, e.g. Europe/Berlin")
    return value


def _cron(value: str) -> str:
    if (mistake := cron_mistake(value)) is not None:
        raise refused(mistake)
    return " ".join(value.split())


def _parameter(value: Any) -> Any:
    if not isinstance(value, (str, int, float, bool, list)):
        raise refused(allowed="text, a number, true or false, or a list of texts")
    return value


ParameterValue = Annotated[Any, AfterValidator(_parameter), WithJsonSchema({})]
Parameters = Annotated[dict[str, ParameterValue], Field(max_length=50)]
Variables = Annotated[dict[VariableName, Plain], Field(max_length=100)]


class Schedule(Declared):
    """When the series is produced automatically."""

    cron: Annotated[str, AfterValidator(_cron), WithJsonSchema({"type": "string"})] = Field(
        examples=["0 6 * * 1-5"]
    )
    """Minute, hour, day of month, month, day of week."""
    timezone: Annotated[str, AfterValidator(_timezone), WithJsonSchema({"type": "string"})] = Field(
        default="UTC", examples=["Europe/Berlin"]
    )
    """The time zone of the cron expression, and of the date in the clips' keys."""


class BudgetDeclaration(Declared):
    """What may be spent on the series, in US dollars. A clip that would exceed a cap is not bought."""

    per_run: Usd | None = Field(default=None, examples=[10])
    """For one decision: a run with its retries, one tick of the schedule, or one command."""
    per_day: Usd | None = None
    """Per day, in the time zone of DAILIES_TIMEZONE."""
    per_month: Usd | None = None
    """Per month."""
    total: Usd | None = None
    """In total."""

    def caps(self) -> Caps:
        """The same in micro-dollars."""
        return Caps(**{name: usd(amount) for name, amount in self if amount is not None})


def _duration(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,2}[hd]", value, re.ASCII):
        raise refused(allowed="a number of hours or days, e.g. 12h or 2d")
    return value


class ReviewDeclaration(Declared):
    """Who judges the takes of the series, and what happens if nobody does."""

    by: Literal["none", "person"]
    """`person`: no take is current before a person circles it, and no newer take replaces a circled one."""
    within: Annotated[str, AfterValidator(_duration), _text(r"[1-9]\d{0,2}[hd]", 4)] | None = Field(
        default=None, examples=["12h", "2d"]
    )
    """How long people have after a clip's newest take; left out, as long as it takes."""
    otherwise: Literal["hold", "newest", "best_checks"] = "hold"
    """What happens then: `hold` goes on waiting, `newest` circles the newest take, `best_checks` the one with the fewest failed
    and warned checks."""

    @model_validator(mode="after")
    def _within_is_of_people(self) -> "ReviewDeclaration":
        if self.within is not None and self.by != "person":
            raise refused("`within` is for `by: person`", found=False)
        if self.otherwise != "hold" and self.within is None:
            raise refused("`otherwise` needs `within`", found=False)
        return self


# tags as of a prompt that is text or fields
ReviewAsked = Annotated[
    Annotated[Literal["none", "person"], Tag("[text]")] | Annotated[ReviewDeclaration, Tag("[fields]")],
    Discriminator(lambda value: "[fields]" if isinstance(value, (dict, ReviewDeclaration)) else "[text]"),
]


def review_of(declared: Literal["none", "person"] | ReviewDeclaration) -> Review:
    """A declared review as an order has it."""
    if not isinstance(declared, ReviewDeclaration):
        return Review(by=declared)
    seconds = None
    if declared.within is not None:
        seconds = int(declared.within[:-1]) * (86_400 if declared.within[-1] == "d" else 3_600)
    return Review(by=declared.by, within_seconds=seconds, otherwise=Otherwise(declared.otherwise))


def _nobody_twice(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise refused("names a character twice", found=False)
    return names


Cast = Annotated[list[Name], Field(max_length=10), AfterValidator(_nobody_twice)]
"""Names of characters."""


class FallbackDeclaration(Declared):
    """Another endpoint for the same clips, used when the provider refuses one or fails."""

    endpoint: str
    """The provider's model id, as in data/models."""
    provider: ProviderName | None = None
    """Who sells it; needed only if two providers sell the same id."""
    account: str | None = None
    """The account that it is bought from, as in data/accounts; left out, the provider's own."""
    parameters: Parameters = Field(default_factory=dict)
    """Parameters that override the clip's, by the endpoint's own names or by the common ones."""
    cast: Literal["none"] | None = None
    """`none` buys the clip without its characters; left out, this endpoint must know them too."""


class DraftDeclaration(FallbackDeclaration):
    """A cheaper endpoint whose takes people judge first."""

    parameters: Parameters = Field(default_factory=dict)
    """Parameters of the draft, by the endpoint's own names or by the common ones. Of the clip's, it takes those that it knows."""
    first_frame: str | None = None
    """The image parameter of the series' endpoint that takes the first frame of the circled draft, mostly `image`; left out, the finish
    does not begin with the draft's picture."""


Fallbacks = Annotated[list[FallbackDeclaration], Field(max_length=5)]
_CARRY = frozenset(
    {
        "provider",
        "account",
        "parameters",
        "include",
        "cast",
        "prompt",
        "variables",
        "dates",
        "clips",
        "matrix",
    }
    | {"schedule", "dated", "fallback", "draft"}
)
PLACES = "Parameters of the endpoint belong under `parameters`, values for the prompt under `variables`."


class ClipDeclaration(Declared):
    """One clip of a series."""

    advice: ClassVar[str] = PLACES
    carries: ClassVar[frozenset[str]] = _CARRY

    name: Name = Field(examples=["hero"])
    """Its name, the end of its key."""
    endpoint: str | None = None
    """The model id that it is bought from, instead of the series'."""
    provider: ProviderName | None = None
    """Who sells the endpoint; needed only if two providers sell the same id."""
    account: str | None = None
    """The account that it is bought from; left out, the series' account if the endpoint is sold by the series' provider."""
    fallback: Fallbacks | None = None
    """Its own fallbacks, instead of the series'; an empty list is none."""
    variables: Variables = Field(default_factory=dict)
    """Its own variables; they override the series'."""
    parameters: Parameters = Field(default_factory=dict)
    """Its own parameters; they override the series'."""
    prompt: PromptDeclaration | None = None
    """Its own prompt: text replaces the series' prompt, fields override the series' fields."""
    cast: Cast | None = None
    """Characters of data/characters that it shows, instead of the series'; an empty list shows none."""


class SeriesDeclaration(Declared):
    """A series: which clips, with which model and settings, and when."""

    advice: ClassVar[str] = PLACES
    carries: ClassVar[frozenset[str]] = _CARRY

    name: Name = Field(examples=["city-sunset"])
    """Its name, the start of its clips' keys; unique among all series."""
    keys: Name | None = None
    """The start of its clips' keys where that is not its name: `dailies rename` sets it, so that a renamed series keeps its clips."""
    title: Annotated[str, Field(max_length=100)] | None = None
    """Its name for people."""
    description: Annotated[str, Field(max_length=2000)] | None = None
    """What it is for."""
    endpoint: str
    """The provider's model id, as in data/models."""
    provider: ProviderName | None = None
    """Who sells it; needed only if two providers sell the same id."""
    account: str | None = None
    """The account that it is bought from, as in data/accounts; left out, the provider's own."""
    parameters: Parameters = Field(default_factory=dict)
    """The endpoint's parameters, by its own names or by the common ones. The defaults of the provider's page fill the rest."""
    include: Annotated[list[Name], Field(max_length=10)] = Field(
        default_factory=list, examples=[["house-style"]]
    )
    """Files of data/prompts whose variables and prompt fields it includes; a later file overrides an earlier one."""
    fallback: Fallbacks = Field(default_factory=list)
    """Endpoints that are tried in order when the provider definitely refuses a clip or its job fails; within the same
    decision and caps, and never while an outcome is unknown."""
    draft: DraftDeclaration | None = None
    """Buys drafts from this endpoint first. The series' own endpoint finishes only the draft that a person circles, and `fallback` is for
    that finish. It needs `review` by a person."""
    cast: Cast = Field(default_factory=list, examples=[["mara"]])
    """Characters of data/characters that its clips show."""
    prompt: PromptDeclaration | None = None
    """The prompt: text or fields, each a Jinja2 template with the variables, `series`, `clip` and, in a dated series,
    `date` (YYYY-MM-DD). Needed unless each clip or an include has one."""
    variables: Variables = Field(default_factory=dict)
    """Variables of every clip."""
    dates: Annotated[dict[DateRule, Variables], Field(max_length=400)] = Field(
        default_factory=dict, examples=[{"12-24": {"mood": "festive"}, "friday": {"mood": "lively"}}]
    )
    """Variables of single dates (YYYY-MM-DD), of a day of every year (MM-DD) and of weekdays; they override the series'."""
    clips: Annotated[list[ClipDeclaration], Field(min_length=1, max_length=MAX_CLIPS)] | None = None
    """The clips one by one; the other choice is `matrix`."""
    matrix: (
        Annotated[dict[VariableName, Annotated[list[Plain], Field(min_length=1)]], Field(min_length=1)] | None
    ) = None
    """Variables with lists of values: one clip for each combination, named after its values; the other choice is `clips`."""
    schedule: Schedule | None = None
    """When it is produced automatically; without a schedule, only a person or a command produces it."""
    owner: Owner | None = Field(default=None, examples=["team:video"])
    """Who is responsible for it: an e-mail address or `team:name`."""
    tags: dict[TagKey, TagValue] = Field(default_factory=dict)
    """Labels shown in Dagster."""
    max_attempts: int = Field(default=1, ge=1, le=5)
    """Most purchases of one decision for a clip when the provider fails for a passing reason."""
    takes: int = Field(default=1, ge=1, le=MOST_TAKES, examples=[3])
    """How many takes of each clip are bought within one decision, each at the full price and with a seed of its own where the model
    takes one. A person circles one."""
    budget: BudgetDeclaration | None = None
    """The most that may be spent on it."""
    checks: Checks = Field(default_factory=Checks)
    """Checks that every clip must pass before it counts as delivered."""
    review: ReviewAsked = "none"
    """Who judges its takes: `none`, `person`, or a mapping of `by`, `within` and `otherwise`."""
    allow_retired: bool = False
    """Buy although the provider has retired the endpoint."""
    dated: bool | None = None
    """Whether each date has its own clips; left out, a series with a schedule is dated."""

    @model_validator(mode="after")
    def _clips_or_matrix(self) -> "SeriesDeclaration":
        written = {"clips", "matrix"} & self.model_fields_set
        if written and self.clips is None and self.matrix is None:
            raise refused(f"`{min(written)}` is empty: it needs one entry or more", found=False)
        if (self.clips is None) == (self.matrix is None):
            raise refused("give either `clips` or `matrix`", found=False)
        return self

    @model_validator(mode="after")
    def _dates_of_a_dated_series(self) -> "SeriesDeclaration":
        if self.dates and not self.is_dated:
            raise refused("`dates` needs a series with `dated: true` or a schedule", found=False)
        return self

    @model_validator(mode="after")
    def _drafts_are_judged(self) -> "SeriesDeclaration":
        if self.draft is not None and not review_of(self.review).asks:
            raise refused(
                "`draft` needs `review: person`: a finish is bought when a draft is circled", found=False
            )
        return self

    @property
    def is_dated(self) -> bool:
        """Whether each date has its own clips."""
        return self.schedule is not None if self.dated is None else self.dated
