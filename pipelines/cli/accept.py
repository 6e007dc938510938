"""`dailies accept`: list the clips that failed a check, and deliver one despite it."""

import getpass
import uuid
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.bucket import bucket_of
from pipelines.cli.clip_table import as_document
from pipelines.cli.terminal import age, table_of
from resources.errors import ConfigurationError
from resources.ledger.deliveries import in_quarantine
from resources.ledger.records import Attempt
from resources.ledger.verdicts import LONGEST_NOTE, Verdict, VerdictWay, Word
from resources.production.acceptance import Acceptor
from resources.production.bucket_mark import bind_bucket
from resources.production.verdict_objects import store_verdicts
from resources.settings import Settings, open_ledger


def waiting(settings: Settings, clip: str | None) -> list[Attempt]:
    """The takes in quarantine, oldest first; for one clip also those that a later take replaced."""
    with open_ledger(settings) as ledger:
        return in_quarantine(ledger, clip=clip)


def chosen(quarantined: list[Attempt], clip: str, take: str | None) -> Attempt:
    """Choose the named take, or else the clip's newest; a spare take only if it is named or the only one.

    Raises:
        ConfigurationError: No such take is in quarantine.
    """
    named = [attempt for attempt in quarantined if take is None or attempt.id.startswith(take)]
    if not named:
        what = f"take {take} of {clip}" if take else clip
        known = f"; its takes there are {', '.join(a.id for a in quarantined)}" if quarantined else ""
        raise ConfigurationError(
            f"{what} is not in quarantine{known}. Nothing was changed. `dailies accept` lists the takes in quarantine."
        )
    return max(named, key=lambda attempt: (not attempt.is_spare, attempt.seq))


def accept_take(settings: Settings, attempt: Attempt, why: str) -> Attempt:
    """Deliver a take that failed a check.

    Raises:
        DailiesError: The take could not be delivered; it is still in quarantine.
    """
    scratch = settings.home.absolute() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)
        verdict = Verdict(
            id=uuid.uuid4().hex,
            take=attempt.id,
            word=Word.CIRCLED,
            who=getpass.getuser(),
            way=VerdictWay.TERMINAL,
            note=why[:LONGEST_NOTE],
        )
        accepted = Acceptor(ledger, bucket.store, scratch).accept(attempt, verdict)
        store_verdicts(ledger, bucket.store)
        return accepted


def table(quarantined: list[Attempt], *, now: float, long: bool = False) -> Table:
    """One line per take with the reason of its quarantine; with `long`, also the address of its poster."""
    listing = table_of(
        "clip",
        "take",
        "age",
        "why",
        *(("poster",) if long else ()),
        right={"age"},
        wraps=() if long else {"why"},
    )
    for attempt in quarantined:
        listing.add_row(
            attempt.clip,
            attempt.id[:8],
            age(now - (attempt.finished_at or now)),
            Text(attempt.reason or "", style="red"),
            *((Text(str((attempt.delivery or {}).get("poster_uri") or "")),) if long else ()),
        )
    return listing


def document(quarantined: list[Attempt]) -> dict[str, Any]:
    """The takes as JSON."""
    return {
        "quarantined": [
            {
                **as_document(attempt),
                "take": attempt.id,
                "checks": (attempt.delivery or {}).get("checks", {}),
                "poster": (attempt.delivery or {}).get("poster_uri"),
            }
            for attempt in quarantined
        ]
    }
