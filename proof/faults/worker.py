"""The product without Dagster: the work of run workers and completion sensors, in processes that are cheap to start.

One process, the nursery, imports everything once and forks a worker for each line it is given, so that two hundred kills do
not cost two hundred starts. A worker is a separate process with its own ledger connection, event loop, HTTP and S3.
"""

import argparse
import asyncio
import contextlib
import contextvars
import ctypes
import json
import logging
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3  # noqa: F401 - before the first fork, once for all
import botocore.client  # noqa: F401
import httpx
from pydantic import SecretStr

import resources.ledger.database as database_module
import resources.providers.http as http_module
from proof.clock import FastClock
from proof.faults.people import judge_drafts
from resources.errors import DailiesError
from resources.ledger import decisions, deliveries, waiting_finishes
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.finishes import buy_ordered
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest
from resources.production.account import Account, bind_account
from resources.production.batch import Follower, Report, Stage
from resources.production.bucket_mark import bind_bucket
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.spare_fetch import fetch_spares
from resources.production.verdict_objects import store_verdicts
from resources.providers.accounts import AccountSettings, build_provider
from resources.providers.base import SubmitOutcome
from resources.providers.provider import Provider
from resources.providers.registry import spec_of
from resources.storage.download import DownloadPolicy
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings

TAG = "X-Client-Request-Id"
"""The header of the submission's id. Only AI/ML API uses it; the other stand-ins record it for the judge, and no answer depends on it."""
SUBMIT_SECONDS = 60.0
"""The default of `AccountSettings`."""
TICK_SECONDS = 10.0
"""The interval of the completion sensor."""
COLLECTED_AT_ONCE = 25
PR_SET_PDEATHSIG = 1

_submission: contextvars.ContextVar[str] = contextvars.ContextVar("submission", default="")


@dataclass(frozen=True)
class Place:
    """All addresses and folders of a round."""

    ledger_url: str
    """The database."""
    urls: dict[str, str]
    """Address of each provider."""
    key: str
    """Their key."""
    s3: dict[str, Any]
    """Fields of `S3Settings`."""
    scratch: Path
    """The folder for incomplete files."""
    clips: dict[str, ClipRequest]
    """The requests, by clip."""
    origin: float
    """See `Pace`; likewise below."""
    factor: float
    in_flight: int | None
    dedicated: bool
    """Whether the keys are dedicated."""
    settle: dict[str, float]
    said: str | None = None
    """The file of verdicts on drafts; None if no drafts are bought."""
    forgets_finishes: bool = False
    """The negative control: a circled draft counts as one without a finish, even if one was bought."""
    outputs: tuple[str, ...] = ()
    """Further origins of outputs: the addresses at which other hosts reach the providers."""

    @classmethod
    def read(cls, path: Path) -> "Place":
        """Read the place from its JSON file."""
        document = json.loads(path.read_text())
        requests = [ClipRequest.model_validate(one) for one in document.pop("clips")]
        document["scratch"] = Path(document["scratch"])
        return cls(clips={request.clip: request for request in requests}, **document)

    def account(self, name: str) -> AccountSettings:
        """One account, whose name is its provider's."""
        spec = spec_of(name)
        return AccountSettings.model_validate(
            {
                "name": name,
                "provider": name,
                "base_url": self.urls[name] + spec.sandbox_path,
                "api_key": self.key,
                "admin_key": f"{self.key}:admin" if spec.admin_key else None,
                "dedicated": self.dedicated,
            }
        )


