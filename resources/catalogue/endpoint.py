"""An endpoint: a provider's model with its parameters, its price, its output and its lifecycle."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from resources.catalogue.attached_media import attach, frame_problems
from resources.catalogue.codecs import COMMON, Codec
from resources.catalogue.files import DataFolder, LocalFile
from resources.catalogue.frames import Output, seconds_of
from resources.catalogue.parameters import Parameter
from resources.declared.problems import Problem, ProblemsError, listed
from resources.declared.validation import Declared, Usd, refused
from resources.money import Micros, usd
from resources.orders import Expected, Seed
from resources.providers.registry import ProviderName, spec_of

PROMPT = "prompt"
LARGEST_RATE_USD = 1000
"""A larger price is most likely a typing mistake."""
SUNSET_WARNING_DAYS = 30
"""How long before its sunset an endpoint shows a warning."""


def _rate(value: Decimal) -> Decimal:
    if value > LARGEST_RATE_USD:
        raise refused(allowed=f"at most {LARGEST_RATE_USD} US dollars")
    return value


def _day(value: Any) -> date:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 (a date has no time zone)
    except (TypeError, ValueError):
        raise refused(allowed="a date as YYYY-MM-DD") from None


Rate = Annotated[
    Usd,
    AfterValidator(_rate),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "maximum": LARGEST_RATE_USD}),
]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


class Pricing(Declared):
    """The price of one job. Providers bill the selected duration, not the played one (WaveSpeed docs: model page)."""

    basis: Literal["listed", "upper_bound", "unknown"]
    """`listed`: from the provider's own page. `upper_bound`: the page names no price, so another provider's list price is
    taken as the most it should cost. `unknown`: nothing is bought at an unknown price."""
    source: str
    """Where the price was read."""
    per: Literal["second", "job"] = "second"
    """The unit of `usd` and `rates`."""
    seconds: str = "duration"
    """The parameter with the billed seconds."""
    usd: Rate | None = None
    """The one rate, in US dollars."""
    by: str | None = None
    """The parameter that chooses among `rates`."""
    rates: dict[str, Rate] = Field(default_factory=dict)
    """Rates in US dollars by the value of `by`; a value that is not here has an unknown price."""
    unknown_with: list[str] = Field(default_factory=list)
    """Parameters that make the price unknown if they are given."""

    @model_validator(mode="after")
    def _one_way(self) -> "Pricing":
        priced = (self.usd is not None) + bool(self.rates)
        if priced != (self.basis != "unknown"):
            raise refused(
                "give either `usd` or `rates` with `by`, and neither when the basis is unknown", found=False
            )
        if bool(self.rates) != (self.by is not None):
            raise refused("`rates` and `by` belong together", found=False)
        return self

    def price(self, body: Mapping[str, Any]) -> Micros | None:
        """The price of a request in micro-dollars; None if it is unknown."""
        if any(body.get(name) is not None for name in self.unknown_with):
            return None
        rate = self.usd if self.by is None else self.rates.get(_in_yaml(body.get(self.by)))
        if rate is None or self.per == "job":
            return None if rate is None else usd(rate)
        seconds = seconds_of(body.get(self.seconds))
        return None if seconds is None else usd(rate * seconds)

    @property
    def parameters(self) -> set[str]:
        """The parameters that it reads."""
        seconds = {self.seconds} if self.basis != "unknown" and self.per == "second" else set()
        return seconds | ({self.by} if self.by else set()) | set(self.unknown_with)


def _in_yaml(value: object) -> str:
    """A value as `rates` names it: `720p`, `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Lifecycle(Declared):
    """Whether the endpoint can still be bought."""

    status: Literal["live", "retired"]
    """`retired` endpoints are refused unless a series says `allow_retired`."""
    sunset_at: Day | None = None
    """The day from which it is gone, if one was announced."""
    replacement: str | None = None
    """The endpoint of the same provider to use instead."""

    def retired(self, today: date) -> bool:
        """Whether it is gone on a day."""
        return self.status == "retired" or (self.sunset_at is not None and self.sunset_at <= today)

    def coming_sunset(self, today: date) -> date | None:
        """Its sunset if that is after today: a request that is rendered today is not bought from then on."""
        return self.sunset_at if self.sunset_at is not None and self.sunset_at > today else None

    def warning(self, today: date) -> str | None:
        """A warning about its end; None if that is far away or not announced."""
        if self.retired(today):
            since = f" since {self.sunset_at}" if self.sunset_at is not None else ""
            return f"is retired by its provider{since}{self._instead}"
        if self.sunset_at is None or self.sunset_at - today > timedelta(days=SUNSET_WARNING_DAYS):
            return None
        days = (self.sunset_at - today).days
        return f"ends on {self.sunset_at}, in {days} {'day' if days == 1 else 'days'}{self._instead}"

    @property
    def _instead(self) -> str:
        return f"; use {self.replacement!r}" if self.replacement else ""


class Drafts(Declared):
    """How a model makes drafts that its provider can finish as the same shot."""

    parameters: dict[str, Any]
    """The parameters that order a draft, with their values; a series cannot change them."""
    finished_by: str
    """The endpoint of the same provider that finishes them."""
    days: Annotated[int, Field(gt=0)]
    """How many days the provider keeps a draft. Only the account that made it can finish it."""


class Endpoint(Declared):
    """A provider's model: an entry of `data/models/`. A new model of a known provider needs an entry, not code."""

    provider: ProviderName
    """Its provider."""
    id: Annotated[str, Field(min_length=1, max_length=120)]
    """The provider's model id."""
    title: str
    """Its name for people."""
    kind: Literal[
        "text-to-video",
        "image-to-video",
        "video-to-video",
        "audio-to-video",
        "draft-to-video",
        "video-to-text",
    ]
    """Its kind of input and output."""
    parameters: dict[str, Parameter]
    """Its parameters by the provider's own names, in the order of its page."""
    pricing: Pricing
    """The price of one job."""
    output: Output = Output()
    """The expected file."""
    drafts: Drafts | None = None
    """How it makes drafts for another endpoint to finish; left out if it makes none."""
    draft_id: str | None = None
    """Of a `draft-to-video` endpoint: the parameter that takes the provider's id of the draft. Prices and output may read parameters
    that only the draft has, such as its `duration`."""
    usual_seconds: Annotated[int, Field(gt=0)] | None = None
    """Seconds that a job usually takes, if the provider says so."""
    max_seconds: Annotated[int, Field(gt=0)] = 1800
    """Seconds after which a job is overdue."""
    lifecycle: Lifecycle
    """Whether it can still be bought."""
    source: str
    """Where parameters and output were read."""
    checked: Day
    """The day on which a person last compared this entry with its source."""
    doubts: list[str] = Field(default_factory=list)
    """Open questions and contradictions of the sources."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Endpoint":
        if (self.kind == "draft-to-video") != (self.draft_id is not None):
            raise refused("`draft_id` and the kind draft-to-video belong together", found=False)
        of_drafts = [("drafts", set(self.drafts.parameters))] if self.drafts is not None else []
        of_drafts += [("draft_id", {self.draft_id})] if self.draft_id is not None else []
        read = [("pricing", self.pricing.parameters), ("output", self.output.parameters)]
        for field, names in of_drafts if self.draft_id is not None else [*read, *of_drafts]:
            for name in sorted(names - self.parameters.keys()):
                raise refused(
                    f"`{field}` reads the parameter {name!r}, which is not in `parameters`", found=False
                )
        chosen: list[tuple[str, Iterable[str]]] = []
        if self.pricing.by is not None:
            chosen.append((self.pricing.by, self.pricing.rates))
        if self.output.table is not None:
            chosen.append((self.output.table.rows, self.output.table.frames))
        for by, values in chosen:
            known = self.parameters[by].allowed if by in self.parameters else None
            for value in values:
                if known is not None and value not in map(str, known):
                    problem = (
                        f"a price or frame is given for {by} {value!r}, which `parameters` does not allow"
                    )
                    raise refused(problem, found=False)
        return self

    @property
    def makes_video(self) -> bool:
        """Whether a clip can be made with it."""
        return self.kind.endswith("-to-video")

    @property
    def codec(self) -> Codec:
        """The conventions of its provider."""
        return Codec(spec_of(self.provider))

    @property
    def seed(self) -> Seed | None:
        """How it takes a seed; None if it takes none."""
        return self.codec.seed(self)

    @property
    def common_words(self) -> dict[str, Parameter]:
        """The common parameters that it accepts in addition to its own."""
        return self.codec.common_words(self)

    def resolve(
        self, prompt: str, parameters: Mapping[str, Any], *, files: DataFolder | None = None
    ) -> dict[str, Any]:
        """The request body, with every parameter explicit and in the order of the provider's page.

        Providers drop unknown keys silently and bill their defaults (WaveSpeed docs: validate-inputs), so everything that
        the page does not allow is refused here. A local file becomes a `resources.file_references.FileReference`; nothing is sent.

        Args:
            prompt: The rendered prompt.
            parameters: The series', by the endpoint's own names or by the common ones.
            files: The data folder; None if no local file may be named.

        Raises:
            ProblemsError: With every mistake; the fields are `prompt` and `parameters.<the series' name>`.
        """
        given = {name: value for name, value in parameters.items() if name != PROMPT}
        translation = self.codec.translate(self, given)
        problems = [self._unknown(name) for name in parameters if name == PROMPT or not self._knows(name)]
        problems += translation.problems
        body: dict[str, Any] = {}
        attached: dict[str, list[LocalFile]] = {}
        for name, parameter in self.parameters.items():
            field = PROMPT if name == PROMPT else f"parameters.{translation.names.get(name, name)}"
            if name == PROMPT:
                value: Any = prompt
            elif name in translation.values:
                value = translation.values[name]
            elif (value := parameter.sent) is None:
                if parameter.required:
                    problems.append(Problem(field, f"is missing; {self.id} needs it ({parameter.allows})"))
                continue
            if parameter.media is not None:
                media = attach(parameter, value, files, self.codec)
                value, attached[name], wrong = media.value, media.files, media.problems
            else:
                problem = parameter.problem(value)
                wrong = [] if problem is None else [problem]
            problems += [replace(problem, field=field) for problem in wrong]
            body[name] = value
        if not problems:
            sizes = frame_problems(self.parameters, attached, self.expected(body))
            problems = [
                replace(problem, field=f"parameters.{translation.names.get(name, name)}")
                for name, problem in sizes.items()
            ]
        if problems:
            raise ProblemsError(problems)
        return body

    def _knows(self, name: str) -> bool:
        return name in self.parameters or name in COMMON

    def takes(self, name: str) -> bool:
        """Whether it has a series' parameter, by its own name or as a common one."""
        return name in self.parameters or name in self.common_words

    def price(self, body: Mapping[str, Any], *, draft: Mapping[str, Any] | None = None) -> Micros | None:
        """The price of a request in micro-dollars; None if it is unknown; `pricing.basis` is the kind of its source.

        Args:
            draft: The body of the draft that it finishes, for parameters that only the draft has.
        """
        return self.pricing.price({**(draft or {}), **body})

    def expected(self, body: Mapping[str, Any], *, draft: Mapping[str, Any] | None = None) -> Expected:
        """The expected file of a request; None for facts that the sources do not state. Arguments as of `price`."""
        return self.output.expected({**(draft or {}), **body})

    def _unknown(self, name: str) -> Problem:
        if name == PROMPT:
            return Problem(
                f"parameters.{name}", "the prompt is the series' own field `prompt`, not a parameter"
            )
        known = [known for known in (*self.parameters, *self.common_words) if known != PROMPT]
        return Problem(
            f"parameters.{name}", f"is not a parameter of {self.id}", allowed=listed(known)
        ).hinted(name, known)
