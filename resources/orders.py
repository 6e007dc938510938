"""The rendered request of a clip: what `prompts` writes, `submissions` buys and every manifest quotes.

It is data only, so that every room may import it and none has to import another for it.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from resources.checks import Checks
from resources.plain import addresses_cut

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE = re.compile(r"file:([^#\x00-\x1f]{1,500})#sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class FileReference:
    """A local file in a request: `file:images/harbor.png#sha256=...`, until it is uploaded and its address is sent."""

    path: str
    """Below the data folder, with `/`."""
    sha256: str
    """Of its content, in hex; a file that has changed since is not sent."""

    def __str__(self) -> str:
        return f"file:{self.path}#sha256={self.sha256}"

    @classmethod
    def parse(cls, value: object) -> "FileReference | None":
        """The reference that a text is, None for anything else."""
        match = _FILE.fullmatch(value) if isinstance(value, str) else None
        return cls(match[1], match[2]) if match else None

    @classmethod
    def replaced(cls, body: dict[str, Any], change: "Callable[[FileReference], str]") -> dict[str, Any]:
        """A copy of a request body with every local file in it replaced by a text."""

        def text(value: Any) -> Any:
            reference = cls.parse(value)
            return value if reference is None else change(reference)

        return {
            name: [text(item) for item in value] if isinstance(value, list) else text(value)
            for name, value in body.items()
        }

    @classmethod
    def of(cls, body: dict[str, Any]) -> "list[FileReference]":
        """Every local file in a request body, each content once."""
        found: dict[str, FileReference] = {}
        cls.replaced(body, lambda reference: str(found.setdefault(reference.sha256, reference)))
        return list(found.values())


class Expected(BaseModel):
    """What the file must look like for this request; unknown is None and is not checked."""

    model_config = ConfigDict(frozen=True)

    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    shape: str | None = Field(default=None, pattern=r"^[1-9]\d{0,3}:[1-9]\d{0,3}$")
    """Width and height as they relate, e.g. `16:9`, where the pixels are not known."""
    duration: float | None = None
    """Seconds."""
    audio: bool | None = None
    """Whether the endpoint promises an audio track."""
    fps: float | None = None
    """Frames a second."""


class Caps(BaseModel):
    """The most that may be spent, in micro-dollars; None is no cap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_run: int | None = Field(default=None, ge=0)
    """By one decision: a person's run with its retries, a schedule's tick, a command."""
    per_day: int | None = Field(default=None, ge=0)
    """In a day."""
    per_month: int | None = Field(default=None, ge=0)
    """In a month."""
    total: int | None = Field(default=None, ge=0)
    """Ever."""


class Choice(BaseModel):
    """Another way to have the same clip, for when its provider refuses it or fails: a fallback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    """`wavespeed` or `aimlapi`."""
    endpoint: str
    """The provider's model id."""
    body: dict[str, Any]
    """The request exactly as it is sent."""
    price_micros: int | None
    """The catalogue's price in micro-dollars, None where it is unknown (it is not bought then)."""
    expected: Expected
    """What the delivered file is checked against."""
    usual_seconds: float | None = None
    """How long this endpoint usually takes, where the catalogue knows."""
    max_seconds: float = 1800
    """When a job is considered overdue."""
    sunset_at: date | None = None
    """The day (UTC) from which it is not bought any more, None where none was announced or it has passed and the
    series knows better."""