class Worker:
    """One process's work.

    Args:
        place: All addresses and folders.
        pace: This process's clock.
    """

    def __init__(self, place: Place, pace: FastClock) -> None:
        self.place = place
        self.pace = pace
        self.name = f"pid:{os.getpid()}"
        self.ledger = self.open_ledger()
        self.store = ObjectStore(
            S3Settings(**{**place.s3, "secret_access_key": SecretStr(place.s3["secret_access_key"])})
        )
        bind_bucket(self.ledger, self.store)
        for name in place.urls:
            bind_account(self.ledger, place.account(name))

    def open_ledger(self) -> Ledger:
        """The ledger on this process's clock."""
        return Ledger(self.place.ledger_url, clock=self.pace.clock, budget=Budget())

    async def produce(self, clips: list[str], *, decision: str, wait: bool) -> None:
        """The work of a run: decide about its clips, and follow them as far as it waits."""
        until = Stage.DELIVERED if wait else Stage.SUBMITTED
        requests = [self.place.clips[clip] for clip in clips]
        async with self.engine() as engine:
            decided = await engine.ledger.run(
                decisions.decide,
                requests,
                Decision(decision, batch=decision, watched_by=self.name if wait else None),
                run_id=self.name,
            )
            await self.follow(engine, decided, until, clips=clips)

    async def tick(self, work: Callable[[Engine], Awaitable[None]]) -> None:
        """Call a function every ten seconds for ever, despite errors."""
        while True:
            began = self.pace.clock()
            try:
                async with self.engine() as engine:
                    await work(engine)
            except DailiesError as error:
                logging.getLogger("bench").warning("tick: %s", error)
            await self.pace.sleep(max(1.0, began + TICK_SECONDS - self.pace.clock()))

    async def sense(self, engine: Engine) -> None:
        """A tick of the completion sensors."""
        await engine.ledger.run(buy_ordered)
        for account in self.place.urls:
            await engine.step(account)

    async def collect(self, engine: Engine) -> None:
        """The work of the runs that sensors request: fetch ended clips whose run has ended."""
        due = []
        for account in self.place.urls:
            unreported = await engine.ledger.run(deliveries.unreported, account)
            due += [a for a in unreported if is_over(a) and not _is_at_work(a.watched_by)]
        random.shuffle(due)
        due = due[:COLLECTED_AT_ONCE]
        if due:
            await self.follow(engine, adopted(due), Stage.DELIVERED, clips={a.clip for a in due})
        if self.place.said:
            await asyncio.to_thread(store_verdicts, self.ledger, self.store)

    async def follow(
        self, engine: Engine, decided: list[Decided], until: Stage, *, clips: Collection[str]
    ) -> None:
        """Follow clips, fetch their spare takes, and record in the ledger the ends that Dagster would receive."""

        def told(report: Report) -> None:
            attempt = report.attempt
            if attempt is None:
                return
            last = not attempt.state.is_open if report.error is not None else report.stage is Stage.DELIVERED
            if last:
                deliveries.mark_reported(self.ledger, [attempt.id], self.name)

        policy = DownloadPolicy(
            allowed_origins=frozenset([*self.place.urls.values(), *self.place.outputs]),
            read_seconds=5,
            pause_seconds=self.pace.real(1),
        )
        with Deliverer(engine, self.store, policy=policy, scratch=self.place.scratch) as deliverer:
            await Follower(engine, deliverer, until=until, report=told, run_id=self.name).follow(decided)
            if until is Stage.DELIVERED:
                await fetch_spares(engine, deliverer, clips, run_id=self.name)

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """An engine for all accounts, closed at the end."""
        accounts = {}
        for name in self.place.urls:
            settings = self.place.account(name)
            accounts[name] = Account(
                client(settings, self.pace, self.place.settle.get(name)),
                Limits(self.place.in_flight),
                SUBMIT_SECONDS,
                output_key=settings.output_key,
            )
        engine = Engine(self.ledger, accounts, sleep=self.pace.sleep)
        try:
            yield engine
        finally:
            await engine.aclose()


def is_over(attempt: Attempt) -> bool:
    """Whether a collector has work for a purchase whose end was not reported to Dagster."""
    return attempt.state.is_ended and attempt.state is not AttemptState.HELD


def adopted(over: Iterable[Attempt]) -> list[Decided]:
    """The purchases that a collector follows: ended ones, without spare takes, which are fetched separately."""
    return [
        Decided(a.request, Ruling.REUSED if a.state is AttemptState.DELIVERED else Ruling.ADOPTED, a)
        for a in over
        if not a.is_spare
    ]


