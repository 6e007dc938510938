"""`dailies resolve`: what is unknown or held, with the jobs that may be its and the money at stake, and how it is settled."""

import asyncio
import getpass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.output import COLOURS, age, as_document
from resources.errors import ConfigurationError, DailiesError
from resources.ledger import resolving
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.resolving import Unsettled
from resources.ledger.states import AttemptState
from resources.money import show_usd, to_usd
from resources.providers.accounts import build_provider
from resources.providers.base import JobState, JobStatus, PollFailed
from resources.settings import Settings

NOT_NEW_SECONDS = 3600.0
"""A job that a person names is not one that its provider may not know yet."""


def settle(
    ledger: Ledger, clip: str, *, adopt: str | None, resubmit: bool, write_off: bool, why: str | None
) -> list[Attempt]:
    """Carry out what a person says of one clip.

    Returns:
        The attempts that changed.

    Raises:
        ConfigurationError: Not exactly one of the three ways was chosen.
        DailiesError: The clip's state does not allow it; nothing was changed.
    """
    if [adopt is not None, resubmit, write_off].count(True) != 1:
        raise ConfigurationError(
            "choose one: --adopt JOB, --resubmit or --write-off. `dailies resolve` alone only lists."
        )
    who = f"person {getpass.getuser()}"
    if adopt is not None:
        return [resolving.adopt_by_hand(ledger, clip, adopt, who=who, why=why or "named by a person")]
    if resubmit:
        return resolving.buy_again_by_hand(
            ledger, clip, who=who, why=why or "a person says that no job exists"
        )
    return [resolving.write_off(ledger, clip, who=who, why=why or "given up by a person")]


def look_at_job(settings: Settings, one: Unsettled, job_id: str) -> str:
    """Ask the provider for a job that a person names, before it is believed; what it says of it.

    Raises:
        ConfigurationError: The account has no key.
        DailiesError: The provider does not know the job, or cannot be asked. Nothing was changed.
    """
    account = settings.account(one.attempt.account)
    if account.api_key is None:
        raise ConfigurationError(
            f"{account.name} has no key, so it cannot be asked for the job {job_id}. Nothing was changed."
        )

    async def ask() -> JobState | PollFailed:
        provider = build_provider(account)
        try:
            return await provider.poll(job_id, age_seconds=NOT_NEW_SECONDS)
        finally:
            await provider.aclose()

    seen = asyncio.run(ask())
    if isinstance(seen, PollFailed):
        raise DailiesError(
            f"{account.name} could not be asked for the job {job_id} ({seen.cause}). Nothing was changed; try it again."
        )
    if seen.status is JobStatus.GONE:
        raise DailiesError(
            f"{account.name} knows no job {job_id}. Nothing was changed. `dailies resolve {one.attempt.subject_key}` shows the "
            "jobs that may be this one's; copy the id from there, or from the provider's page."
        )
    served = "" if seen.model is None else f", {seen.model}"
    return f"{seen.raw_status}{served}"


def consequence(found: list[Unsettled], *, adopt: str | None, resubmit: bool, seen: str = "") -> str:
    """What the person is about to do, in a sentence that ends in a question."""
    one = found[-1]
    clip, money = one.attempt.subject_key, show_usd(one.attempt.quoted_micros)
    if adopt is not None:
        known = any(candidate["job"] == adopt for candidate in one.candidates)
        doubt = "" if known else " (none of the jobs that were found near it)"
        says = f", which says {seen}," if seen else ""
        return f"Take the job {adopt}{doubt} of {one.attempt.account}{says} for {clip}?"
    if resubmit:
        return f"Buy {clip} again for {money}? If its order was taken after all, it is paid twice."
    return f"Give {clip} up? Its {money} stay counted as perhaps spent."


def unsettled_table(found: list[Unsettled], *, now: float) -> Table:
    """One line per clip, and one below it for each job that may be its."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("clip", "state", "account", "age", "money", "jobs that may be its, and why"):
        table.add_column(name, justify="right" if name in {"age", "money"} else "left", overflow="fold")
    for one in found:
        attempt = one.attempt
        table.add_row(
            attempt.subject_key,
            Text(attempt.state.value, style=COLOURS.get(attempt.state, "red")),
            attempt.account,
            age(now - one.sent_at),
            show_usd(attempt.quoted_micros),
            Text(attempt.reason or ""),
        )
        for candidate in one.candidates:
            after = candidate["created_at"] - one.sent_at
            charged = candidate["charged_usd"]
            bill = "" if charged is None else f", charged ${charged}"
            words = f"{candidate['job']}  {candidate['model']}, {candidate['status']}, {after:+.0f} s by the provider's clock{bill}"
            table.add_row("", "", "", "", "", Text(words, style="cyan"))
    return table


def unsettled_document(found: list[Unsettled], *, now: float) -> dict[str, Any]:
    """The same for machines."""
    return {
        "unsettled": [
            {
                **as_document(one.attempt),
                "submission": one.submission_id,
                "sent_at": one.sent_at,
                "age_seconds": now - one.sent_at,
                "quoted_usd": str(to_usd(one.attempt.quoted_micros)),
                "candidates": one.candidates,
                "needs_a_person": one.attempt.state is AttemptState.HELD,
            }
            for one in found
        ],
        "indeterminate_usd": str(to_usd(sum(one.attempt.quoted_micros for one in found))),
    }
