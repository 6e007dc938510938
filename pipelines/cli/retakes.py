"""Retakes: one more take of a clip, offered with its price and its caps, and bought after a person agrees."""

import datetime as dt
from dataclasses import dataclass, replace

from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import Launch, Launched, launch
from pipelines.cli.plan import plan_of
from resources.errors import ConfigurationError
from resources.ledger.approvals import Approval
from resources.money import show_usd
from resources.planning import DueClip, Plan, PlannedClip, TakesAsked, Verb
from resources.settings import Settings

RETAKE = Launch("retake", "submit_clips", TakesAsked(1, regenerate=True))


@dataclass(frozen=True)
class CapShown:
    """A cap that a retake counts in; money in micro-dollars."""

    name: str
    spent: int
    """The money that counts as spent now."""
    with_it: int
    """The most that would count as spent with the retake."""
    cap: int


@dataclass(frozen=True)
class RetakeOffer:
    """The price of a retake. Nothing is reserved."""

    clip: str
    floor: int
    """The cost if the first purchase succeeds, in micro-dollars."""
    ceiling: int
    """The most it can cost, with every try and fallback of the series, in micro-dollars."""
    endpoint: str
    is_draft: bool
    caps: tuple[CapShown, ...]
    approval: Approval
    """The approval to record if the person agrees."""
    refusal: str | None
    """Why nothing would be bought; None if the take would be."""

    @property
    def price(self) -> str:
        """The price for a person."""
        if self.ceiling == self.floor:
            return show_usd(self.floor)
        return f"{show_usd(self.floor)}, with every try and fallback up to {show_usd(self.ceiling)}"


def offer_retake(settings: Settings, clip: str) -> RetakeOffer:
    """Plan one more take of a clip.

    Raises:
        DailiesError: No series declares the clip, its prompt is wrong, or the ledger does not answer.
    """
    declarations = declarations_of(settings)
    declared = declarations.find(clip)
    today = dt.datetime.now(dt.UTC).date()
    due = [DueClip(declared, today, f"plan:retake:{clip}")]
    request = declarations.render(declared)
    plan, _ = plan_of(settings, declarations, due, RETAKE.asked, quote=not request.is_priced)
    (planned,) = plan.clips
    return RetakeOffer(
        clip,
        planned.floor or planned.ceiling,
        planned.ceiling,
        planned.request.endpoint if planned.request else "",
        planned.request is not None and planned.request.is_draft,
        _caps(plan),
        planned.approval(request),
        plan.may_not_buy or _refusal(planned),
    )


def buy_retake(settings: Settings, offer: RetakeOffer, *, decision: str | None = None) -> Launched:
    """Request the run that buys one more take; the completion sensor collects it.

    Args:
        decision: See `Launch`.

    Raises:
        DailiesError: Nothing would be bought, or Dagster does not accept the run.
    """
    if offer.refusal is not None:
        raise ConfigurationError(offer.refusal)
    with DagsterApi.of(settings) as api:
        return launch(settings, api, [offer.approval], replace(RETAKE, decision=decision))


def _caps(plan: Plan) -> tuple[CapShown, ...]:
    return tuple(
        CapShown(
            " ".join(filter(None, (line.scope.of, line.scope.name, line.scope.period))),
            line.spent,
            line.ceiling,
            line.cap,
        )
        for line in plan.caps
    )


def _refusal(planned: PlannedClip) -> str | None:
    match planned.verb:
        case Verb.BUY:
            return None
        case Verb.ADOPT:
            return f"a take of {planned.clip} is on its way already; nothing was bought"
        case _:
            return planned.reason or f"nothing would be bought of {planned.clip}"
