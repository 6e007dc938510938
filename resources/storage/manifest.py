"""The manifest: everything a person asks later about a clip, in one JSON object beside it.

It is written last, so a clip is delivered when its manifest exists, and the ledger can be rebuilt from manifests alone.
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

from resources.errors import DailiesError
from resources.money import to_usd
from resources.orders import Asked, shown_body
from resources.video.facts import VideoFacts
from resources.video.judge import Check

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type of media made by a generative model."""

VERSION: Literal[2] = 2
SCHEMA_ID = f"urn:dailies:manifest:{VERSION}"
SCHEMA_FILE = Path("data/schemas/manifest.schema.json")


class ManifestError(DailiesError):
    """A stored manifest is not one this version can read."""


Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Body = Annotated[dict[str, Any], AfterValidator(shown_body)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Times(_Part):
    """When it happened (UTC).

    Attributes:
        submitted: The provider accepted the job.
        finished: The poll that saw it finished.
        delivered: This manifest was written.
        waited_seconds: From `submitted` to `finished`.
        inference_seconds: How long the provider says it worked.
    """

    submitted: Utc | None
    finished: Utc | None
    delivered: Utc
    waited_seconds: float | None = Field(ge=0)
    inference_seconds: float | None = None


class Cost(_Part):
    """What it cost.

    Attributes:
        micros: Millionths of a US dollar, None where it is not known yet.
        usd: The same in dollars, exactly, as text.
        state: The ledger's word for the money when this was written, e.g. `confirmed`.
        source: Who said so: `answer`, `quote` or `bill`.
    """

    micros: int | None
    usd: str | None
    state: str
    source: str | None = None

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
    """An object of the bucket.

    Attributes:
        key: Its key.
        uri: `s3://bucket/key`.
        size: Bytes.
        sha256: Of its bytes, in hex.
        content_type: E.g. `video/mp4`.
    """

    key: str
    uri: str
    size: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    content_type: str


class Acceptance(_Part):
    """A person's word that a clip that failed a check is good enough.

    Attributes:
        by: Who.
        at: When.
        why: What they say, empty where they said nothing.
    """

    by: str
    at: Utc
    why: str = ""


class Disclosure(_Part):
    """What a publisher has to say about an AI-made clip, in IPTC's words where it has some.

    Attributes:
        ai_generated: Always true: every clip comes from a generative model.
        digital_source_type: IPTC's Digital Source Type.
        ai_system_used: Provider and model, as IPTC's property of this name wants them.
        c2pa: Whether the file carries content credentials (a C2PA manifest) of its maker. They are kept byte for byte, since
            the file is stored as it came; whether they are valid is not checked.
    """

    ai_generated: Literal[True] = True
    digital_source_type: str = TRAINED_ALGORITHMIC_MEDIA
    ai_system_used: str = ""
    c2pa: bool


class Manifest(_Part):
    """One delivered take of one clip.

    Attributes:
        manifest_version: Of this format.
        clip: The clip's key.
        series: The series that declares it.
        prompt: The text as it was sent.
        fingerprint: SHA-256 of the canonical request, as `resources.orders` makes it.
        body: The request as it was sent; addresses in it are cut before their query.
        provider: Who made it.
        account: The account that paid.
        endpoint: What it was bought from.
        asked: What was asked for, where it was bought elsewhere because that refused it or failed.
        endpoint_served: What the provider says it used, None where it does not say.
        attempt: The purchase, also the name of the objects.
        decision: The word to produce that the purchase belongs to.
        submission: The POST that was accepted.
        job: The provider's own id.
        run_id: The Dagster run that delivered it, None outside of Dagster.
        times: When.
        cost: How much.
        object: The video in the bucket.
        poster: One frame of it, None where none could be made.
        strip: Some frames of it side by side, None where none could be made.
        video: What the file itself says, None where it could not be read.
        look: Perceptual hash of some of its frames, by which clips that look the same are found; see
            `resources.video.perceptual_hash`.
        spare: Whether it was paid for and nobody had asked for it; it is never its clip's current take.
        checks: What each check said.
        accepted: Whose word it is that a clip that failed a check is good enough, None where nobody had to say so.
        disclosure: What a publisher has to say.
    """

    manifest_version: Literal[2] = VERSION
    clip: str
    series: str
    prompt: str
    fingerprint: str
    body: Body
    provider: str
    account: str
    endpoint: str
    asked: Asked | None = None
    endpoint_served: str | None
    attempt: str
    decision: str
    submission: str | None
    job: str | None
    run_id: str | None
    times: Times
    cost: Cost
    object: StoredObject
    poster: StoredObject | None
    strip: StoredObject | None = None
    video: VideoFacts | None
    look: str | None = None
    spare: bool = False
    checks: list[Check] = Field(default_factory=list)
    accepted: Acceptance | None = None
    disclosure: Disclosure

    @property
    def failures(self) -> list[str]:
        """What failed, in sentences."""
        return [check.detail for check in self.checks if check.outcome == "failed"]

    @property
    def quarantined_for(self) -> str | None:
        """Why the clip is kept apart, None where it is delivered."""
        return "; ".join(self.failures) if self.failures and self.accepted is None else None

    def to_json_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, two spaces, UTF-8, so that equal manifests are equal bytes."""
        plain = self.model_dump(mode="json")
        return (
            json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode()

    @classmethod
    def from_json_bytes(cls, data: bytes, *, where: str) -> "Manifest":
        """Read a stored manifest back, also one of an earlier version.

        Args:
            data: Its bytes.
            where: Its address, for the error.

        Raises:
            ManifestError: It is damaged, or a newer dailies wrote it.
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
    """The bytes of a manifest as this version writes it; what is no manifest of an older version stays as it is."""
    try:
        plain = json.loads(data)
    except ValueError:
        return data
    if not isinstance(plain, dict) or plain.get("manifest_version") != 1:
        return data
    # version 1 said in `differences` what has been checks since
    failed = [
        {"name": "as-requested", "outcome": "failed", "detail": said} for said in plain.pop("differences", [])
    ]
    return json.dumps(
        plain | {"manifest_version": VERSION, "checks": failed + plain.get("checks", [])}
    ).encode()


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a manifest."""
    schema = Manifest.model_json_schema(mode="serialization")
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
