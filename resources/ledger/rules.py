"""The rules of a decision: whether a clip is bought, adopted, reused or refused, given its attempts.

The rules neither read nor write the ledger, so that a plan follows the same rules as a decision (see `decisions.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from resources.ledger.records import Attempt
from resources.ledger.states import OPEN, AttemptState
from resources.orders import ClipRequest
from resources.providers.base import FailureKind

DEFINITE = {AttemptState.REJECTED, AttemptState.FAILED}
"""States in which the provider itself states that no clip will follow. Only after these may a fallback be bought."""
ACCOUNT_TROUBLE = {FailureKind.AUTH, FailureKind.INSUFFICIENT_FUNDS}


class Ruling(StrEnum):
    """The ruling on a clip."""

    NEW = "new"
    """A purchase was queued and its money reserved."""
    ADOPTED = "adopted"
    """A purchase of the same request is open; the caller waits for it."""
    REUSED = "reused"
    """A delivered video of the same request exists; it costs nothing."""
    REFUSED = "refused"
    """Nothing is bought; the reason says why."""


@dataclass(frozen=True)
class Decided:
    """The ruling on one clip."""

    request: ClipRequest
    """The request that was made."""
    ruling: Ruling
    attempt: Attempt | None
    """The attempt to continue with; for a refusal the attempt that blocks the purchase, if one does."""
    reason: str | None = None
    """Why a purchase is refused."""


def is_outdated(request: ClipRequest, attempt: Attempt) -> bool:
    """Whether an attempt is still queued with another request, so that this one replaces it. A finish is never replaced."""
    is_queued = attempt.state is AttemptState.QUEUED and attempt.finishes is None
    return is_queued and attempt.fingerprint != request.fingerprint


def leading_purchase(purchases: Iterable[Attempt]) -> Attempt:
    """The purchase whose state counts as the clip's: of the newest purchases of its slots, an open one, else a delivered one.

    Args:
        purchases: At least one, all of one clip, in any order.
    """
    newest: dict[int, Attempt] = {}
    for attempt in sorted(purchases, key=lambda one: one.seq):
        newest[attempt.slot] = attempt
    return max(
        newest.values(),
        key=lambda one: (one.state.is_open, one.state is AttemptState.DELIVERED, one.seq),
    )


def ruling_of(
    request: ClipRequest, known: list[Attempt], current: str | None, *, decision: str, regenerate: bool
) -> Decided:
    """Decide about one take of a clip before money is reserved. After `Ruling.NEW`, the caller buys the ruling's request.

    Args:
        request: The request, with its slot.
        known: The clip's attempts of all slots, newest first, without outdated ones.
        current: Id of the clip's current take.
        decision: Id of the decision.
        regenerate: Whether to buy another take of a delivered, unchanged request.
    """
    if request.is_draft and any(a.finishes is not None for a in known):
        return _ruling_of_draft(request, known, current, decision=decision, regenerate=regenerate)
    going = [a for a in known if a.state in OPEN]
    open_attempt = next((a for a in going if a.slot == request.slot), None)
    if open_attempt is not None and open_attempt.fingerprint == request.fingerprint:
        return Decided(request, Ruling.ADOPTED, open_attempt)
    other = next((a for a in going if a.fingerprint != request.fingerprint), None)
    if other is not None:
        return Decided(request, Ruling.REFUSED, other, _open_purchase_text(other))

    def there(slot: int) -> Attempt | None:
        """The delivered take that fills a slot, so that nothing is bought for it; None if there is none."""
        # the first run of a decision named after it may have waited for another decision's purchase
        ours = (a for a in known if a.slot == slot and decision in {a.decision, a.watched_by})
        delivered = next((a for a in ours if a.state is AttemptState.DELIVERED), None)
        if delivered is not None or regenerate:
            return delivered
        return _take_there(request.model_copy(update={"slot": slot}), known, current)

    take = there(request.slot)
    if take is not None:
        return Decided(request, Ruling.REUSED, take)
    # an open purchase in a slot that is no longer asked for fills one that is
    beyond = sorted((a for a in going if a.slot > request.takes), key=lambda a: a.slot)
    if beyond:
        filled = {a.slot for a in going}
        lacking = [n for n in range(1, request.slot) if n not in filled and there(n) is None]
        if len(lacking) < len(beyond):
            return Decided(request, Ruling.ADOPTED, beyond[len(lacking)])
    return _more_takes(request, known, decision) or _tried_before(
        request, [a for a in known if a.slot == request.slot and a.decision == decision]
    )


def _ruling_of_draft(
    request: ClipRequest, known: list[Attempt], current: str | None, *, decision: str, regenerate: bool
) -> Decided:
    """The ruling on a draft of a clip that has finishes: they share the draft's slot but are no takes of its request."""
    finishes = [a for a in known if a.finishes is not None]
    drafts = [a for a in known if a.finishes is None]
    shown = next((a.finishes for a in finishes if a.id == current), current)
    settled = ruling_of(request, drafts, shown, decision=decision, regenerate=regenerate)
    going = next((a for a in finishes if a.state in OPEN and a.slot == settled.request.slot), None)
    if settled.ruling is not Ruling.NEW or going is None:
        return settled
    return Decided(
        request, Ruling.REFUSED, going, f"the finish of an earlier draft of {request.clip} is on its way"
    )


