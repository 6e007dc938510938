"""One history: runs a plan in virtual time to its end, and judges it."""

import asyncio
import contextvars
import random
import traceback
from collections.abc import Awaitable, Callable

from pipelines.collections import Collection
from proof.clock import START, Clock, VirtualLoop
from proof.laws import FinalFacts
from proof.simulation import actors, bucket
from proof.simulation.actors import Run, Surroundings
from proof.simulation.books import ProviderBooks, SoldJob
from proof.simulation.bucket import Objects
from proof.simulation.database import HistoryDatabase
from proof.simulation.evidence import Doubts, ambiguity_of, flaw_of
from proof.simulation.faults import ABANDONED_RUN, JUDGED, HistoryFaults
from proof.simulation.judges import Judges
from proof.simulation.plans import FAULT_SECONDS, HistoryPlan
from proof.simulation.processes import PROCESS, Points, SimulatedProcess
from proof.simulation.provider import AIMLAPI, FAL, PRICE, REPLICATE, WAVESPEED, ProviderAccount
from resources.errors import DailiesError
from resources.ledger.budget import Budget
from resources.ledger.limits import Limits
from resources.orders import Caps, Choice, ClipRequest, Expected, FinishOrder, Review, Seed

MODEL = "openai/sora-2/text-to-video"
FALLBACK = "bytedance/seedance-2.0/text-to-video"
FINISH = "openai/sora-2-pro/text-to-video"
"""The endpoint that finishes drafts; its price is the drafts' price, so that a cap counts purchases."""
MAX_SECONDS = 120.0
SENSOR_SECONDS = 10.0
ENDS_WITHIN_SECONDS = 2400.0
"""Seconds after the end of the faults within which every clip must end."""
BOOKED_WITHIN_SECONDS = 5.0
"""Seconds within which a process commits the id of a job that it has received."""
HELD_SECONDS = 1700.0
"""Seconds after the faults in which a held purchase may still find its job."""
SWEPT_WITHIN_SECONDS = 10_000.0
"""Seconds after the faults within which a sweep must book a job that ran on unseen."""
ON_ITS_WAY = """reported_run_id IS NULL AND (subject_kind <> 'spare' OR state IN ('submitted', 'overdue', 'succeeded'))"""
"""Selects attempts that have not ended; spare takes are fetched, but not reported."""
WAITS_FOR_A_PERSON = "SELECT 1 FROM accounts WHERE stopped_kind = 'overcharged'"
"""Selects stops that only a person ends; any other stop must end by itself."""
RULES = {rules.name: rules for rules in (WAVESPEED, AIMLAPI, FAL, REPLICATE)}


