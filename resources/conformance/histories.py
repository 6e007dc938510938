"""Short histories and a short storm: the engine buys through the client, and the front's books judge the purchases."""

import random
import tempfile
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from resources.conformance.checks import check
from resources.conformance.stand import Stand, promised
from resources.conformance.wire import PAGE, Forward, Mishap, answered, cut, lost, never_sent
from resources.ledger import keys, statement
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.schema import jobs
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest, Expected
from resources.production.account import Account
from resources.production.engine import Engine

ABOUT = "histories"
STEPS = 60
STEP_SECONDS = 60.0
S = AttemptState
GOING = {S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.SUBMITTED, S.OVERDUE}
STORM_CLIPS = 16
TROUBLES: tuple[Mishap, ...] = (
    lost(httpx.ReadError("reset by peer")),
    answered(502, PAGE),
    answered(200, PAGE),
    cut,
    never_sent(httpx.ConnectError("refused")),
)


class History:
    """A ledger and an engine on a stand."""

    def __init__(self, stand: Stand, folder: Path) -> None:
        self.stand = stand
        self.name = stand.spec.name
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=stand.clock, budget=Budget())
        keys.decide(self.ledger, self.name, dedicated=True, who="conformance")

    def order(self, *clips: str) -> None:
        """Decide to buy clips."""
        price = self.stand.sold.cost(self.stand.sold.read(self.stand.order("x")))
        requests = [
            ClipRequest(
                clip=clip,
                series="conformance",
                provider=self.name,
                endpoint=self.stand.endpoint,
                body=self.stand.order(clip),
                price_micros=price,
                expected=Expected(),
                max_seconds=600,
            )
            for clip in clips
        ]
        decide(self.ledger, requests, Decision("conformance"))

    async def pass_by(self, *clips: str) -> dict[str, Any]:
        """Run steps of the engine, a minute apart, until no purchase of the clips is open."""
        dice = random.Random(1)  # noqa: S311 - repeatable, not secret
        engine = Engine(self.ledger, {self.name: Account(self.stand.client)}, sleep=self._sleep, rng=dice)
        try:
            for _ in range(STEPS):
                await engine.step(self.name)
                self.stand.pass_by(STEP_SECONDS)
                if all(attempt.state not in GOING for attempt in self.ledger.latest(clips).values()):
                    break
            # the bill confirms the charges
            for _ in range(3):
                self.stand.pass_by(600)
                await engine.step(self.name)
        finally:
            await engine.submitter.finish()
            engine.ledger.close()
        return self.ledger.latest(clips)

    async def _sleep(self, seconds: float) -> None:
        self.stand.pass_by(seconds)

    def judge(self, clips: tuple[str, ...]) -> None:
        """No clip is bought twice, no job is unknown to the ledger, and no dollar is unaccounted."""
        latest = self.ledger.latest(clips)
        bought: dict[str, list[str]] = {}
        for job in self.stand.jobs:
            bought.setdefault(str(job.body.get("prompt")), []).append(job.id)
        twice = {clip: len(ids) for clip, ids in bought.items() if len(ids) > 1}
        promised(not twice, f"clips were bought more than once: {twice}")
        with self.ledger.read() as connection:
            query = sa.select(jobs.c.job_id).where(jobs.c.attempt_id.is_not(None))
            known = list(connection.execute(query).scalars())
        held = {clip for clip, attempt in latest.items() if attempt.state is S.HELD}
        lost_jobs = [
            ids[0]
            for clip, ids in bought.items()
            if clip not in held and not any(ids[0] in one for one in known)
        ]
        promised(not lost_jobs, f"the ledger does not know {len(lost_jobs)} jobs that exist")
        stuck = {clip: attempt.state.value for clip, attempt in latest.items() if attempt.state in GOING}
        promised(not stuck, f"clips are still open after {STEPS} minutes: {stuck}")
        workshop = self.stand.workshop
        charged = sum(workshop.charged_micros(job) - workshop.refunded_micros(job) for job in self.stand.jobs)
        counted = statement.statement(self.ledger).total.micros
        promised(counted >= charged, f"{charged} micro-USD were charged, and the ledger counts {counted}")


async def _lived(stand: Stand, *clips: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="dailies-conformance-") as folder:
        history = History(stand, Path(folder))
        try:
            history.order(*clips)
            latest = await history.pass_by(*clips)
            history.judge(clips)
        finally:
            history.ledger.close()
    return latest


@check(ABOUT, "plain", "Each clip is bought once, and succeeds.")
async def plain(stand: Stand) -> None:
    """A history without faults."""
    latest = await _lived(stand, "one-clip", "two-clip")
    states = {attempt.state for attempt in latest.values()}
    promised(states == {S.SUCCEEDED}, f"the clips are {', '.join(sorted(states))}")


@check(
    ABOUT,
    "lost-answer",
    "After a lost answer the job is adopted if the provider can name it, else the clip is held; it is never bought again.",
)
async def lost_answer(stand: Stand) -> None:
    """The answer to the first POST is lost."""
    first = [True]

    async def happen(request: httpx.Request, forward: Forward) -> httpx.Response:
        if first.pop() if first else False:
            return await lost(httpx.ReadError("reset by peer"))(request, forward)
        return await forward()

    with stand.mishap(happen, stand.is_post):
        latest = await _lived(stand, "lost-clip", "next-clip")
    promised(len(stand.jobs) <= 2, f"two clips made {len(stand.jobs)} jobs")
    offers = stand.spec.capabilities
    named = (offers.lists_jobs and offers.echoes_submission_id) or offers.idempotency_seconds is not None
    state = latest["lost-clip"].state
    allowed = {S.SUCCEEDED} if named else {S.SUCCEEDED, S.HELD}
    promised(state in allowed, f"the clip with the lost answer is {state}")


@check(
    ABOUT,
    "storm",
    "Half of all requests fail at random: nothing is bought twice, and every job and dollar is accounted for.",
)
async def storm(stand: Stand) -> None:
    """A seeded storm."""
    dice = random.Random(15)  # noqa: S311 - repeatable, not secret

    async def happen(request: httpx.Request, forward: Forward) -> httpx.Response:
        if dice.random() < 0.5:
            return await forward()
        return await dice.choice(TROUBLES)(request, forward)

    clips = tuple(f"storm-{number:02}" for number in range(STORM_CLIPS))
    with stand.mishap(happen):
        await _lived(stand, *clips)
