"""How a team reviews takes: the reasons to reject one, and who may do what in the room. From `data/review.yaml`."""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from resources.declared.document import read_document
from resources.declared.problems import nearest, suggestion
from resources.declared.validation import Declared, declare, refused
from resources.errors import ConfigurationError

FILE = "review.yaml"
EVERYBODY = "*"


class Right(StrEnum):
    """What a person may do in the room; each right includes the ones before it."""

    LOOK = "look"
    JUDGE = "judge"
    BUY = "buy"

    def includes(self, other: "Right") -> bool:
        """Whether a person with this right may also do what needs the other."""
        order = list(Right)
        return order.index(self) >= order.index(other)


def _fitting(pattern: str, allowed: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise refused(allowed=allowed)
        return value

    return check


def _right(value: Any) -> str:
    if not isinstance(value, str) or value not in set(Right):
        raise refused(nearest(value, Right), allowed="look, judge or buy")
    return value


class Reason(Declared):
    """A reason to reject a take."""

    name: Annotated[
        str, AfterValidator(_fitting(r"[a-z][a-z0-9-]{0,39}", "lower-case letters, digits and hyphens"))
    ]
    """Its name in the ledger and in figures; a name that was used once keeps its meaning."""
    letter: Annotated[str, AfterValidator(_fitting("[a-z]", "one lower-case letter"))]
    """The key that chooses it in the room."""
    title: Annotated[str, Field(min_length=1, max_length=60)]
    """What people read."""


DEFAULT_REASONS = tuple(
    Reason(name=name, letter=letter, title=title)
    for name, letter, title in (
        ("hands", "h", "Hands or bodies"),
        ("face", "f", "Face or identity"),
        ("motion", "m", "Motion or physics"),
        ("prompt", "p", "Not what was asked"),
        ("text", "t", "Garbled text"),
        ("look", "l", "Look or light"),
        ("camera", "c", "Camera"),
        ("sound", "s", "Sound"),
        ("artifacts", "a", "Flicker or artifacts"),
        ("dull", "d", "Nothing wrong, not good enough"),
    )
)


class ReviewRules(Declared):
    """The file `data/review.yaml`."""

    reasons: Annotated[list[Reason], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: list(DEFAULT_REASONS)
    )
    """The reasons to reject a take, in the order in which they are shown."""
    people: Annotated[dict[str, Annotated[str, BeforeValidator(_right)]], Field(max_length=500)] = Field(
        default_factory=dict
    )
    """Who may `look`, `judge` or `buy` in the room, by the name that the proxy sends; `*` is everybody else."""

    @model_validator(mode="after")
    def _are_unique(self) -> "ReviewRules":
        for property_name in ("name", "letter"):
            values = [getattr(reason, property_name) for reason in self.reasons]
            if len(set(values)) < len(values):
                raise refused(f"two reasons have the same {property_name}", found=False)
        return self

    def right_of(self, person: str) -> Right:
        """What a person may do who came through a proxy."""
        return Right(self.people.get(person, self.people.get(EVERYBODY, Right.LOOK)))

    @property
    def listing(self) -> str:
        """Every reason with its title, for a sentence."""
        return ", ".join(f"{reason.name} ({reason.title})" for reason in self.reasons)

    def check_reasons(self, names: Sequence[str]) -> tuple[str, ...]:
        """The same reasons, each once.

        Raises:
            ConfigurationError: One is not in the list.
        """
        known = [reason.name for reason in self.reasons]
        for name in names:
            if name not in known:
                listing = ", ".join(known)
                raise ConfigurationError(
                    f"there is no reason {name!r}; there are: {listing}{suggestion(name, known)}"
                )
        return tuple(dict.fromkeys(names))


def load_review_rules(data_dir: Path) -> ReviewRules:
    """Read `data_dir/review.yaml`; without the file, the defaults.

    Raises:
        resources.declared.problems.ProblemsError: The file has mistakes; each names its line.
    """
    file = data_dir / FILE
    return declare(ReviewRules, read_document(file, inside=data_dir)) if file.exists() else ReviewRules()
