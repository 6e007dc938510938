"""The rendered request of a clip: what `prompts` writes, `submissions` buys and every manifest quotes.

It contains only data, so that every room can import it without another room.
"""

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from resources.checks import Checks
from resources.choices import Asked, Choice, Expected, FinishedDraft, FinishOrder, Seed, fingerprint
from resources.edited_words import EditedWords
from resources.errors import ConfigurationError
from resources.file_references import FIRST_FRAME, FileReference
from resources.plain import addresses_cut

__all__ = [
    "MOST_TAKES",
    "Asked",
    "Caps",
    "Choice",
    "ClipRequest",
    "Expected",
    "FinishOrder",
    "FinishedDraft",
    "Otherwise",
    "Review",
    "Seed",
    "TakeSlot",
    "fingerprint",
    "shown_body",
]

MOST_TAKES = 9
"""Most takes of a clip that one decision buys; the room's number keys choose among so many."""


class TakeSlot(NamedTuple):
    """A place for one of the takes that a decision buys of a clip. It has one open purchase at most."""

    clip: str
    """The clip's key, or that of another subject."""
    number: int = 1
    """From 1."""

    def __str__(self) -> str:
        return self.clip if self.number == 1 else f"{self.clip} (slot {self.number})"


class Caps(BaseModel):
    """The most that may be spent, in micro-dollars; None is no cap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_run: int | None = Field(default=None, ge=0)
    """For one decision: a person's run with its retries, a schedule's tick, or a command."""
    per_day: int | None = Field(default=None, ge=0)
    """Per day."""
    per_month: int | None = Field(default=None, ge=0)
    """Per month."""
    total: int | None = Field(default=None, ge=0)
    """In total."""


class Otherwise(StrEnum):
    """What becomes of a clip's takes if nobody judges them in time."""

    HOLD = "hold"
    """No take is chosen; the clip goes on waiting for a person."""
    NEWEST = "newest"
    """The newest take is circled."""
    BEST_CHECKS = "best_checks"
    """The take with the fewest failed and warned checks is circled; of several, the newest."""


class Review(BaseModel):
    """Who judges the takes of a series, and what happens if nobody does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["none", "person"] = "none"
    """`person`: no take is current before it is circled."""
    within_seconds: int | None = Field(default=None, gt=0)
    """How long a person has; None for as long as it takes."""
    otherwise: Otherwise = Otherwise.HOLD
    """What happens to the takes after that time."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        # ledgers of 0.2 hold only `none` or `person`
        return {"by": value} if isinstance(value, str) else value

    @property
    def asks(self) -> bool:
        """Whether a person judges the takes."""
        return self.by == "person"


