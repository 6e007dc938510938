"""Content credentials (C2PA) of a file: whether they fit its bytes, and what they say.

*Valid* means that the signature is its certificate's, and that the file and everything in its manifests have the signed hashes.
No list of trusted certificates is consulted, so it does not say that the named signer is who it says it is. Nothing is looked
up: no manifest at another address, no revocation, no list.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from resources.plain import shown

C2paText = Annotated[str, AfterValidator(lambda text: shown(text, longest=200))]
MOST_LISTED = 10
"""Most problems or source types that are kept of a file."""

CredentialsState = Literal["valid", "invalid", "absent"]


class ContentCredentials(BaseModel):
    """What is known of a file's content credentials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: CredentialsState
    """`valid`: signature and hashes are right; nobody vouches for the signer. `invalid`: they are not, or cannot be read.
    `absent`: the file carries none."""
    problems: Annotated[list[C2paText], Field(max_length=MOST_LISTED)] = []
    """What is wrong, in C2PA's own codes such as `assertion.bmffHash.mismatch`, or in a sentence."""
    signed_by: C2paText | None = None
    """The organization in the signer's certificate, as the file says it."""
    signed_at: C2paText | None = None
    """The time of a time stamp authority, as the file says it; null without one."""
    made_with: C2paText | None = None
    """The program that wrote the claim, as the file says it."""
    source_types: Annotated[list[C2paText], Field(max_length=MOST_LISTED)] = []
    """IPTC digital source types that its actions name, of its ingredients too."""

    def __str__(self) -> str:
        """For a person."""
        if self.state == "absent":
            return "absent"
        signer = f", signed by {self.signed_by}" if self.signed_by else ""
        return f"{self.state}{signer}" + (f": {', '.join(self.problems)}" if self.problems else "")


ABSENT = ContentCredentials(state="absent")


def unverifiable(why: str) -> ContentCredentials:
    """The result for credentials that cannot be read."""
    return ContentCredentials(state="invalid", problems=[why[:200]])


def stored_credentials(delivery: Mapping[str, Any]) -> ContentCredentials | None:
    """What the ledger keeps of a take's credentials; None if they were not verified.

    Args:
        delivery: What the ledger keeps of a delivered take.
    """
    kept = delivery.get("credentials")
    if kept is None:
        # an earlier dailies only looked whether there are some
        return ABSENT if (delivery.get("video") or {}).get("c2pa") is False else None
    try:
        return ContentCredentials.model_validate(kept)
    except ValidationError:
        return None
