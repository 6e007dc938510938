"""The manifest: everything that a person may ask about a clip later, in one JSON object beside it.

It is written last: a clip is delivered once its manifest exists, and the ledger can be rebuilt from manifests alone.
`python -m resources.storage.manifest` writes its published JSON Schema.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from resources.declared.docstrings import SchemaWithDocstrings
from resources.edited_words import EditedWords
from resources.errors import DailiesError
from resources.money import to_usd
from resources.orders import Asked, FinishedDraft, shown_body
from resources.video.credentials import ContentCredentials
from resources.video.facts import VideoFacts
from resources.video.judge import Check

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type of media made by a generative model."""

VERSION: Literal[2] = 2
SCHEMA_ID = f"urn:dailies:manifest:{VERSION}"
SCHEMA_FILE = Path("data/schemas/manifest.schema.json")


class ManifestError(DailiesError):
    """This version cannot read a stored manifest."""


Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Body = Annotated[dict[str, Any], AfterValidator(shown_body)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Times(_Part):
    """When things happened (UTC)."""

    submitted: Utc | None
    """The provider accepted the job."""
    finished: Utc | None
    """A poll saw the job finished."""
    delivered: Utc
    """This manifest was written."""
    waited_seconds: float | None = Field(ge=0)
    """From `submitted` to `finished`."""
    inference_seconds: float | None = None
    """How long the provider says that it worked."""


class Cost(_Part):
    """What the clip cost."""

    micros: int | None
    """Millionths of a US dollar, null where the price is not known yet."""
    usd: str | None
    """The same amount in US dollars, exactly, as text."""
    state: str
    """State of the money in the ledger when this was written, e.g. `confirmed`."""
    source: str | None = None
    """Where the amount comes from: `answer`, `quote` or `bill`."""

    @classmethod
    def of(cls, micros: int | None, *, state: str, source: str | None = None) -> "Cost":
        """A cost from its micros."""
        return cls(micros=micros, usd=_dollars(micros), state=state, source=source)

    @model_validator(mode="after")
    def _one_amount(self) -> "Cost":
        if self.usd != _dollars(self.micros):
            raise ValueError("micros and usd must be the same amount")
        return self


class StoredObject(_Part):
    """An object of the bucket."""

    key: str
    uri: str
    """`s3://bucket/key`."""
    size: int = Field(gt=0)
    """Bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of its bytes, in hex."""
    content_type: str
    """E.g. `video/mp4`."""


class Acceptance(_Part):
    """A person accepts a clip that failed a check."""

    by: str
    """Who."""
    at: Utc
    """When."""
    why: str = ""
    """The person's reason, empty where none was given."""


class Disclosure(_Part):
    """What a publisher has to disclose about an AI-made clip, in IPTC's terms where IPTC has one."""

    ai_generated: Literal[True] = True
    """Always true: every clip comes from a generative model."""
    digital_source_type: str = TRAINED_ALGORITHMIC_MEDIA
    """IPTC's Digital Source Type."""
    ai_system_used: str = ""
    """Provider and model, as IPTC's property of this name wants them."""
    c2pa: bool
    """Whether the file carries content credentials (a C2PA manifest). The file is stored as it came, so they are kept byte for byte."""
    credentials: ContentCredentials | None = None
    """What those say and whether they are valid, null where they were not verified."""


class Manifest(_Part):
    """One delivered take of one clip."""

    manifest_version: Literal[2] = VERSION
    """Version of this format."""
    clip: str
    """The clip's key."""
    series: str
    """The series that declares the clip."""
    prompt: str
    """The text as it was sent."""
    edited: EditedWords | None = None
    """Who gave the clip other words than its series, null if it has the series' words."""
    fingerprint: str
    """SHA-256 of the canonical request (`resources.orders`)."""
    body: Body
    """The request as it was sent, without a seed that was drawn for its POST alone. Addresses in it are cut before their query."""
    provider: str
    account: str
    """The account that paid."""
    endpoint: str
    """What was bought."""
    asked: Asked | None = None
    """What was asked for first, where a fallback was bought because that refused or failed."""
    endpoint_served: str | None
    """What the provider says that it used, null where it does not say."""
    attempt: str
    """The purchase; the objects bear its name."""
    decision: str
    """The decision that the purchase belongs to."""
    submission: str | None
    """The POST that the provider accepted."""
    job: str | None
    """The provider's own id."""
    run_id: str | None
    """The Dagster run that delivered the clip, null outside of Dagster."""
    times: Times
    cost: Cost
    object: StoredObject
    """The video in the bucket."""
    poster: StoredObject | None
    """One frame of the video, null where none could be made."""
    strip: StoredObject | None = None
    """Some frames side by side, null where none could be made."""
    video: VideoFacts | None
    """What the file itself says, null where it could not be read."""
    look: str | None = None
    """Perceptual hash of some frames, which finds clips that look the same (`resources.video.perceptual_hash`)."""
    slot: int = 1
    """Which of the takes that its decision bought of the clip it is."""
    seed: int | None = None
    """The seed that was sent, null where the provider chose one."""
    spare: bool = False
    """Whether the take was paid for although nobody had asked for it. It is never its clip's current take."""
    draft: bool = False
    """Whether the take is a draft, which is finished when it is circled."""
    draft_id: str | None = None
    """The provider's id of the draft, null where it named none."""
    finishes: FinishedDraft | None = None
    """The draft that it finishes, null where it finishes none."""
    first_frame: StoredObject | None = None
    """The first frame of a draft whose finish begins with it, null otherwise."""
    checks: list[Check] = Field(default_factory=list)
    """The result of each check."""
    accepted: Acceptance | None = None
    """Who accepted a clip that failed a check, null where nobody had to."""
    disclosure: Disclosure

    @property
    def failures(self) -> list[str]:
        """The failed checks, in sentences."""
        return [check.detail for check in self.checks if check.outcome == "failed"]

    @property
    def quarantined_for(self) -> str | None:
        """Why the clip is kept apart; None if it is delivered."""
        return "; ".join(self.failures) if self.failures and self.accepted is None else None

    def to_json_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, two spaces, UTF-8, so that equal manifests are equal bytes."""
        plain = self.model_dump(mode="json")
        return (
            json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode()

    @classmethod
    def from_json_bytes(cls, data: bytes, *, where: str) -> "Manifest":
        """Read a stored manifest, also one of an earlier version.

        Args:
            data: The bytes of the object.
            where: Address of the object, for the error.

        Raises:
            ManifestError: The manifest is damaged, or a newer dailies wrote it.
        """
        try:
            return cls.model_validate_json(_upgraded(data))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the document"
            raise ManifestError(
                f"{where} is not a manifest of version {VERSION} or older: {place}: {first['msg']}"
            ) from None


def _upgraded(data: bytes) -> bytes:
    """The bytes of a manifest of an older version as this version writes it; other bytes unchanged."""
    try:
        plain = json.loads(data)
    except ValueError:
        return data
    if not isinstance(plain, dict) or plain.get("manifest_version") != 1:
        return data
    # version 1 listed failed checks as `differences`
    failed = [
        {"name": "as-requested", "outcome": "failed", "detail": difference}
        for difference in plain.pop("differences", [])
    ]
    return json.dumps(
        plain | {"manifest_version": VERSION, "checks": failed + plain.get("checks", [])}
    ).encode()


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a manifest."""
    schema = Manifest.model_json_schema(mode="serialization", schema_generator=SchemaWithDocstrings)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def utc(seconds: float | None) -> datetime | None:
    """A time of the ledger (seconds since the epoch) as a manifest has it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _dollars(micros: int | None) -> str | None:
    return None if micros is None else f"{to_usd(micros):f}"


def main() -> None:
    """Write the published schema."""
    text = json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"
    SCHEMA_FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