def _more_takes(request: ClipRequest, known: Sequence[Attempt], decision: str) -> Decided | None:
    """The ruling on a take beyond those that a decision asked for when it bought; None if it may buy the take.

    A run may be re-executed years later, when its series asks for more takes.
    """
    ours = [a for a in known if a.decision == decision] if request.slot > 1 else []
    if not ours or request.slot <= (ordered := max(a.request.takes for a in ours)):
        return None
    stands = leading_purchase(ours)
    if stands.state is AttemptState.DELIVERED:
        return Decided(request, Ruling.REUSED, stands)
    if stands.state.is_open:
        return Decided(request, Ruling.ADOPTED, stands)
    return Decided(
        request,
        Ruling.REFUSED,
        None,
        f"this decision ordered {ordered} takes of the clip; `dailies produce {request.clip}` or Materialize is a new decision",
    )


def _take_there(request: ClipRequest, known: Sequence[Attempt], current: str | None) -> Attempt | None:
    """The delivered take of the same request that fills a slot; None if the take is missing.

    A retake fills a slot in which nothing was bought yet, so that a series that asks for more takes than before buys only the missing
    ones.
    """
    delivered = [a for a in known if a.state is AttemptState.DELIVERED]
    # a verdict can make an older take current; that must not buy a delivered request again
    shown = [a for a in delivered if a.id == current or a is delivered[0]]
    same = next((a for a in shown if a.fingerprint == request.fingerprint), None)
    if same is None or request.takes == 1:
        return same
    filled: dict[int, Attempt] = {}
    beyond: list[Attempt] = []
    spread: list[Attempt] = []
    for attempt in (a for a in delivered if a.fingerprint == request.fingerprint):
        if attempt.slot > request.takes:
            beyond.append(attempt)
        elif attempt.slot in filled:
            spread.append(attempt)
        else:
            filled[attempt.slot] = attempt
    slots = range(1, request.takes + 1)
    bought = {a.slot for a in known if a.fingerprint == request.fingerprint}
    # a take in a slot that is no longer asked for fills any other one
    filled |= zip([slot for slot in slots if slot not in filled], beyond, strict=False)
    filled |= zip([slot for slot in slots if slot not in {*filled, *bought}], spread, strict=False)
    return filled.get(request.slot)


def _tried_before(request: ClipRequest, ours: list[Attempt]) -> Decided:
    """What this decision may still buy of the clip; a refusal if its tries are used up."""
    spent = [attempt for attempt in ours if not _was_no_purchase(attempt)]
    if not spent:
        return Decided(request, Ruling.NEW, None)
    last = spent[0]
    following = after(last, ours, request)
    if following is not None:
        return Decided(following, Ruling.NEW, None)
    return Decided(
        request,
        Ruling.REFUSED,
        last,
        f"{last.reason or last.state} (this decision has already tried {len(spent)} of {request.max_attempts}; "
        f"`dailies retry {request.clip}` or Materialize is a new decision)",
    )


def after(failed: Attempt, ours: list[Attempt], request: ClipRequest) -> ClipRequest | None:
    """The request that a decision buys after a purchase that made no clip; None if it may buy no more.

    Args:
        failed: The purchase.
        ours: All attempts of the decision in the take's slot, newest first.
        request: The present request; the series may have changed since the purchase.
    """
    same_clip = failed.fingerprint == request.fingerprint
    if same_clip and not failed.request.is_same_choice(request):
        request = failed.request
    # purchases of an older version of the clip count too; each fallback has its own tries
    tries = [
        attempt
        for attempt in ours
        if not _was_no_purchase(attempt)
        and (attempt.fingerprint != failed.fingerprint or attempt.request.is_same_choice(failed.request))
    ]
    kind = tries[0].reason_kind if tries else None
    may_pass = kind.may_pass if kind is not None else not tries and failed.state is not AttemptState.REJECTED
    if may_pass and len(tries) < request.max_attempts:
        return request
    # buy a fallback only if the provider has ended the job, never if the outcome is unknown
    if failed.state in DEFINITE and same_clip:
        return request.fall_back()
    return None


def _was_no_purchase(attempt: Attempt) -> bool:
    """Whether an attempt made no job for a reason outside the request. A failed job always counts as a purchase."""
    match attempt.state:
        case AttemptState.WITHDRAWN:
            return True
        case AttemptState.REJECTED:
            return attempt.reason_kind in ACCOUNT_TROUBLE
        case AttemptState.ABSENT:
            return attempt.reason_kind in {None, FailureKind.THROTTLED} | ACCOUNT_TROUBLE
        case _:
            return False


def _open_purchase_text(attempt: Attempt) -> str:
    return (
        f"an earlier purchase of this clip with another request is still {attempt.state} (attempt {attempt.id}, "
        f"job {attempt.job_id or 'not known yet'}). Its paid output is fetched first. Run this again when it has ended."
    )


def unknown_price(request: ClipRequest, *, asked: bool = True) -> str:
    """Why a clip without a price is not bought, and the next step; `asked` tells whether the provider was asked for a quote."""
    reason = f"the price of {request.endpoint} with these parameters is unknown, and an unknown price is not bought"
    if not asked:
        return f"{reason}. `dailies plan --quote` asks its provider, as a purchase does first; that is free."
    return f"{reason}. Choose parameters with a known price (`dailies models`)."
