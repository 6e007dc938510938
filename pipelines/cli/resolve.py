"""`dailies resolve`: list unknown and held purchases with their candidate jobs and their money, and settle one."""

import asyncio
import datetime as dt
import getpass
from dataclasses import dataclass
from typing import Any

from pipelines.cli.clip_table import COLOURS, as_document
from pipelines.cli.terminal import age, tell
from resources.errors import ConfigurationError, DailiesError
from resources.ledger import late_jobs
from resources.ledger.ledger import Ledger
from resources.ledger.lost import search_schedule, settle
from resources.ledger.lost.settle import Unsettled
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd, to_usd
from resources.plain import shown
from resources.providers.accounts import build_provider
from resources.providers.base import JobState, JobStatus, PollFailed
from resources.settings import Settings

NOT_NEW_SECONDS = 3600.0
"""The assumed age of a job that a person names: old enough that its provider knows it, in seconds."""


@dataclass(frozen=True)
class Settlement:
    """How a person settles one clip: exactly one of `adopt`, `resubmit` and `write_off`."""

    clip: str
    adopt: str | None = None
    """The id of the clip's job."""
    resubmit: bool = False
    """There is no job: buy the clip again."""
    write_off: bool = False
    """Give the clip up."""
    why: str | None = None
    """The reason for the journal."""


def settle_clip(ledger: Ledger, settlement: Settlement) -> list[Attempt]:
    """Carry out a settlement by a person who has read its `question`; returns the attempts that changed.

    Raises:
        ConfigurationError: The settlement does not choose exactly one option.
        DailiesError: The clip's state does not allow it; nothing was changed.
    """
    clip, adopt, why = settlement.clip, settlement.adopt, settlement.why
    if [adopt is not None, settlement.resubmit, settlement.write_off].count(True) != 1:
        raise ConfigurationError(
            "choose one of --adopt JOB, --resubmit and --write-off. Nothing was changed. `dailies resolve` lists the clips."
        )
    who = f"person {getpass.getuser()}"
    if adopt is not None:
        return [settle.adopt_named_job(ledger, clip, adopt, who=who, why=why or "named by a person")]
    if settlement.resubmit:
        return settle.buy_again(
            ledger, clip, who=who, why=why or "a person says that no job exists", anyway=True
        )
    why = why or "given up by a person"
    overdue = late_jobs.overdue_of(ledger, clip)
    if overdue is not None:
        return [late_jobs.give_up(ledger, overdue, who=who, why=why)]
    return [settle.write_off(ledger, clip, who=who, why=why, anyway=True)]


def look_at_job(settings: Settings, one: Unsettled, job_id: str) -> str:
    """Poll a job that a person names, to check that it exists; returns the provider's status.

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

    answer = asyncio.run(ask())
    if isinstance(answer, PollFailed):
        raise DailiesError(
            f"{account.name} could not be asked for the job {job_id} ({answer.cause}). Nothing was changed; try again."
        )
    if answer.status is JobStatus.GONE:
        raise DailiesError(
            f"{account.name} knows no job {job_id}. Nothing was changed. `dailies resolve {one.attempt.subject_key}` shows the "
            "jobs that may be this one's; copy the id from there, or from the provider's page."
        )
    served = "" if answer.model is None else f", {answer.model}"
    return f"{answer.raw_status}{served}"


def question(ledger: Ledger, settlement: Settlement, open_posts: list[Unsettled], *, job_state: str) -> str:
    """Describe what is not known and what the settlement does, ending with a question.

    Empty if the clip has nothing to settle.

    Args:
        job_state: The provider's status of the job to adopt; empty if it was not polled.
    """
    clip, adopt, resubmit = settlement.clip, settlement.adopt, settlement.resubmit
    if not open_posts:
        overdue = late_jobs.overdue_of(ledger, clip)
        return "" if overdue is None or resubmit or adopt is not None else _giving_up(overdue)
    one = open_posts[-1]
    money = show_usd(one.attempt.quoted_micros)
    if adopt is not None:
        known = any(candidate["job"] == adopt for candidate in one.candidates)
        doubt = "" if known else " (not one of the candidates)"
        says = f", which says {job_state}," if job_state else ""
        return f"Take the job {adopt}{doubt} of {one.attempt.account}{says} for {clip}?"
    unknown = why_unsettled(ledger, one)
    if resubmit:
        return f"{unknown}If a job exists after all, the clip is paid twice. Buy {clip} again for {money}?"
    return f"{unknown}Its {money} still count as possibly spent. Give {clip} up?"


def why_unsettled(ledger: Ledger, one: Unsettled) -> str:
    """Why an unknown clip is not settled yet; empty for a held one, whose reason says it."""
    if one.attempt.state is AttemptState.HELD:
        return ""
    failing = search_schedule.failure_of(ledger, one.attempt.account)
    search = (
        "dailies is still searching for it"
        if failing is None
        else f"the listing or bill of {one.attempt.account} cannot be read {shown(str(failing), longest=300)}"
    )
    return f"Whether a job of {one.attempt.subject_key} exists is not known: {search}. "


def _giving_up(overdue: Attempt) -> str:
    return (
        f"Job {overdue.job_id} at {overdue.account} may still end: its {show_usd(overdue.cost_micros)} count until the bill "
        f"says more, and its clip would be kept as a spare take. Give {overdue.subject_key} up?"
    )


def print_unsettled(ledger: Ledger, open_posts: list[Unsettled]) -> None:
    """Print one line per clip, and below it what is not known, each candidate job, and the commands that settle it."""
    for one in open_posts:
        attempt = one.attempt
        facts = f"{attempt.account}, {age(ledger.clock() - one.sent_at)}, {show_usd(attempt.quoted_micros)}"
        style = COLOURS.get(attempt.state, "red")
        tell(f"  {attempt.state.value}  {facts}", mark=attempt.subject_key, style=style)
        tell(f"  {why_unsettled(ledger, one)}{attempt.reason or ''}")
        for candidate in one.candidates:
            tell(f"  {_in_words(candidate, one)}", mark=f"  {candidate['job']}", style="cyan")
        for line in _ways(one):
            tell(f"  {line}")


def _in_words(candidate: dict[str, Any], one: Unsettled) -> str:
    """A candidate job: its model, status, time by the provider's clock, price and command."""
    at = dt.datetime.fromtimestamp(candidate["created_at"], dt.UTC)
    after = candidate["created_at"] - one.sent_at
    charged = candidate["charged_usd"]
    bill = "price not known yet" if charged is None else f"charged ${charged}"
    return (
        f"{candidate['model']}, {candidate['status']}, {at:%Y-%m-%d %H:%M:%S} UTC, {after:+.0f} s by the "
        f"provider's clock, {bill}: `dailies resolve {one.attempt.subject_key} --adopt {candidate['job']}`"
    )


def _ways(one: Unsettled) -> list[str]:
    """The commands that settle a held clip if none of the candidates is its job."""
    if one.attempt.state is not AttemptState.HELD:
        return []
    clip = one.attempt.subject_key
    return [
        f"if no job exists, buy again: `dailies resolve {clip} --resubmit`; to give up: `dailies resolve {clip} --write-off`"
    ]


def unsettled_document(open_posts: list[Unsettled], *, now: float) -> dict[str, Any]:
    """The same content as JSON."""
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
            for one in open_posts
        ],
        "indeterminate_usd": str(to_usd(sum(one.attempt.quoted_micros for one in open_posts))),
    }
