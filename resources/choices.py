"""What an order buys: one endpoint with its body and price, its fallbacks, and the finish of a draft.

It contains only data. `resources.orders` makes the request of a clip of it.
"""

import hashlib
import json
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from resources.file_references import FileReference


class Seed(BaseModel):
    """The parameter with which a model takes a seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The endpoint's own name of it."""
    least: int = 0
    """The smallest seed that is drawn."""
    most: int = 2**31 - 1
    """The largest seed that is drawn."""

    def fits(self, number: int) -> bool:
        """Whether the model takes this seed."""
        return self.least <= number <= self.most

    def drawn(self, number: int) -> int:
        """A seed in the range, from a number of any size."""
        return self.least + number % (self.most - self.least + 1)


class Expected(BaseModel):
    """What the file of a request must look like; None is unknown and not checked."""

    model_config = ConfigDict(frozen=True)

    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    shape: str | None = Field(default=None, pattern=r"^[1-9]\d{0,3}:[1-9]\d{0,3}$")
    """The ratio of width and height, e.g. `16:9`, if the pixels are not known."""
    duration: float | None = None
    """Seconds."""
    audio: bool | None = None
    """Whether the endpoint promises an audio track."""
    fps: float | None = None
    """Frames per second."""


class Choice(BaseModel):
    """What is bought at one endpoint for a clip. A fallback is another one, bought when a provider refuses the first or fails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    """Name of a registered provider, e.g. `wavespeed`."""
    account: str | None = None
    """Name of the account, None for the provider's own. It does not change the clip, so the fingerprint is without it."""
    endpoint: str
    """The provider's model id, e.g. `openai/sora-2/text-to-video`."""
    body: dict[str, Any]
    """The request exactly as it is sent. Every parameter is explicit, because providers' defaults cost money."""
    price_micros: int | None
    """The catalogue's price in micro-dollars; None is unknown, and then it is not bought."""
    expected: Expected
    """What the delivered file must look like."""
    usual_seconds: float | None = None
    """Seconds that this endpoint usually takes, if the catalogue knows."""
    max_seconds: float = 1800
    """Seconds after which a job is overdue."""
    sunset_at: date | None = None
    """The day (UTC) from which it is not bought any more. None if none was announced, or if it has passed and the
    series allows retired endpoints."""
    cast: dict[str, str] = Field(default_factory=dict)
    """The characters that it shows: the provider's id of each, by its name."""
    seed: Seed | None = None
    """How the model takes a seed; None if it takes none."""

    @property
    def account_name(self) -> str:
        """Name of the account that it is bought from, in the ledger."""
        return self.account or self.provider

    @property
    def fingerprint(self) -> str:
        """See `ClipRequest.fingerprint`."""
        return fingerprint(self.provider, self.endpoint, self.body)


class Asked(BaseModel):
    """The original order of a fallback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    """The ordered provider."""
    endpoint: str
    """The ordered model."""
    fingerprint: str
    """Fingerprint of the original request."""


class FinishOrder(BaseModel):
    """What is bought when a draft is circled. The draft's order carries it, as it was declared when the draft was bought."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: Choice
    """The purchase, without what only the draft can say: its id at the provider, its seed."""
    fallbacks: tuple[Choice, ...] = ()
    """Fallbacks in their order, bought after a definite refusal or a failed job."""
    draft_id: str | None = None
    """The parameter that takes the provider's id of the draft, which is finished as the same shot. None if the same request is
    bought anew in the same direction."""
    days: int | None = None
    """How many days the provider keeps the draft for it."""
    first_frame: bool = False
    """Whether the first frame of the draft is its image: `resources.file_references.FIRST_FRAME` in the bodies until then."""

    @property
    def is_same_shot(self) -> bool:
        """Whether the provider finishes the very draft."""
        return self.draft_id is not None

    @property
    def way(self) -> str:
        """How the draft is finished, in a few words."""
        if self.is_same_shot:
            return "same shot"
        return "same direction, from the draft's first frame" if self.first_frame else "same direction"


class FinishedDraft(BaseModel):
    """The draft that a purchase finishes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: str
    """Id of its attempt."""
    fingerprint: str
    """Fingerprint of its request, under which `prompts/` holds what finishes it."""
    draft_id: str | None = None
    """The provider's id of it; None if the provider named none."""
    prompt: str = ""
    """Its prompt, where the request of its finish has none."""
    first_frame: str | None = None
    """The `resources.file_references.FileReference` of its first frame; None if the finish does not begin with it."""


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
