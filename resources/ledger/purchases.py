"""What a decision has bought so far, in figures and in sentences for a person."""

from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts, decision_clips, jobs, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.money import show_usd

_AT_PROVIDERS = {AttemptState.SUBMITTED, AttemptState.OVERDUE, AttemptState.SUCCEEDED}
_TO_BE_SENT = {AttemptState.QUEUED, AttemptState.SUBMITTING}
_UNCLEAR = {AttemptState.UNKNOWN, AttemptState.HELD}

_FREE = [MoneyState.RELEASED.value, MoneyState.REFUNDED.value]
_MINE = attempts.c.decision == sa.bindparam("decision")
_BOUGHT = (
    sa.select(
        attempts.c.subject_key,
        attempts.c.slot,
        attempts.c.state,
        attempts.c.money_state,
        sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros).label("cost"),
    )
    .where(_MINE)
    .order_by(attempts.c.seq)
)
_POSTS = (
    sa.select(sa.func.count())
    .select_from(attempts)
    .join(submissions, submissions.c.attempt_id == attempts.c.id)
    .where(_MINE, submissions.c.state != SubmissionState.NOT_SENT.value)
)
_JOBS = (
    sa.select(sa.func.count())
    .select_from(attempts)
    .join(jobs, jobs.c.attempt_id == attempts.c.id)
    .where(_MINE)
)
_ELSEWHERE = (
    sa.select(sa.func.count())
    .select_from(decision_clips)
    .where(
        decision_clips.c.decision == sa.bindparam("decision"),
        sa.exists().where(
            # every kind whose clips are fixed, because the index begins with the kind
            attempts.c.subject_kind.in_(["clip", "character", "probe"]),
            attempts.c.subject_key == decision_clips.c.clip,
            attempts.c.decision != sa.bindparam("decision"),
            attempts.c.money_state.not_in(_FREE),
        ),
    )
)


@dataclass(frozen=True)
class Purchases:
    """The purchases of one decision."""

    decision: str
    posts: int
    """POSTs that were sent for it, or may have been."""
    jobs: int
    """Jobs that providers have made for it."""
    counted_micros: int
    """The money that counts as spent for it, in micro-USD."""
    at_providers: int
    """Clips whose paid job is running, or whose output is not fetched yet."""
    queued: int
    """Clips that were not sent yet."""
    unclear: int
    """Clips that may or may not be bought."""
    delivered: int
    """Clips that are in the bucket."""
    several: bool = False
    """Whether it buys several takes of a clip. If so, the numbers count takes."""
    elsewhere: int = 0
    """Clips that another decision has bought. This decision waits for them instead of buying them."""

    @property
    def is_open(self) -> bool:
        """Whether a purchase of it is still open."""
        return bool(self.at_providers or self.queued or self.unclear)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was sent and nothing is queued."""
        return not self.posts and not self.queued

    def __str__(self) -> str:
        """The purchases in sentences for a person, with the commands that show and stop them."""
        if self.is_nothing and self.elsewhere:
            return (
                f"This decision has bought nothing: another one has bought {_counted(self.elsewhere, 'clip')} of it, and they are "
                "not bought again. `dailies status` shows them."
            )
        if self.is_nothing:
            return "Nothing was bought."
        sent = f"{_counted(self.posts, 'POST')} went out, which created {_counted(self.jobs, 'job')}"
        sentences = [
            f"The ledger says what was bought so far: {sent}, {show_usd(self.counted_micros)} counts as spent."
        ]
        parts = [
            f"{number} {what}"
            for number, what in (
                (self.delivered, "delivered"),
                (self.at_providers, "paid for and on their way"),
                (self.queued, "queued to be sent"),
                (self.unclear, "not known to be bought or not"),
            )
            if number
        ]
        if parts:
            sentences.append(f"{'Takes' if self.several else 'Clips'}: {', '.join(parts)}.")
        if self.is_open:
            sentences.append(
                "What is on its way goes on and is fetched while dailies runs; `dailies status` shows it, `dailies stop` "
                "keeps what is queued from being sent."
            )
        return " ".join(sentences)


def purchases_of(ledger: Ledger, decision: str) -> Purchases:
    """Look up what a decision has bought.

    Raises:
        resources.errors.UnavailableError: The ledger cannot be read.
    """
    known = {"decision": decision}
    with ledger.read() as connection:
        bought_rows = connection.execute(_BOUGHT, known).all()
        posts = connection.execute(_POSTS, known).scalar_one()
        jobs_made = connection.execute(_JOBS, known).scalar_one()
        elsewhere = connection.execute(_ELSEWHERE, known).scalar_one()
    newest = {(bought.subject_key, bought.slot): AttemptState(bought.state) for bought in bought_rows}
    return Purchases(
        decision,
        posts=posts,
        jobs=jobs_made,
        counted_micros=sum(bought.cost for bought in bought_rows if bought.money_state not in _FREE),
        at_providers=sum(state in _AT_PROVIDERS for state in newest.values()),
        queued=sum(state in _TO_BE_SENT for state in newest.values()),
        unclear=sum(state in _UNCLEAR for state in newest.values()),
        delivered=sum(state is AttemptState.DELIVERED for state in newest.values()),
        elsewhere=elsewhere,
        several=any(bought.slot > 1 for bought in bought_rows),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