class Asked(BaseModel):
    """What was asked for, in a request that falls back to something else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    """Who was to make it."""
    endpoint: str
    """With which model."""
    fingerprint: str
    """Of the request that was asked for."""


class ClipRequest(BaseModel):
    """One clip, rendered and validated: everything that is needed to buy it, and nothing that is not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["clip", "character", "probe"] = "clip"
    """What is bought: a clip, a character that clips show, or a job that probes a provider."""
    clip: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{2,79}$")
    """The clip's key, which is its Dagster partition, e.g. `city-sunset-2026-11-20-hero`; a character's name."""
    series: str
    """Name of the series that declares it."""
    provider: str
    """`wavespeed` or `aimlapi`."""
    endpoint: str
    """The provider's model id, e.g. `openai/sora-2/text-to-video`."""
    body: dict[str, Any]
    """The request exactly as it is sent: every parameter explicit, since providers fill what is missing with
    defaults that cost money."""
    price_micros: int | None
    """The catalogue's price in micro-dollars, None where it is unknown (such a clip is not bought)."""
    expected: Expected
    """What the delivered file is checked against."""
    usual_seconds: float | None = None
    """How long this endpoint usually takes, where the catalogue knows."""
    max_seconds: float = 1800
    """When a job is considered overdue."""
    sunset_at: date | None = None
    """The day (UTC) from which it is not bought any more."""
    max_attempts: int = Field(default=1, ge=1, le=5)
    """How many purchases one decision may make for this clip when the provider fails in passing."""
    caps: Caps = Field(default_factory=Caps)
    """What may be spent on its series."""
    checks: Checks = Field(default_factory=Checks)
    """What its series wants checked of the file."""
    fallbacks: tuple[Choice, ...] = ()
    """What is bought instead, one after another, after a definite refusal or a job that failed."""
    asked: Asked | None = None
    """What was asked for, where this is a fallback."""
    owner: str | None = None
    """Who is told about it, as Dagster writes owners."""
    tags: dict[str, str] = Field(default_factory=dict)
    """The series' tags."""
    cast: dict[str, str] = Field(default_factory=dict)
    """The characters it shows: the provider's id of each, by its name."""

    @property
    def prompt(self) -> str:
        """The text of the prompt as it is sent."""
        return str(self.body.get("prompt", ""))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical request: provider, model and body, and nothing that does not change the clip.

        A fallback has that of what was asked for: it is the same clip, had in another way.
        """
        if self.asked is not None:
            return self.asked.fingerprint
        return fingerprint(self.provider, self.endpoint, self.body)

    def retired_at(self, now: float) -> str | None:
        """Why it is not bought at a moment (seconds since the epoch): its provider has retired the endpoint meanwhile."""
        if self.sunset_at is None or datetime.fromtimestamp(now, UTC).date() < self.sunset_at:
            return None
        return (
            f"{self.endpoint} is retired by its provider since {self.sunset_at}, after this prompt was rendered; "
            "materialize `prompts` again, which names what to use instead"
        )

    def fall_back(self) -> "ClipRequest | None":
        """The same clip from the next fallback, None when there is none left."""
        if not self.fallbacks:
            return None
        asked = self.asked or Asked(
            provider=self.provider, endpoint=self.endpoint, fingerprint=self.fingerprint
        )
        choice = {name: getattr(self.fallbacks[0], name) for name in Choice.model_fields}
        return self.model_copy(update={**choice, "fallbacks": self.fallbacks[1:], "asked": asked})

    def as_bought(self, provider: str, endpoint: str) -> "ClipRequest | None":
        """The request as it was bought from an endpoint: itself or one of its fallbacks, None when it is neither."""
        request: ClipRequest | None = self
        while request is not None and (request.provider, request.endpoint) != (provider, endpoint):
            request = request.fall_back()
        return request

    def is_same_choice(self, other: "ClipRequest") -> bool:
        """Whether both are bought in the same way."""
        return (self.provider, self.endpoint, self.body) == (other.provider, other.endpoint, other.body)

    @property
    def accounts(self) -> set[str]:
        """Every account it may be bought from."""
        return {self.provider, *(choice.provider for choice in self.fallbacks)}


def shown_body(body: dict[str, Any]) -> dict[str, Any]:
    """A request's body as it may be shown: addresses in it without their query, which may be a signature.

    The whole is in the ledger and in the bucket's `prompts/`, which what is bought is read from. The prompt is text for
    people and stays as it is.
    """
    return {name: value if name == "prompt" else addresses_cut(value) for name, value in body.items()}


def fingerprint(provider: str, endpoint: str, body: dict[str, Any]) -> str:
    """SHA-256 (hex) of a request in canonical form: sorted keys, no spaces, UTF-8; a local file counts by its content."""
    content = FileReference.replaced(body, lambda file: f"sha256:{file.sha256}")
    canonical = json.dumps(
        {"provider": provider, "endpoint": endpoint, "body": content},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
