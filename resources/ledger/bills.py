"""Bills: when an account's bill is read, and what each row changes in the ledger.

Until the bill names a job, the job's amount is the quote or the amount in the provider's answer. An expected refund stays counted
until the bill shows it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from resources.ledger import disputes
from resources.ledger.budget import BAND
from resources.ledger.database import insert_ignoring, lock_money, lock_subject
from resources.ledger.disputes import DisputeKind, StatedAmount
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import UNBILLED, accounts, attempts, is_any_of
from resources.ledger.schema import disputes as disputed
from resources.ledger.states import PAID_FOR, AttemptState, MoneyState
from resources.ledger.transaction import Booked, Transaction
from resources.money import show_usd
from resources.providers.base import Charge

READ_SECONDS = 300.0
"""The shortest time between two readings of a bill."""
SELDOM_SECONDS = 6 * 3600.0
"""The longest time between two readings, while something is unconfirmed."""
GIVE_UP_SECONDS = 14 * 86_400.0
"""How long a bill may confirm an amount; `dailies ledger` shows what it never confirmed."""
PAGE = 25
"""Jobs per transaction; other writers wait for it."""
MARGIN_SECONDS = 1_800.0
"""How far a booking's time may be from the time by our clock, in seconds."""
FIRST_SECONDS = 2 * 3600.0
LONGER = 6
"""Of a long reading, the jobs of the last two hours come first, then of twelve, then of three days."""
BILL = "bill"
UNSETTLED = {
    AttemptState.QUEUED,
    AttemptState.SUBMITTING,
    AttemptState.UNKNOWN,
    AttemptState.HELD,
    AttemptState.SUBMITTED,
    AttemptState.OVERDUE,
}
"""States in which the provider may still change what it charges."""


@dataclass(frozen=True)
class Window:
    """The part of a bill to read, in seconds since the epoch."""

    after: float
    before: float

    def newest_first(self) -> Iterator["Window"]:
        """Ever longer parts that end with the window, the last one being the window itself.

        A part has all rows of the jobs that were sent in it, so its amounts may be recorded before the next part is read.
        """
        seconds = FIRST_SECONDS
        while (after := self.before - 2 * MARGIN_SECONDS - seconds) > self.after:
            yield Window(after, self.before)
            seconds *= LONGER
        yield self


@dataclass(frozen=True)
class Billed:
    """What a bill states about one job, in micro-USD."""

    charged: int
    """All charges."""
    refunded: int
    """All refunds."""
    model: str | None = None
    """The model that its charges name; None if they name none."""

    @property
    def net(self) -> int:
        """The charge less the refund."""
        return max(0, self.charged - self.refunded)


@dataclass(frozen=True)
class Confirmed:
    """An attempt that the bill has changed."""

    before: Attempt
    after: Attempt

    @property
    def swapped(self) -> str | None:
        """A model that differs from the one ordered and that the bill is the first to name; None if there is none."""
        return None if self.after.served_model == self.before.served_model else self.after.served_model

    @property
    def difference_micros(self) -> int:
        """How much more the attempt costs than was counted, in micro-USD; negative for a refund."""
        return self.after.cost_micros - self.before.cost_micros


def core(job_id: str) -> str:
    """The part of a job's id that all pages of a provider share: AI/ML API writes the id with and without `:model`."""
    return job_id.split(":", maxsplit=1)[0]


