"""`dailies disclosure`: the content credentials and source types of the selects, as recorded in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.fetch import choose, declared_or_none
from pipelines.cli.spreadsheet import write_file
from pipelines.cli.terminal import note, table_of
from resources.ledger.takes import Take
from resources.providers.registry import title_of
from resources.settings import Settings, open_ledger
from resources.storage.manifest import TRAINED_ALGORITHMIC_MEDIA
from resources.video.credentials import ContentCredentials, stored_credentials

COLUMNS = (
    "clip",
    "take",
    "ai_system_used",
    "digital_source_type",
    "credentials",
    "problems",
    "signed_by",
    "signed_at",
    "made_with",
    "stated_source_types",
    "sha256",
    "uri",
)
STYLES = {"valid": "green", "invalid": "red"}


@dataclass(frozen=True)
class DisclosedTake:
    """A take and the content credentials of its file."""

    take: Take
    credentials: ContentCredentials | None
    """None if they were not verified."""

    @property
    def state(self) -> str:
        """`valid`, `invalid`, `absent`, or `not verified`."""
        return "not verified" if self.credentials is None else self.credentials.state


def disclose(settings: Settings, selectors: Sequence[str], *, every: bool) -> list[DisclosedTake]:
    """Read the selects of the chosen clips. Clips without a select are named on standard error.

    Args:
        selectors: Empty for every bought clip.
        every: Whether to read every delivered take instead of the selects.

    Raises:
        DailiesError: No clip fits the selectors, or the ledger does not answer.
    """
    with open_ledger(settings) as ledger:
        chosen = choose(ledger, selectors, declared_or_none(settings), every=every)
    for clip, why in chosen.left_out.items():
        note(f"{clip}: {why}")
    return [DisclosedTake(take, stored_credentials(take.attempt.delivery or {})) for take in chosen.takes]


def table(takes: Sequence[DisclosedTake]) -> Table:
    """One line per take."""
    made = table_of(
        "clip", "take", "credentials", "signed by", "stated", right={"take"}, wraps={"signed by", "stated"}
    )
    for one in takes:
        credentials = one.credentials
        made.add_row(
            one.take.attempt.clip,
            str(one.take.number),
            Text(one.state, style=STYLES.get(one.state, "dim")),
            Text((credentials.signed_by if credentials else None) or "-"),
            Text(
                ", ".join(uri.rpartition("/")[2] for uri in credentials.source_types)
                if credentials and credentials.source_types
                else "-"
            ),
        )
    return made


def document(takes: Sequence[DisclosedTake]) -> list[dict[str, Any]]:
    """The lines as JSON, with more fields."""
    return [_line(one) for one in takes]


def write_csv(takes: Sequence[DisclosedTake], place: str) -> int:
    """Write the lines as CSV; returns how many there were.

    Args:
        place: A file, or `-` for standard output.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    rows = [
        [
            "; ".join(value) if isinstance(value, list) else None if value is None else str(value)
            for value in line.values()
        ]
        for line in document(takes)
    ]
    return write_file(place, COLUMNS, rows)


def _line(one: DisclosedTake) -> dict[str, Any]:
    attempt, credentials = one.take.attempt, one.credentials
    delivery = attempt.delivery or {}
    values = (
        attempt.clip,
        one.take.number,
        f"{title_of(attempt.provider)} {attempt.served_model or attempt.endpoint}",
        TRAINED_ALGORITHMIC_MEDIA,
        one.state,
        credentials.problems if credentials else [],
        credentials.signed_by if credentials else None,
        credentials.signed_at if credentials else None,
        credentials.made_with if credentials else None,
        credentials.source_types if credentials else [],
        delivery.get("sha256"),
        delivery.get("uri"),
    )
    return dict(zip(COLUMNS, values, strict=True))
