"""Negative controls: the product with one rule of money broken. The laws must catch each.

The controls are patches around the product, never in it. Each has the histories that can show its mistake.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from proof.laws import KINDS_OF_VIOLATION
from proof.simulation import actors, mutants
from proof.simulation.database import HistoryDatabase
from proof.simulation.faults import ABANDONED_RUN, JUDGED, OUTAGE
from proof.simulation.plans import HistoryPlan, drawn
from proof.simulation.runner import HistoryOutcome, carry_out
from resources.ledger import disputes, keys, queue
from resources.ledger.lost import closures
from resources.ledger.lost.evidence import Post
from resources.production.submitter import Submitter


@dataclass(frozen=True)
class Control:
    """One broken variant."""

    name: str
    """The name in the report."""
    patch: Callable[[], AbstractContextManager[object]]
    """Patches the product while a history runs."""
    shows: Callable[[HistoryPlan], HistoryPlan]
    """Changes a drawn history so that it can show the mistake."""
    finds: frozenset[str]
    """The kinds of violation that the mistake causes."""
    prepare: str | None = None
    """Breaks the database's schema before a history."""
    first: int = 0
    """The seed of a history that shows the mistake in little time: a search from 0 took half of the controls' time."""


def caught(control: Control, database: HistoryDatabase, *, histories: int) -> HistoryOutcome | None:
    """The first history of a control with a violation of its kind; None if none of `histories` has one."""
    for seed in range(control.first, control.first + histories):
        plan = control.shows(
            replace(drawn(seed), kinds=(), crashes=(), pauses=(), cap=None, per_minute=None, ahead=0.0)
        )
        with control.patch():
            outcome = carry_out(plan, database, schema=control.prepare)
        if any(violation.kind in control.finds for violation in outcome.violations):
            return outcome
    return None


def _with(*kinds: str, **changes: Any) -> Callable[[HistoryPlan], HistoryPlan]:
    return lambda plan: replace(plan, kinds=kinds, **changes)


DUPLICATE = frozenset({"duplicate"})
UNACCOUNTED = frozenset({"unaccounted"})
STRANGER = frozenset({"stranger"})
VERDICT = frozenset({"verdict"})
ANY = frozenset(KINDS_OF_VIOLATION)


