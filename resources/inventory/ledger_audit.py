"""The audit of the ledger: what has failed, is unclear, stopped or late, or is not reported to Dagster."""

from collections.abc import Collection
from dataclasses import replace

import sqlalchemy as sa

from resources.inventory import findings
from resources.inventory.findings import Finding, found
from resources.ledger import disputes, refused_hosts, stops, waiting_finishes
from resources.ledger.ledger import Ledger
from resources.ledger.newest import newest, pages
from resources.ledger.pauses import WORTH_TELLING_SECONDS, pauses
from resources.ledger.records import Attempt
from resources.ledger.schema import NOT_DELIVERED, OPEN_STATES_SQL, UNBILLED, attempts
from resources.ledger.states import UNDELIVERED, AttemptState, MoneyState
from resources.ledger.stops import StopKind
from resources.ledger.waiting_clips import WaitingClip, waiting
from resources.money import show_usd, to_usd
from resources.plain import shown

LAST_DAY = 86_400.0
"""Seconds before the deletion of outputs that are kept for two days or more; for others, half of their time."""
DRAFT_ENDS_SECONDS = 2 * 86_400.0
"""Seconds before its provider forgets a draft from which on it needs a person."""
UNFETCHED_SECONDS = 6 * 3600.0
"""Seconds of waiting after which an output may soon be deleted, if its provider does not say how long it keeps outputs."""
UNREPORTED_SECONDS = 900.0
"""Seconds after which the completion sensor will not report a clip any more; usually it does so within minutes."""


def check_ledger(ledger: Ledger) -> list[Finding]:
    """Every finding that needs only the ledger.

    Raises:
        resources.errors.UnavailableError: The ledger does not answer.
    """
    open_ones = _in_states(ledger, {AttemptState.SUCCEEDED, AttemptState.OVERDUE})
    unclear = _in_states(ledger, {AttemptState.UNKNOWN, AttemptState.HELD})
    now = ledger.clock()
    return [
        failed_clips(ledger),
        waits_for_review(ledger),
        waits_for_finish(ledger),
        drafts_near_their_end(ledger),
        found(findings.NOTHING_UNCLEAR, ((a.subject_key, _in_doubt(a)) for a in unclear)),
        found(findings.NOTHING_IS_STOPPED, _not_sent_to(ledger)),
        unbelieved(ledger),
        found(
            findings.NO_JOB_IS_OVERDUE,
            (
                (a.subject_key, f"job {a.job_id} at {a.account}")
                for a in open_ones
                if a.state is AttemptState.OVERDUE
            ),
        ),
        found(
            findings.NO_REFUND_IS_LATE,
            ((a.subject_key, f"job {a.job_id} at {a.account}") for a in _late_refunds(ledger)),
        ),
        found(
            findings.NO_OUTPUT_NEAR_ITS_END,
            ((a.subject_key, _time_left(a, now)) for a in open_ones if is_near_its_end(a, now)),
        ),
    ]


def _not_sent_to(ledger: Ledger) -> list[tuple[str, str]]:
    """Accounts that are stopped or paused for longer than a usual throttle, and hosts that are refused, each with its reason."""
    stopped = [(stop.account, str(stop)) for stop in stops.stops(ledger)]
    return [*stopped, *_refused(ledger)] + [
        (pause.account, str(pause)) for pause in pauses(ledger) if pause.left >= WORTH_TELLING_SECONDS
    ]


def _refused(ledger: Ledger) -> list[tuple[str, str]]:
    """The hosts that may not buy, each with both values."""
    return [(f"host {one.host}", one.why) for one in refused_hosts.refused(ledger)]


