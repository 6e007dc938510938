"""The question that a command asks before it buys: the plan, its price, and the clips that are refused at once."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

import typer

from pipelines.cli import terminal
from pipelines.cli.launch import Launch
from pipelines.cli.plan import plan_of
from pipelines.cli.plan_table import show_decisions
from pipelines.cli.stack_settings import running_settings
from pipelines.cli.terminal import complain, confirm, counted
from pipelines.rendered_clips import Rendered, render
from resources.errors import ConfigurationError
from resources.ledger.approvals import Approval
from resources.money import show_usd
from resources.planning import DueClip, Plan, Verb
from resources.series import Declarations


@dataclass(frozen=True)
class Approved:
    """The clips that a command may request."""

    approvals: list[Approval]
    """The clips that may be bought or that need no purchase. The run buys nothing else."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why the others are left out, by clip."""


def producible_clips(declarations: Declarations, keys: Sequence[str], *, skip_bad: bool) -> Rendered:
    """Render the clips of a command, and keep those that can be produced.

    Args:
        skip_bad: Whether clips that cannot be rendered are left out instead of stopping the batch.

    Raises:
        ConfigurationError: A clip cannot be rendered. Nothing was requested.
    """
    rendered = render(declarations, keys)
    problems = rendered.problems
    if problems and (not skip_bad or len(problems) == len(keys)):
        listed = "\n".join(f"{clip}: {why}" for clip, why in problems.items())
        hint = "" if len(problems) == len(keys) else "\n--skip-bad lets the others go."
        raise ConfigurationError(
            f"{len(problems)} of {counted(len(keys), 'clip')} cannot be produced; nothing was bought.\n{listed}{hint}"
        )
    for clip, why in problems.items():
        complain(f"{clip} is left out: {why}")
    return rendered


def approve(
    declarations: Declarations, rendered: Rendered, launch: Launch, *, yes: bool, quiet: bool
) -> Approved:
    """Show what a command would do with each clip, and ask whether to do it.

    A plan that costs nothing is not asked about. The plan reserves no money: another process may buy between the answer and the
    run, so the run checks the caps again. `--yes` approves the plan that is made here.

    Args:
        launch: What the command would launch.
        yes: Whether the person has answered already, with `--yes`.
        quiet: Whether to print no table, as with `--json`.

    Raises:
        ConfigurationError: This ledger may not buy. Nothing was requested.
        typer.Exit: Every clip is refused (1), the answer is no (1), or no terminal can ask (2).
    """
    today = dt.datetime.now(dt.UTC).date()
    clips = [DueClip(declarations.find(key), today, f"plan:{launch.command}") for key in rendered.requests]
    unpriced = any(not request.is_priced for request in rendered.requests.values())
    plan, changed = plan_of(running_settings(), declarations, clips, launch.asked, quote=unpriced)
    if not quiet:
        show_decisions(plan, changed)
    if plan.may_not_buy is not None and Verb.BUY in plan.counts:
        raise ConfigurationError(f"nothing was bought: {plan.may_not_buy}")
    refused = {one.clip: one.reason or "" for one in plan.clips if one.verb is Verb.REFUSE}
    if refused and quiet:
        for clip, why in refused.items():
            complain(f"{clip}: {why}")
    if len(refused) == len(clips):
        complain("nothing was bought, because every clip was refused for the reason shown above")
        raise typer.Exit(1)
    _ask(plan, yes=yes)
    refused |= rendered.problems
    approvals = [
        one.approval(one.request)
        for one in plan.clips
        if one.verb is not Verb.REFUSE and one.request is not None
    ]
    return Approved(approvals, refused)


def _ask(plan: Plan, *, yes: bool) -> None:
    """End the command unless the person agrees to the plan's purchases."""
    number = plan.counts.get(Verb.BUY, 0)
    if yes or not number:
        return
    floor, ceiling = show_usd(plan.floor), show_usd(plan.ceiling)
    price = ceiling if floor == ceiling else f"{floor} to {ceiling}"
    takes = "" if plan.takes == number else f" ({plan.takes} takes)"
    agree(f"buy {counted(number, 'clip')}{takes} for {price}")


def agree(what: str, *, yes: bool = False) -> None:
    """Ask a person whether to do something that costs money.

    Args:
        what: The action, as it follows "this would".
        yes: Whether the person has answered already.

    Raises:
        typer.Exit: The answer is no (1) or Ctrl-C (130), or no terminal can ask (2).
    """
    if yes:
        return
    if not terminal.is_terminal():
        complain(
            f"nothing was bought: this would {what}, and without a terminal nobody can be asked. Add --yes."
        )
        raise typer.Exit(2)
    confirm(f"{what[0].upper()}{what[1:]}?", otherwise="nothing was bought")