def client(settings: AccountSettings, pace: FastClock, settle_seconds: float | None = None) -> Provider:
    """The product's client of an account, on the proof's clock: the hard deadline of its POSTs is in the proof's seconds.

    Args:
        settings: The account.
        pace: The proof's clock.
        settle_seconds: Most seconds until the stand-in lists a job, the job's own time included; None for its contract's.
    """
    provider = build_provider(settings, clock=pace.clock)
    if settle_seconds is not None:
        provider.capabilities = replace(
            provider.capabilities, settle_seconds=settle_seconds, lists_running=True, start_seconds=0
        )
    submit = provider.submit

    async def paced(
        endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        _submission.set(submission_id)
        return await submit(
            endpoint, body, submission_id=submission_id, deadline_seconds=pace.real(deadline_seconds)
        )

    provider.submit = paced  # type: ignore[method-assign]
    _label(provider)
    return provider


def shorten_waits(factor: float) -> None:
    """Shorten waits that depend on the kernel instead of the clock, but never below the needs of a busy machine."""
    database_module.BUSY_TIMEOUT_MS = round(max(30_000 / factor, 1_000))
    http_module.CONNECT_SECONDS = max(10.0 / factor, 3.0)
    http_module.READ_SECONDS = max(30.0 / factor, 5.0)
    http_module.ASK_SECONDS = max(60.0 / factor, 6.0)


def _label(provider: Provider) -> None:
    """Send the submission's id, so that the provider's books have it."""

    async def add(request: httpx.Request) -> None:
        request.headers.setdefault(TAG, _submission.get())

    # on the wire, and nowhere else
    http = next(h for h in vars(provider).values() if isinstance(h, http_module.ProviderHttp))
    http._submits.event_hooks = {"request": [add]}  # noqa: SLF001


def _is_at_work(watcher: str | None) -> bool:
    """Whether the process that watches a clip is alive."""
    if watcher is None:
        return False
    stat = Path("/proc", watcher.partition(":")[2], "stat")
    with contextlib.suppress(OSError):
        text = stat.read_text()
        return text[text.rindex(")") + 2] not in "ZX"
    return False


def _work(place: Place, task: dict[str, Any]) -> None:
    """A worker's life."""
    pace = FastClock(place.origin, place.factor, task.get("skew", 0.0))
    shorten_waits(place.factor)
    worker = Worker(place, pace)
    if task["mode"] == "judge":
        judge_drafts(worker.ledger, worker.store, pace, Path(place.said or ""))
    elif task["mode"] in {"sense", "collect"}:
        asyncio.run(worker.tick(worker.sense if task["mode"] == "sense" else worker.collect))
    else:
        asyncio.run(worker.produce(task["clips"], decision=task["decision"], wait=task["mode"] == "wait"))


# The nursery


def _fork(place: Place, task: dict[str, Any], log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        logging.basicConfig(
            level=logging.WARNING, format="%(relativeCreated)d %(name)s %(message)s", force=True
        )
        _work(place, task)
        code = 0
    except DailiesError as error:
        # the errors with which a run ends during outages; its clips are ordered again
        print(f"ended: {error}", file=sys.stderr)
        code = 3
    except BaseException:  # noqa: BLE001 - the storm must report it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def nursery(place: Place, logs: Path) -> None:
    """Fork a worker for every line on standard input, and report when each has ended."""
    for name in place.urls:
        # its modules are read once for all workers
        build_provider(place.account(name))
    if place.forgets_finishes:
        waiting_finishes.finish_of = lambda *_: None
    waiting = b""
    number = 0
    print(json.dumps({"ready": os.getpid()}), flush=True)
    while True:
        readable, _, _ = select.select([0], [], [], 0.05)
        if readable:
            piece = os.read(0, 1 << 16)
            if not piece:
                return
            *lines, waiting = (waiting + piece).split(b"\n")
            for line in lines:
                task = json.loads(line)
                number += 1
                pid = _fork(place, task, logs / f"worker-{number:04}-{task['mode']}.log")
                print(json.dumps({"started": pid, "task": task["id"], "log": number}), flush=True)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                print(
                    json.dumps({"ended": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}), flush=True
                )


def main() -> None:
    """Run the nursery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    options = parser.parse_args()
    nursery(Place.read(options.place), options.logs)


if __name__ == "__main__":
    main()