def urgent(ledger: Ledger) -> list[Finding]:
    """Findings that need a person soon: money in doubt, stopped accounts, outputs that will soon be deleted.

    Money is in doubt if a purchase is held, or if a job is overdue for more than a day. Unknown purchases are left out,
    because they are looked for at once and are rarely unknown for long. So are stops by a person.

    Raises:
        resources.errors.UnavailableError: The ledger does not answer.
    """
    held = _in_states(ledger, {AttemptState.HELD})
    now = ledger.clock()
    overdue = _in_states(ledger, {AttemptState.OVERDUE})
    return [
        found(
            findings.NO_JOB_IS_OVERDUE,
            (
                (a.subject_key, f"job {a.job_id} at {a.account}")
                for a in overdue
                if now - (a.overdue_at or now) > LAST_DAY
            ),
        ),
        found(findings.NOTHING_UNCLEAR, ((a.subject_key, _in_doubt(a)) for a in held)),
        drafts_near_their_end(ledger),
        found(
            findings.NOTHING_IS_STOPPED,
            [
                *(
                    (s.account, str(s))
                    for s in stops.stops(ledger)
                    if s.kind is not StopKind.PERSON or s.is_of_rebuild
                ),
                *_refused(ledger),
            ],
        ),
        unbelieved(ledger),
        found(
            findings.NO_OUTPUT_NEAR_ITS_END,
            ((a.subject_key, _time_left(a, now)) for a in near_their_end(ledger)),
        ),
    ]


def unbelieved(ledger: Ledger) -> Finding:
    """Providers' statements that are not believed, and rows of their lists that prove nothing."""
    disputed = [(one.attempt.subject_key, str(one)) for one in disputes.open_disputes(ledger)]
    unread = [(f"{one.account} {one.source}", one.text) for one in disputes.unread(ledger)]
    return found(findings.EVERY_BILL_IS_BELIEVED, [*disputed, *unread])


def failed_clips(ledger: Ledger) -> Finding:
    """Clips whose newest purchase failed. A purchase that was withdrawn before it was sent does not count."""
    failed = [one.id for one in newest(ledger, UNDELIVERED - {AttemptState.WITHDRAWN})]
    return found(
        findings.NO_FAILED_CLIPS,
        (
            (a.subject_key, f"{a.state.value}: {shown(a.reason, longest=200)}")
            for page in pages(ledger, failed)
            for a in page
        ),
    )


def waits_for_review(ledger: Ledger) -> Finding:
    """Clips that wait for a person's verdict, those first whose policy decides first."""
    clips = waiting(ledger)
    ends = [clip.decide_at for clip in clips if clip.decide_at is not None]
    finding = found(findings.WAITS_FOR_REVIEW, ((clip.clip, _review_text(ledger, clip)) for clip in clips))
    facts = {
        "cost_usd": float(to_usd(sum(clip.spent_micros for clip in clips))),
        "held": sum(clip.held_at is not None for clip in clips),
        **({"first_end_at": min(ends)} if ends else {}),
    }
    return replace(finding, facts=facts)


def waits_for_finish(ledger: Ledger) -> Finding:
    """Circled drafts whose finish is not bought."""
    with ledger.read() as connection:
        waits = waiting_finishes.waiting(connection)
    nobody = "nobody who may buy has ordered it"
    return found(
        findings.WAITS_FOR_FINISH,
        ((one.clip, one.reason or ("ordered" if one.decision else nobody)) for one in waits),
    )


def drafts_near_their_end(ledger: Ledger) -> Finding:
    """Drafts that nobody has judged or finished, less than two days before their provider forgets them."""
    with ledger.read() as connection:
        ends = {one.clip: one.ends_at for one in waiting_finishes.waiting(connection)}
    unjudged = ledger.attempts([clip.take for clip in waiting(ledger)]).values()
    ends |= {draft.clip: waiting_finishes.end_of(draft) for draft in unjudged if draft.is_draft}
    soon = ledger.clock() + DRAFT_ENDS_SECONDS
    return found(
        findings.NO_DRAFT_NEAR_ITS_END,
        (
            (clip, f"until {ledger.budget.day(at)}")
            for clip, at in ends.items()
            if at is not None and at < soon
        ),
    )


