"""`dailies accept`: the clips that failed a check, why, and a person's word that one is good enough."""

import getpass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.bucket import bucket_of
from pipelines.cli.terminal import age, as_document
from resources.errors import ConfigurationError
from resources.ledger.deliveries import in_quarantine
from resources.ledger.records import Attempt
from resources.production.acceptance import accept
from resources.production.bucket_mark import bind_bucket
from resources.settings import Settings, open_ledger


def waiting(settings: Settings, clip: str | None) -> list[Attempt]:
    """The takes in quarantine, oldest first; of one clip also those that a later take has replaced."""
    with open_ledger(settings) as ledger:
        return in_quarantine(ledger, clip=clip)


def chosen(found: list[Attempt], clip: str, take: str | None) -> Attempt:
    """The take that is meant: the named one, else the clip's newest; one to spare only when it is named, or there is no other.

    Raises:
        ConfigurationError: There is none in quarantine.
    """
    named = [attempt for attempt in found if take is None or attempt.id.startswith(take)]
    if not named:
        what = f"take {take} of {clip}" if take else clip
        known = f"; its takes there are {', '.join(a.id for a in found)}" if found else ""
        raise ConfigurationError(
            f"{what} is not in quarantine{known}. `dailies accept` lists what waits for a word"
        )
    return max(named, key=lambda attempt: (not attempt.is_spare, attempt.seq))


def accept_take(settings: Settings, attempt: Attempt, why: str) -> Attempt:
    """Deliver a take that failed a check.

    Raises:
        DailiesError: It cannot be done; what is in quarantine is still there.
    """
    scratch = settings.home.absolute() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)
        return accept(ledger, bucket.store, attempt, who=getpass.getuser(), why=why, scratch=scratch)


def table(found: list[Attempt], *, now: float) -> Table:
    """One line per take: why it is kept apart, and where its pictures are."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("clip", "take", "age", "why", "poster"):
        made.add_column(name, overflow="fold")
    for attempt in found:
        delivery = attempt.delivery or {}
        made.add_row(
            attempt.clip,
            attempt.id[:8],
            age(now - (attempt.finished_at or now)),
            Text(attempt.reason or "", style="red"),
            Text(str(delivery.get("poster_uri") or "")),
        )
    return made


def document(found: list[Attempt]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "quarantined": [
            {
                **as_document(attempt),
                "take": attempt.id,
                "checks": (attempt.delivery or {}).get("checks", {}),
                "poster": (attempt.delivery or {}).get("poster_uri"),
            }
            for attempt in found
        ]
    }