class ClipRequest(Choice):
    """One clip, rendered and validated: everything that a purchase needs, and nothing else."""

    kind: Literal["clip", "character", "probe"] = "clip"
    """The kind of purchase: a clip, a character that clips show, or a probe of a provider."""
    clip: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{2,79}$")
    """The clip's key, which is its Dagster partition, e.g. `city-sunset-2026-11-20-hero`; a character's name."""
    series: str
    """Name of the series that declares it."""
    keys: str | None = None
    """The start of the series' keys, if it differs from the series' name, as after a rename."""
    takes: int = Field(default=1, ge=1, le=MOST_TAKES)
    """How many takes one decision buys of the clip."""
    slot: int = Field(default=1, ge=1, le=MOST_TAKES)
    """The number of this take among them; see `TakeSlot`."""
    take_seed: int | None = None
    """The text from which the seed of this take is drawn; None if the declared seed is sent."""
    declared_fingerprint: str | None = None
    """The fingerprint of the declared request, if the seed of this take has changed its body."""
    max_attempts: int = Field(default=1, ge=1, le=5)
    """The most purchases of one decision for this clip, if the provider fails for a temporary reason."""
    caps: Caps = Field(default_factory=Caps)
    """Caps of its series."""
    checks: Checks = Field(default_factory=Checks)
    """The checks of its series."""
    review: Review = Field(default_factory=Review)
    """Who judges the takes of its series."""
    fallbacks: tuple[Choice, ...] = ()
    """Fallbacks in their order, bought after a definite refusal or a failed job."""
    asked: Asked | None = None
    """The original order, if this is a fallback."""
    owner: str | None = None
    """Who is responsible for it, as Dagster writes owners."""
    tags: dict[str, str] = Field(default_factory=dict)
    """The series' tags."""
    edited: EditedWords | None = None
    """Who gave the clip other words than its series; None if it has the series' words."""
    finish: FinishOrder | None = None
    """For a draft: the purchase that its circle orders."""
    finishes: FinishedDraft | None = None
    """For a finish: its draft."""

    @property
    def is_draft(self) -> bool:
        """Whether it is a cheap take to judge, which never becomes the clip's current one."""
        return self.finish is not None

    @property
    def planned_finish(self) -> "ClipRequest | None":
        """The purchase that would finish this draft, without the facts that only the bought draft has; None if it is no draft."""
        return self.finishing("", draft_id="", seed=None, first_frame=FIRST_FRAME)

    @property
    def prompt(self) -> str:
        """The text of the prompt that is sent; of a finish without one, that of its draft."""
        return str(self.body.get("prompt", self.finishes.prompt if self.finishes is not None else ""))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical request: provider, model and body, because only they change the clip.

        A fallback has the fingerprint of the original order, because it is the same clip. All takes of a request have one
        fingerprint, whatever their seeds.
        """
        if self.asked is not None:
            return self.asked.fingerprint
        if self.declared_fingerprint is not None:
            return self.declared_fingerprint
        return fingerprint(self.provider, self.endpoint, self.body)

    @property
    def order_fingerprint(self) -> str:
        """The fingerprint of everything that a decision may buy for the clip: the request with its account, and its fallbacks."""
        ways = [_order(self), *map(_order, self.fallbacks)]
        if ways == [self.fingerprint]:
            return self.fingerprint
        return hashlib.sha256(" ".join(ways).encode()).hexdigest()

    def body_of_post(self, seed: int | None) -> dict[str, Any]:
        """The body of one POST.

        Args:
            seed: The POST's own seed; None if the request has one or the model takes none.
        """
        return self.body if seed is None or self.seed is None else {**self.body, self.seed.name: seed}

    @property
    def is_priced(self) -> bool:
        """Whether the price of the request and of every fallback is known."""
        return None not in [self.price_micros, *(choice.price_micros for choice in self.fallbacks)]

    @property
    def ceiling_micros(self) -> int:
        """The highest cost of a take in one decision: every try and fallback is bought. What has no price is not bought."""
        prices = [self.price_micros, *(choice.price_micros for choice in self.fallbacks)]
        return self.max_attempts * sum(price or 0 for price in prices)

    def retired_at(self, now: float) -> str | None:
        """Why it is not bought at a moment (seconds since the epoch): the endpoint is retired by then. None if it is not."""
        if self.sunset_at is None or datetime.fromtimestamp(now, UTC).date() < self.sunset_at:
            return None
        return (
            f"{self.endpoint} is retired by its provider since {self.sunset_at}, after this prompt was rendered; "
            "materialize `prompts` again, which names what to use instead"
        )

    def fall_back(self) -> "ClipRequest | None":
        """The same clip from the next fallback; None if there is none."""
        if not self.fallbacks:
            return None
        original = self.asked or Asked(
            provider=self.provider, endpoint=self.endpoint, fingerprint=self.fingerprint
        )
        choice = {name: getattr(self.fallbacks[0], name) for name in Choice.model_fields}
        following = self.model_copy(update={**choice, "fallbacks": self.fallbacks[1:], "asked": original})
        return following if self.take_seed is None else following.seeded(self.take_seed)

    @property
    def take_slot(self) -> TakeSlot:
        """Which take of which clip it is."""
        return TakeSlot(self.clip, self.slot)

    def with_takes(self, takes: int | None) -> "ClipRequest":
        """The same request for so many takes; None for as many as declared.

        Raises:
            ConfigurationError: The number is not allowed.
        """
        if takes is not None and not 1 <= takes <= MOST_TAKES:
            raise ConfigurationError(
                f"takes: found {takes}, allowed: 1 to {MOST_TAKES}, or nothing for as many as the series declares."
            )
        return self if takes is None else self.model_copy(update={"takes": takes})

    def each_take(self, drawn_from: str, *, regenerate: bool) -> "list[ClipRequest]":
        """The request of every take that a decision asks for.

        The first take has the declared seed. Every other take, and another take of a delivered request, has a seed of its own if
        the model takes one. It follows from `drawn_from` and the slot, so that a retry sends the same seed.

        Args:
            drawn_from: A text that names the decision; a purchase's must be unique among all installations.
        """
        requests = []
        for slot in range(1, self.takes + 1):
            request = self.model_copy(update={"slot": slot})
            drawn = self.takes > 1 and not self.has_seed
            if slot > 1 or regenerate or drawn:
                digest = hashlib.sha256(
                    f"{self.clip} {self.fingerprint} {drawn_from} {slot}".encode()
                ).digest()
                request = request.seeded(int.from_bytes(digest[:6]))
            requests.append(request)
        return requests

    @property
    def has_seed(self) -> bool:
        """Whether a seed is declared. At some providers a negative one means any."""
        value = None if self.seed is None else self.body.get(self.seed.name)
        return isinstance(value, int) and value >= 0

    @property
    def sent_seed(self) -> int | None:
        """The seed in the body; None if the provider chooses one."""
        return self.body[self.seed.name] if self.seed is not None and self.has_seed else None

    def taken_as(self, slot: int, seed: int | None) -> "ClipRequest":
        """The request of an earlier take, by its slot and the seed that was sent."""
        if seed is None or self.seed is None or seed == self.sent_seed:
            return self.model_copy(update={"slot": slot})
        body = {**self.body, self.seed.name: seed}
        return self.model_copy(update={"slot": slot, "body": body, "declared_fingerprint": self.fingerprint})

    def seeded(self, number: int) -> "ClipRequest":
        """The same request with a seed drawn from a number; unchanged if the model takes no seed."""
        if self.seed is None:
            return self.model_copy(update={"take_seed": number})
        body = {**self.body, self.seed.name: self.seed.drawn(number)}
        return self.model_copy(
            update={"body": body, "take_seed": number, "declared_fingerprint": self.fingerprint}
        )

    def finishing(
        self, draft: str, *, draft_id: str | None, seed: int | None, first_frame: FileReference | None = None
    ) -> "ClipRequest | None":
        """The request that finishes this draft; None if it is no draft, or if its order needs a fact of the draft that is missing.

        Args:
            draft: Id of the draft's attempt.
            draft_id: The provider's id of the draft.
            seed: The seed that was sent for the draft.
            first_frame: The first frame of the draft, in the bucket.
        """
        order = self.finish
        if order is None or (order.is_same_shot and draft_id is None):
            return None
        if order.first_frame and first_frame is None:
            return None
        frame = first_frame if order.first_frame else None
        ways = [
            way if frame is None else _beginning_with(frame, way) for way in (order.choice, *order.fallbacks)
        ]
        choice = {name: getattr(ways[0], name) for name in Choice.model_fields}
        request = self.model_copy(
            update={
                **choice,
                "fallbacks": tuple(ways[1:]),
                "finish": None,
                "finishes": FinishedDraft(
                    attempt=draft,
                    fingerprint=self.fingerprint,
                    draft_id=draft_id,
                    prompt="" if "prompt" in order.choice.body else self.prompt,
                    first_frame=None if frame is None else str(frame),
                ),
                "take_seed": None,
                "declared_fingerprint": None,
            }
        )
        if order.draft_id is not None:
            return request.model_copy(update={"body": {**request.body, order.draft_id: draft_id}})
        same = (
            seed is not None and request.seed is not None and request.seed.fits(seed) and not request.has_seed
        )
        return request.taken_as(self.slot, seed if same else None)

    def as_bought(self, provider: str, endpoint: str) -> "ClipRequest | None":
        """The request to an endpoint: this one or one of its fallbacks; None if neither has the endpoint."""
        request: ClipRequest | None = self
        while request is not None and (request.provider, request.endpoint) != (provider, endpoint):
            request = request.fall_back()
        return request

    def is_same_choice(self, other: "ClipRequest") -> bool:
        """Whether both requests buy the same."""
        mine = (self.account_name, self.endpoint, self.body)
        return mine == (other.account_name, other.endpoint, other.body)

    def at_account(self, name: str) -> "ClipRequest":
        """The same request to an account, by its name in the ledger."""
        return self.model_copy(update={"account": None if name == self.provider else name})

    @property
    def accounts(self) -> set[str]:
        """Every account that it may be bought from."""
        return {self.account_name, *(choice.account_name for choice in self.fallbacks)}


def _beginning_with(frame: FileReference, way: Choice) -> Choice:
    """A way to finish a draft, with the draft's first frame in its place."""
    body = FileReference.replaced(way.body, lambda file: str(frame if file == FIRST_FRAME else file))
    return way.model_copy(update={"body": body})


def _order(one: Choice) -> str:
    # the provider's own account adds nothing, so that approvals from before accounts were part of an order still hold
    return one.fingerprint if one.account_name == one.provider else f"{one.fingerprint}@{one.account_name}"


def shown_body(body: dict[str, Any]) -> dict[str, Any]:
    """A request's body for people: addresses without their query, which may be a signature. The prompt is unchanged.

    The ledger and the bucket's `prompts/` have the whole body, from which purchases are made.
    """
    return {name: value if name == "prompt" else addresses_cut(value) for name, value in body.items()}