class SimulatedHistory:
    """The world of one history."""

    def __init__(self, plan: HistoryPlan, database: HistoryDatabase, *, trace: bool = False) -> None:
        self.plan = plan
        self.database = database
        self.clock = Clock()
        self.points = Points(
            frozenset(plan.crashes), dict(plan.pauses), at=dict(plan.at), trace=[] if trace else None
        )
        self.faults = HistoryFaults(plan.seed, plan.kinds, clock=self.clock, until=START + FAULT_SECONDS)
        self.account = ProviderAccount(
            ProviderBooks(RULES[plan.provider], self.clock), self.faults, skew=plan.skew, dated=plan.dated
        )
        cap = None if plan.cap is None else plan.cap * PRICE
        self.around = Surroundings(
            self.account,
            Objects(),
            Limits(plan.in_flight, plan.per_minute),
            Budget(everything=Caps(total=cap)),
            database.scratch,
        )
        self.order = [f"clip-{number}" for number in range(plan.clips)]
        self.judges = Judges(plan.seed, self.around, database, self.clock)
        self.runs: list[Run] = []
        self.decisions: dict[str, bool] = {}
        self.broken: list[str] = []
        self.unbooked: list[str] = []
        self.account.heard = self._heard
        self.account.made = self._call_back
        self._called_back: set[str] = set()
        self._rng = random.Random(f"{plan.seed}:world")
        self._callback_rng = random.Random(f"{plan.seed}:callback times")
        self._run_keys: set[str] = set()
        self._planned = 0
        self._children: list[asyncio.Task[None]] = []
        self._processes = 0
        self._at_work: list[SimulatedProcess] = []
        self._stirred = asyncio.Event()

    def prepare(self) -> None:
        """Store the history's past: whether the key is dedicated, and a list that always showed new jobs within ten seconds."""
        self.database.empty()
        use = "dedicated" if self.plan.dedicated else "shared"
        self.database.execute(
            f"INSERT INTO accounts (account, key_use, key_use_since) VALUES ('{self.plan.provider}', '{use}', 0)"
        )
        if self.plan.experienced:
            row = f"'{self.plan.provider}', 'earlier-' || value, value / 3.0, {START - 3600}"
            numbers = (
                "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 30)"
            )
            self.database.execute(
                f"{numbers} INSERT INTO lags (account, job_id, seconds, seen_at) SELECT {row} FROM n"
            )

    def request(self, clip: str) -> ClipRequest:
        """The order of a clip: a request whose prompt is the clip's key, by which the provider's books identify it."""
        return ClipRequest(
            clip=clip,
            series="city",
            provider=self.plan.provider,
            endpoint=MODEL,
            body={"prompt": clip, "seconds": 4},
            price_micros=PRICE,
            expected=Expected(width=bucket.WIDTH),
            max_seconds=MAX_SECONDS,
            max_attempts=self.plan.max_attempts,
            takes=self.plan.takes,
            fallbacks=() if self.plan.drafts else self._fallbacks(clip),
            seed=self._seed,
            finish=self._finish(clip),
            review=Review(by="person" if self.plan.drafts else "none"),
        )

    def _fallbacks(self, clip: str) -> tuple[Choice, ...]:
        return (self._fallback(clip),) if self.plan.fallback else ()

    def _finish(self, clip: str) -> FinishOrder | None:
        if not self.plan.drafts:
            return None
        choice = self._fallback(clip).model_copy(update={"endpoint": FINISH})
        return FinishOrder(choice=choice, fallbacks=self._fallbacks(clip))

    @property
    def _seed(self) -> Seed | None:
        """The drawn seed, if the list shows requests."""
        return Seed(name="seed") if self.account.books.rules.echoes_input else None

    def _fallback(self, clip: str) -> Choice:
        return Choice(
            provider=self.plan.provider,
            endpoint=FALLBACK,
            body={"prompt": clip, "duration": 5},
            price_micros=PRICE,
            expected=Expected(width=bucket.WIDTH),
            max_seconds=MAX_SECONDS,
            seed=self._seed,
        )

    # The run of a history

    async def live(self) -> None:
        """Run from the first decision until all clips have ended."""
        sensors = [asyncio.create_task(self._sensor(number)) for number in range(self.plan.machines)]
        self._plan_people()
        await self._end(sensors)
        if "run again at the end" in self.plan.kinds:
            self.faults.struck["run again at the end"] += 1
            await asyncio.sleep(max(0.0, START + FAULT_SECONDS - self.clock()))
            for number in range(2):
                # the same decision again, after all clips have ended: it must adopt its purchases
                self._later(0.5, Run(f"again-{number}", "wait", tuple(self.order), "monday"))
                await self._end(sensors)
        await self.judges.store(self._act)
        for task in (*sensors, *self._children):
            task.cancel()
        await asyncio.gather(*sensors, *self._children, return_exceptions=True)

    async def _end(self, sensors: "list[asyncio.Task[None]]") -> None:
        """Wait until no purchase is open."""
        while not self._over():
            for task in (*sensors, *self._children):
                if task.done():
                    task.result()
            if self.faults.over and self.database.rows(WAITS_FOR_A_PERSON):
                await self._act("person", lambda process: actors.start(process, self.around))
                self._stirred.set()
            await asyncio.sleep(1.0 if any(run.ended_at is None for run in self.runs) else 5.0)

    def _plan_people(self) -> None:
        rng, plan = self._rng, self.plan
        self._later(0.0, Run("first", plan.way, tuple(self.order), "monday"))
        if self.faults.strikes(JUDGED, chance=1.0):
            for seconds in self.judges.visits():
                self._judge_later(seconds)
        others = (
            ("second run", "second", "monday", 0.0, 3.0),
            ("second decision", "other", "tuesday", 0.0, 30.0),
            ("retry", "retry", "retry", 40.0, 380.0),
            ("another take", "take", "take", 20.0, 380.0),
        )
        for kind, name, decision, earliest, latest in others:
            if self.faults.strikes(kind, chance=1.0):
                keys = tuple(rng.sample(self.order, len(self.order)))
                run = Run(
                    name, rng.choice(["wait", "leave"]), keys, decision, regenerate=kind == "another take"
                )
                self._later(rng.uniform(earliest, latest), run)

    def _later(self, seconds: float, run: Run) -> None:
        self._planned += 1

        async def wait() -> None:
            await asyncio.sleep(seconds)
            self.runs.append(run)
            self._planned -= 1
            await self._run(run)

        self._children.append(asyncio.create_task(wait()))

    def _judge_later(self, seconds: float) -> None:
        self._planned += 1

        async def wait() -> None:
            await asyncio.sleep(seconds)
            self._planned -= 1
            await self.judges.visit(self._act)
            self._stirred.set()

        self._children.append(asyncio.create_task(wait()))

    async def _run(self, run: Run) -> None:
        if run.kind != "collect":
            self.decisions[run.decision] = self.decisions.get(run.decision, False) or run.regenerate
        self._stirred.set()
        requests = [self.request(key) for key in run.keys]
        if run.kind == "collect":
            ended = await self._act(run.id, lambda process: actors.collect(process, self.around, run))
        else:
            ended = await self._act(
                run.id,
                lambda process: actors.buy(process, self.around, run, requests),
                terminated=self.faults.strikes("terminated run", chance=0.5),
            )
        run.ended_at = self.clock()
        died = ended in {"crashed", "terminated", "failed"}
        if run.kind != "collect" and died and run.tries < 3 and not self.faults.strikes(ABANDONED_RUN):
            again = Run(f"{run.id}+", run.kind, run.keys, run.decision, run.regenerate, tries=run.tries + 1)
            self._later(self._rng.uniform(2, 60), again)

    async def _sensor(self, number: int) -> None:
        name = f"sensor-{number}"
        await asyncio.sleep(self._rng.uniform(1, SENSOR_SECONDS))
        while True:
            asked: list[Collection] = []

            async def tick(process: SimulatedProcess, asked: list[Collection] = asked) -> None:
                asked += await actors.tick(process, self.around, self.runs, self.order)

            await self._act(name, tick)
            for collection in asked:
                self._collect(collection)
            age = self.clock() - START
            await asyncio.sleep(SENSOR_SECONDS * (1 if age < 90 else 3 if age < 2 * FAULT_SECONDS else 12))
            while self._idle():
                self._stirred.clear()
                await self._stirred.wait()

    def _collect(self, collection: Collection) -> None:
        """Start the run that a sensor requested; Dagster starts the same key only once."""
        if collection.run_key not in self._run_keys:
            self._run_keys.add(collection.run_key)
            self._later(
                0.5, Run(f"collect-{len(self._run_keys)}", "collect", collection.keys, collection.batch)
            )

    async def _act(
        self, name: str, work: Callable[[SimulatedProcess], Awaitable[None]], *, terminated: bool = False
    ) -> str:
        """Run one process from its start to its end; returns how it ended."""
        self._processes += 1
        rng = random.Random(f"{self.plan.seed}:process:{self._processes}")
        process = SimulatedProcess(
            f"{name}#{self._processes}", self.clock, self.points, rng, ahead=self._ahead
        )
        self._at_work.append(process)

        async def body() -> None:
            try:
                await work(process)
            finally:
                await process.ends()

        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        task = context.run(asyncio.get_running_loop().create_task, body())
        if terminated:
            asyncio.get_running_loop().call_later(rng.uniform(0.2, 25.0), task.cancel)
        await asyncio.wait({task})
        process.dead = True
        self._at_work.remove(process)
        if process.crashed:
            return "crashed"
        if task.cancelled():
            return "terminated"
        error = task.exception()
        if error is None:
            return "ended"
        if isinstance(error, DailiesError):
            process.note(f"fails: {error}")
            return "failed"
        self.broken.append("".join(traceback.format_exception(error)))
        return "broken"

    def _ahead(self) -> float:
        """Seconds by which our clock is ahead now."""
        return self.plan.ahead if self.clock() < START + self.plan.right_after else 0.0

    def _call_back(self, job: SoldJob) -> None:
        """Make the provider call back when a job has ended. A receiver that dies meanwhile is not called again."""
        if not self.plan.callbacks or job.fate.end == "vanished":
            return
        self._planned += 1

        async def take() -> None:
            self._planned -= 1
            self._stirred.set()
            ended = await self._act(
                "webhook", lambda process: actors.take_callback(process, self.around, job)
            )
            if ended == "ended":
                self._called_back.add(job.id)

        seconds = max(0.0, job.ends_at - self.clock()) + self._callback_rng.uniform(0.1, 3.0)
        # outside the context of the process that sent the POST, whose tasks end with it
        asyncio.get_running_loop().call_later(
            seconds,
            lambda: self._children.append(asyncio.create_task(take())),
            context=contextvars.Context(),
        )

    def _turns_up_late(self) -> bool:
        """Whether a job has an output although its purchase has ended without one."""
        rows = self.database.rows(
            "SELECT job_id FROM attempts WHERE late_at IS NOT NULL AND state IN ('failed', 'vanished', 'lost')"
        )
        return any(self.account.books.word(row["job_id"]) == "completed" for row in rows if row["job_id"])

    def _heard(self, job_id: str, process: SimulatedProcess) -> None:
        """Check that a process that has received a job's id commits it within `BOOKED_WITHIN_SECONDS` while it is alive and awake."""

        def look() -> None:
            known = self.database.rows(f"SELECT 1 FROM jobs WHERE job_id = '{job_id}'")
            if not known and not process.crashed and not process.asleep:
                self.unbooked.append(
                    f"{job_id} was accepted, {process.name} received its id, and the ledger does not have it"
                )

        asyncio.get_running_loop().call_later(BOOKED_WITHIN_SECONDS, look)

    # The end of a history

    def _idle(self) -> bool:
        """Whether no purchase is open and no process is running."""
        if any(run.ended_at is None for run in self.runs):
            return False
        unreported = self.database.rows(f"SELECT 1 FROM attempts WHERE {ON_ITS_WAY} LIMIT 1")
        return not (
            unreported
            or self._will_be_finished()
            or self._money_is_open()
            or self._runs_on_unseen()
            or self._turns_up_late()
        )

    def _will_be_finished(self) -> bool:
        """Whether an ordered finish waits for another purchase in its slot."""
        return bool(
            self.database.rows("SELECT 1 FROM waiting_finishes WHERE reason LIKE '%in its slot%' LIMIT 1")
        )

    def _money_is_open(self) -> bool:
        """Whether the bill has yet to confirm an amount, if the history waits for it."""
        if not self.plan.to_the_bill:
            return False
        return bool(
            self.database.rows(
                "SELECT 1 FROM attempts WHERE job_id IS NOT NULL AND (money_state IN ('reserved', 'refund_expected') "
                "OR (money_state IN ('confirmed', 'indeterminate') AND charge_source IS NOT 'bill')) LIMIT 1"
            )
        )

    def _given_up(self) -> list[SoldJob]:
        """The jobs that may outlast their purchase: they take too long, and the list does not show running jobs."""
        books = self.account.books
        late = [job for job in books.ours if job.fate.seconds > MAX_SECONDS]
        if books.rules.lists_running or not late:
            return []
        absent = self.database.rows(
            "SELECT s.id FROM attempts a JOIN submissions s ON s.attempt_id = a.id WHERE a.state = 'absent'"
        )
        posts = {row["id"] for row in absent}
        return [job for job in late if job.tag in posts]

    def _runs_on_unseen(self) -> bool:
        """Whether a job's purchase was given up before the list showed the job, and no sweep has found it yet."""
        given_up = self._given_up()
        if not given_up:
            return False
        known = {row["job_id"] for row in self.database.rows("SELECT job_id FROM jobs")}
        return any(job.id not in known for job in given_up)

    def _over(self) -> bool:
        self.points.closed = self.faults.over
        given_up = self._given_up()
        if self.clock() > START + FAULT_SECONDS + (SWEPT_WITHIN_SECONDS if given_up else ENDS_WITHIN_SECONDS):
            return True
        if self._planned or any(run.ended_at is None for run in self.runs) or self._runs_on_unseen():
            return False
        # held POSTs are still searched for, until every job has ended and was listed
        held_for_good = self.clock() > START + FAULT_SECONDS + HELD_SECONDS
        if (
            (not held_for_good and self._may_still_be_found())
            or (not held_for_good and self._will_be_finished())
            or self._money_is_open()
            or self._turns_up_late()
        ):
            return False
        return not self.database.rows(
            f"SELECT 1 FROM attempts WHERE {ON_ITS_WAY} AND state <> 'held' LIMIT 1"
        )

    def _may_still_be_found(self) -> bool:
        """Whether a purchase is held whose job will name its POST in the list, or will be shown once the list can be read."""
        held = self.database.rows(
            "SELECT s.id, s.lack FROM attempts a JOIN submissions s ON s.attempt_id = a.id WHERE a.state = 'held'"
        )
        books = self.account.books
        tags = {
            row["id"]
            for row in held
            if books.rules.echoes_tags
            or books.rules.echoes_input
            or (self.plan.dedicated and row["lack"] == "reading")
        }
        return any(job.tag in tags and job.fate.end != "vanished" for job in books.ours)

    def end(self, loop: VirtualLoop) -> None:
        """End all processes."""
        for process in self._at_work:
            process.dead = True
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    def evidence(self) -> FinalFacts:
        """The evidence for the judges."""
        rows, plan = self.database.rows, self.plan
        jobs = self.account.books.as_evidence()
        submissions = rows("SELECT * FROM submissions")
        journal = rows("SELECT * FROM journal ORDER BY seq")
        doubts = Doubts(
            dedicated=plan.dedicated,
            unread="unreadable row" in plan.kinds,
            dated=bool(plan.dated),
            came_back=bool(plan.ahead),
            called_back=frozenset(self._called_back),
        )
        return FinalFacts(
            jobs=jobs,
            attempts=rows("SELECT * FROM attempts ORDER BY seq"),
            submissions=submissions,
            booked=rows("SELECT * FROM jobs"),
            journal=journal,
            flaw=flaw_of(self.around.objects.of),
            why_ambiguous=ambiguity_of(jobs, submissions, journal, doubts),
            regenerates=self.decisions,
            takes=plan.takes,
            max_attempts=plan.max_attempts,
            fallback=plan.fallback,
            billed=plan.to_the_bill,
            reported=True,
            cap=None if plan.cap is None else plan.cap * PRICE,
            max_seconds=MAX_SECONDS,
            now=self.clock(),
        )