def _review_text(ledger: Ledger, clip: WaitingClip) -> str:
    if clip.held_at is not None:
        return f"held since {ledger.budget.day(clip.held_at)}, when nobody had come"
    since = f"waits since {ledger.budget.day(clip.since)}"
    return (
        since
        if clip.decide_at is None
        else f"{since}; the policy decides on {ledger.budget.day(clip.decide_at)}"
    )


def undeclared(ledger: Ledger, declared: Collection[str]) -> Finding:
    """Accounts with open purchases that are not declared: their jobs may be paid for, and nobody fetches them."""
    on_their_way = (
        sa.select(attempts.c.account, sa.func.count())
        .where(sa.text(OPEN_STATES_SQL), attempts.c.account.not_in(list(declared)))
        .group_by(attempts.c.account)
        .order_by(attempts.c.account)
    )
    with ledger.read() as connection:
        rows = connection.execute(on_their_way).all()
    return found(
        findings.EVERY_ACCOUNT_IS_DECLARED,
        (
            (account, f"{count} {'purchase' if count == 1 else 'purchases'} on the way")
            for account, count in rows
        ),
    )


def near_their_end(ledger: Ledger) -> list[Attempt]:
    """Finished generations that are not fetched and that the provider will soon delete, oldest first."""
    now = ledger.clock()
    return [a for a in _in_states(ledger, {AttemptState.SUCCEEDED}) if is_near_its_end(a, now)]


def is_near_its_end(attempt: Attempt, now: float) -> bool:
    """Whether an attempt is a finished generation that should have been fetched by now (seconds since the epoch)."""
    if attempt.state is not AttemptState.SUCCEEDED:
        return False
    finished = attempt.finished_at or attempt.created_at
    if attempt.copy_deadline is None:
        return now - finished > UNFETCHED_SECONDS
    return attempt.copy_deadline - now < min(LAST_DAY, (attempt.copy_deadline - finished) / 2)


def unreported(ledger: Ledger) -> list[Attempt]:
    """Clips that ended a while ago and are not reported to Dagster, oldest first."""
    before = ledger.clock() - UNREPORTED_SECONDS
    ended = sa.func.coalesce(attempts.c.delivered_at, attempts.c.finished_at, attempts.c.created_at)
    states = [
        s.value for s in AttemptState if s.is_ended and s not in {AttemptState.HELD, AttemptState.WITHDRAWN}
    ]
    query = (
        sa.select(attempts)
        .where(
            attempts.c.subject_kind == "clip",
            attempts.c.reported_run_id.is_(None),
            attempts.c.state.in_(states),
            ended < before,
        )
        .order_by(attempts.c.seq)
    )
    with ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(query)]


def _in_states(ledger: Ledger, states: set[AttemptState]) -> list[Attempt]:
    query = (
        sa.select(attempts)
        .where(attempts.c.state.in_(sorted(state.value for state in states)), NOT_DELIVERED)
        .order_by(attempts.c.seq)
    )
    with ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(query)]


def _late_refunds(ledger: Ledger) -> list[Attempt]:
    query = (
        sa.select(attempts)
        .where(
            attempts.c.money_state == MoneyState.REFUND_EXPECTED.value,
            UNBILLED,
            attempts.c.finished_at < ledger.clock() - LAST_DAY,
        )
        .order_by(attempts.c.seq)
    )
    with ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(query)]


def _in_doubt(attempt: Attempt) -> str:
    return f"{attempt.state.value}, {show_usd(attempt.cost_micros)} at {attempt.account}"


def _time_left(attempt: Attempt, now: float) -> str:
    why = f" ({shown(attempt.reason, longest=200)})" if attempt.reason else ""
    if attempt.copy_deadline is None:
        return f"finished, and {attempt.account} does not say how long it is kept{why}"
    hours = (attempt.copy_deadline - now) / 3600
    return (
        f"{attempt.account} keeps it for {hours:.0f} more hours{why}" if hours > 0 else f"past its time{why}"
    )