def by_job(charges: Iterable[Charge]) -> dict[str, Billed]:
    """Add up the rows of a bill by job."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: {"charge": 0, "refund": 0})
    models: dict[str, str] = {}
    for charge in charges:
        sums[core(charge.job_id)][charge.kind] += charge.micros
        if charge.kind == "charge" and charge.model is not None:
            models[core(charge.job_id)] = charge.model
    return {job: Billed(both["charge"], both["refund"], models.get(job)) for job, both in sums.items()}


_UNCONFIRMED = sa.and_(
    attempts.c.account == sa.bindparam("account"),
    # with `IS NOT NULL`, SQLite would choose the index of all jobs
    sa.func.coalesce(attempts.c.job_id, "") != "",
    attempts.c.submitted_at > sa.bindparam("after"),
    UNBILLED,
    attempts.c.state.not_in([state.value for state in UNSETTLED]),
    # the same again for the index, which begins with the state of the money
    is_any_of(
        attempts.c.money_state,
        [MoneyState.CONFIRMED, MoneyState.INDETERMINATE, MoneyState.REFUND_EXPECTED],
    ),
)
_UNCONFIRMED_FROM_TO = sa.select(
    sa.func.min(attempts.c.submitted_at), sa.func.max(attempts.c.finished_at)
).where(_UNCONFIRMED)
# the bill or an answer may have confirmed the amount before another bill disputed it, and only a right bill ends the account's stop
_DISPUTED_FROM_TO = (
    sa.select(sa.func.min(attempts.c.submitted_at), sa.func.max(attempts.c.finished_at))
    .join_from(disputed, attempts, attempts.c.id == disputed.c.attempt_id)
    .where(
        disputed.c.account == sa.bindparam("account"),
        disputed.c.accepted_at.is_(None),
        attempts.c.submitted_at > sa.bindparam("after"),
    )
)
_BILLED_AT = sa.select(accounts.c.billed_at).where(accounts.c.account == sa.bindparam("account"))


def is_due(ledger: Ledger, account: str) -> bool:
    """Whether it is time to read the bill of an account."""
    with ledger.read() as connection:
        return _due(connection, account, ledger.clock()) is not None


def claim(ledger: Ledger, account: str) -> Window | None:
    """Claim the reading of an account's bill, for one process at a time; None when nothing is unconfirmed or disputed, or it is too soon.

    A bill is read after some minutes, then ever more rarely while nothing new has ended: a refund takes hours.
    """
    if not is_due(ledger, account):
        return None
    with ledger.write() as connection:
        connection.execute(insert_ignoring(connection, accounts).values(account=account))
        connection.execute(sa.select(accounts).where(accounts.c.account == account).with_for_update())
        now = ledger.clock()
        window = _due(connection, account, now)
        if window is not None:
            connection.execute(sa.update(accounts).where(accounts.c.account == account).values(billed_at=now))
        return window


def _due(connection: sa.Connection, account: str, now: float) -> Window | None:
    read_at = connection.execute(_BILLED_AT, {"account": account}).scalar()
    if read_at is not None and 0 <= now - read_at < READ_SECONDS:
        return None
    expected = {"account": account, "after": now - GIVE_UP_SECONDS}
    ranges = [
        connection.execute(query, expected).one() for query in (_UNCONFIRMED_FROM_TO, _DISPUTED_FROM_TO)
    ]
    oldest = min((float(first) for first, _ in ranges if first is not None), default=None)
    if oldest is None:
        return None
    newest = max((float(last) for _, last in ranges if last is not None), default=oldest)
    pace = min(max((now - newest) / 4, READ_SECONDS), SELDOM_SECONDS)
    # a clock that was set back must not keep the bill from being read
    if read_at is not None and 0 <= now - read_at < pace:
        return None
    # the oldest one was dated by a clock that was ahead, so it may have been sent at any time until now
    since = oldest if oldest <= now else now - GIVE_UP_SECONDS
    return Window(since - MARGIN_SECONDS, now + MARGIN_SECONDS)


def record(
    ledger: Ledger, account: str, bill: Mapping[str, Billed], *, since: float, refunds_failures: bool
) -> list[Confirmed]:
    """Record a bill's amounts for the account's ended jobs, and the model where the bill names another one.

    A charge above the quote stops the account (see `sentinel.py`). A statement that is not believed is disputed instead (see `disputes.py`).

    Args:
        bill: By the core of the job's id. Other jobs stay unchanged.
        since: The beginning of the reading (`Window.after`). An earlier job may have rows before it.
        refunds_failures: Whether a failed job is charged first and refunded later.

    Returns:
        The attempts that changed.
    """
    named = _billed_attempts(ledger, account, bill, since)
    changed: list[Confirmed] = []
    for start in range(0, len(named), PAGE):
        page = named[start : start + PAGE]
        with ledger.transaction(who="engine", run_id=None) as tx:
            # every lock before the first change, in the order of all transactions: subjects, attempts, money
            for subject in sorted({subject for _, subject in page}):
                lock_subject(tx.connection, subject)
            locked = [tx.attempt(attempt_id) for attempt_id, _ in page]
            lock_money(tx.connection)
            settled = [
                _settled(tx, attempt, billed, refunds_failures=refunds_failures)
                for attempt in locked
                # its job may have moved to a spare take meanwhile, which has its own row
                if (billed := bill.get(core(attempt.job_id or ""))) is not None
            ]
        changed += [one for one in settled if one is not None]
    return changed


def charged_nevertheless(
    ledger: Ledger, account: str, bill: Mapping[str, Billed], window: Window
) -> dict[str, Billed]:
    """Select the part of a bill about jobs whose money was released: by its contract, the provider does not charge them.

    While no other amount is unconfirmed, nobody else reads the bill for them. A job that ended near the end of the reading is left out,
    since its refund may follow.

    Args:
        bill: By the core of the job's id.
        window: The part of the bill that was read.
    """
    released = sa.select(attempts.c.job_id).where(
        attempts.c.account == account,
        attempts.c.submitted_at >= window.after + MARGIN_SECONDS,
        attempts.c.finished_at <= window.before - MARGIN_SECONDS,
        attempts.c.money_state == MoneyState.RELEASED.value,
        attempts.c.job_id.is_not(None),
    )
    with ledger.read() as connection:
        cores = {core(job_id) for job_id in connection.execute(released).scalars()}
    return {job: billed for job, billed in bill.items() if job in cores and billed.net}


def _settled(
    tx: Transaction, attempt: Attempt, billed: Billed, *, refunds_failures: bool
) -> Confirmed | None:
    """Book a bill's amounts for one job; returns None if nothing changes."""
    if attempt.state in UNSETTLED:
        if billed.charged > attempt.quoted_micros * BAND:
            # the account must not buy on until the job ends
            stated = StatedAmount(billed.charged, billed.refunded, BILL)
            disputes.raise_dispute(tx, attempt, DisputeKind.AMOUNT, stated)
        return None
    trusted = _trusted(tx, attempt, billed)
    if trusted is None:
        return None
    money, charged = _judge(attempt, trusted, refunds_failures=refunds_failures)
    swapped = _swapped(attempt, trusted)
    known = (attempt.money_state, attempt.charged_micros, attempt.charge_source)
    if swapped is None and (money, charged, BILL) == known:
        return None
    after = tx.settle(
        attempt,
        money,
        Booked(charged, BILL),
        why=f"the bill of {attempt.account}: {show_usd(trusted.charged)} charged, {show_usd(trusted.refunded)} refunded"
        + (f", and {swapped} made it" if swapped else ""),
        served_model=swapped,
    )
    return Confirmed(attempt, after)