CONTROLS = (
    Control(
        "POST before commit",
        lambda: mock.patch.object(Submitter, "submit_queue", mutants.post_first),
        _with("crash", at=(("POST: accepted", 0.0),)),
        UNACCOUNTED,
    ),
    Control(
        "retry on a read time-out",
        mutants.answers(mutants.once_more),
        _with("lost answer"),
        DUPLICATE,
        first=5,
    ),
    Control(
        "5xx counted as rejected",
        mutants.answers(mutants.believed),
        _with("error after acceptance"),
        UNACCOUNTED,
    ),
    Control(
        "the unique index dropped",
        lambda: mock.patch.object(actors, "decide", mutants.look_then_write),
        _with("second run"),
        DUPLICATE,
        prepare="DROP INDEX one_open_attempt_per_slot",
        first=2,
    ),
    Control(
        "the unique index dropped, with several takes",
        lambda: mock.patch.object(actors, "decide", mutants.look_then_write),
        _with("second run", takes=3),
        DUPLICATE,
        prepare="DROP INDEX one_open_attempt_per_slot",
        first=8,
    ),
    Control(
        "a verdict answered before it is written",
        mutants.answers_before_it_writes,
        _with(JUDGED, "crash", at=(("verdict: answered", 0.0),), takes=1),
        VERDICT,
    ),
    Control(
        "the index of circled takes dropped",
        mutants.circles_beside_the_others,
        _with(JUDGED, takes=3),
        VERDICT,
        prepare="DROP INDEX one_circled_take_per_clip",
        first=1,
    ),
    Control(
        "the index of finishes dropped",
        mutants.forgets_finishes,
        _with(JUDGED, drafts=True, takes=1),
        DUPLICATE,
        prepare="DROP INDEX one_finish_per_draft",
        first=5,
    ),
    Control(
        "an expired lease resubmits",
        mutants.expired_is_sent_again,
        _with("crash", at=(("POST: accepted", 0.0),)),
        DUPLICATE,
    ),
    Control(
        "settle time zero",
        mutants.nothing_settles,
        _with("acceptance after our time-out", clips=3, in_flight=2, experienced=True),
        DUPLICATE,
        first=3,
    ),
    Control(
        "the cap checked outside the transaction",
        mutants.caps_beside_the_transaction,
        _with("second run", clips=3, cap=1),
        frozenset({"over the cap"}),
    ),
    Control(
        "a late answer dropped",
        mutants.drops_late_answers,
        _with("pause", "list down", at=(("POST: accepted", 66.0),)),
        UNACCOUNTED,
        first=15,
    ),
    Control(
        "the decision ignored",
        mutants.ignores_decisions,
        _with("failed job", "run again at the end", "terminated run", max_attempts=1),
        DUPLICATE,
        first=6,
    ),
    Control(
        "the bill trusted without checking its label",
        mutants.believes_the_question,
        _with("heedless bill", to_the_bill=True, provider="wavespeed"),
        UNACCOUNTED,
    ),
    Control(
        "an amount booked in an unchecked unit",
        lambda: mock.patch.object(disputes, "is_believable", return_value=True),
        _with("bill in cents", to_the_bill=True),
        UNACCOUNTED,
    ),
    Control(
        "a download error that regenerates",
        mutants.buys_what_cannot_be_fetched,
        _with("cut download", "no video"),
        DUPLICATE,
        first=8,
    ),
    Control(
        "one answer ends a paid job",
        mutants.one_answer_is_an_end,
        _with("end taken back", max_attempts=2),
        DUPLICATE,
    ),
    Control(
        "a time counts however far ahead it is",
        mutants.times_are_believed,
        _with(ahead=2 * 86_400.0, right_after=4.0, way="leave", clips=1),
        frozenset({"unended"}),
        first=1,
    ),
    Control(
        "a dead run that keeps its clips",
        mutants.dead_runs_are_believed,
        _with("crash", ABANDONED_RUN, way="wait", at=(("poll: after", 0.0),)),
        frozenset({"unended"}),
    ),
    Control(
        "a hold that is final although its job is shown",
        mutants.a_hold_is_final,
        _with("lost answer", OUTAGE, provider="wavespeed", clips=1, dedicated=True),
        frozenset({"held"}),
        first=1,
    ),
    Control(
        "a callback that settles nothing",
        lambda: mock.patch.object(closures, "match_callback", return_value=None),
        _with("lost answer", provider="wavespeed", dedicated=False, callbacks=True),
        frozenset({"held"}),
        first=6,
    ),
    Control(
        "a job on a shared key matched by its price",
        lambda: mock.patch.object(Post, "may_be_given", mutants.goes_by_the_price),
        _with("stranger's job", "error without acceptance", provider="wavespeed", clips=3, dedicated=False),
        STRANGER,
        first=11,
    ),
    Control(
        "an equal request on a shared key counted as ours",
        mutants.equal_requests_are_ours,
        _with(
            "stranger's job",
            "error without acceptance",
            provider="replicate",
            clips=1,
            takes=3,
            dedicated=False,
        ),
        STRANGER,
    ),
    Control(
        "one seed for all POSTs, which are sent in parallel",
        lambda: mock.patch.object(queue, "_own_seed", return_value=7),
        _with("lost answer", provider="replicate", clips=1, takes=3, dedicated=False),
        frozenset({"held"}),
        first=3,
    ),
    Control(
        "a shared key counted as dedicated",
        lambda: mock.patch.object(keys, "use_of", return_value=keys.KeyUse(keys.DEDICATED)),
        _with("stranger's job", "error without acceptance", provider="wavespeed", clips=3, dedicated=False),
        STRANGER,
    ),
)

SPLIT = Control(
    "read and write in two transactions, with the index",
    lambda: mock.patch.object(actors, "decide", mutants.look_then_write),
    _with("second run"),
    ANY,
)
"""The counter-check of the dropped index: in the same race, the index must prevent the second purchase."""