def _billed_attempts(
    ledger: Ledger, account: str, bill: Mapping[str, Billed], since: float
) -> list[tuple[str, str]]:
    """The attempts whose jobs a bill names, with their subjects, in the order of their locks."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(attempts.c.id, attempts.c.subject_key, attempts.c.job_id).where(
                attempts.c.account == account,
                attempts.c.job_id.is_not(None),
                attempts.c.submitted_at >= since + MARGIN_SECONDS,
            )
        )
        return sorted((row.id, row.subject_key) for row in rows if core(row.job_id) in bill)


def _trusted(tx: Transaction, attempt: Attempt, billed: Billed) -> Billed | None:
    """The believable part of a bill for an ended job; None if nothing is to be booked. The rest becomes a dispute."""
    stated = StatedAmount(billed.charged, billed.refunded, BILL)
    kind = disputes.objection(attempt, stated)
    if kind is not None and disputes.is_accepted(tx.connection, attempt, stated):
        kind = None
    elif kind is None:
        disputes.withdraw(tx, attempt)
    else:
        disputes.raise_dispute(tx, attempt, kind, stated)
    if kind is DisputeKind.AMOUNT:
        return None
    if kind is DisputeKind.REFUND:
        billed = replace(billed, refunded=0)
    # a refund without its charge proves nothing
    return None if stated.refunded > stated.charged else billed


def _judge(attempt: Attempt, billed: Billed, *, refunds_failures: bool) -> tuple[MoneyState, int]:
    """The money state of an ended job by its bill, and the amount in micro-USD."""
    if billed.charged == 0:
        return MoneyState.CONFIRMED if attempt.state in PAID_FOR else MoneyState.RELEASED, 0
    if billed.net == 0:
        return MoneyState.REFUNDED, billed.charged
    if attempt.state is AttemptState.FAILED and refunds_failures:
        return MoneyState.REFUND_EXPECTED, billed.net
    return MoneyState.CONFIRMED, billed.net


def _swapped(attempt: Attempt, billed: Billed) -> str | None:
    """The model that a bill names, if it is not the one bought and no answer has named another one before.

    A name without its maker (`sora-2-t2v`) is the same model: AI/ML API's models have aliases.
    """
    bought = attempt.endpoint.casefold()
    if billed.model is None or (attempt.served_model or bought).casefold() != bought:
        return None
    named = billed.model.casefold()
    return None if bought == named or bought.endswith(f"/{named}") else billed.model
