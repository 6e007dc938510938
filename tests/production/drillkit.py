"""A small studio of real parts: a sandbox behind a socket, an S3 server, the real clients and the real deliverer."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx

from resources.ledger.decisions import Decided, Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest, Expected
from resources.production.account import Account, StepResult
from resources.production.batch import Followed, Follower, Stage
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.ledger_rebuild import Rebuilt, rebuild_ledger
from resources.providers.aimlapi.client import AimlApi
from resources.providers.provider import Provider
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.storage.download import DownloadPolicy
from resources.storage.layout import prompt_key
from resources.storage.objects import ObjectStore

ENDPOINTS = {"wavespeed": "openai/sora-2/text-to-video", "aimlapi": "openai/sora-2-t2v"}
BODIES: dict[str, dict[str, Any]] = {
    "wavespeed": {"size": "1280*720", "duration": 4},
    "aimlapi": {"resolution": "720p", "aspect_ratio": "16:9", "duration": 4},
}


def a_request(clip: str, provider: str = "wavespeed", **changes: Any) -> ClipRequest:
    values: dict[str, Any] = {
        "clip": clip,
        "series": "drill",
        "provider": provider,
        "endpoint": ENDPOINTS[provider],
        "body": {"prompt": f"a picture of {clip}", **BODIES[provider]},
        "price_micros": 400_000,
        "expected": Expected(),
    }
    return ClipRequest(**(values | changes))


class Studio:
    """Everything but the ledger, which a drill loses.

    Args:
        sandbox: Address of the sandbox.
        store: The bucket.
        scratch: Folder for incomplete files.
        provider: The provider whose account is used.
    """

    def __init__(self, sandbox: str, store: ObjectStore, scratch: Path, provider: str = "wavespeed") -> None:
        self.sandbox, self.store, self.scratch, self.name = sandbox, store, scratch, provider
        self._jobs_before = len(self._jobs())

    def provider(self) -> Provider:
        kinds: dict[str, Any] = {"wavespeed": WaveSpeed, "aimlapi": AimlApi}
        made: Provider = kinds[self.name](Connection(self.name, self.sandbox, "sandbox"))
        return made

    def _jobs(self) -> list[dict[str, Any]]:
        books = httpx.get(f"{self.sandbox}/admin/books").json()
        return [job for job in books["jobs"] if job["provider"] == self.name]

    def orders(self) -> list[dict[str, Any]]:
        """Orders since the drill began, by the provider's own books."""
        return self._jobs()[self._jobs_before :]

    def produce(
        self,
        ledger: Ledger,
        *clips: str,
        until: Stage = Stage.DELIVERED,
        decision: str = "monday",
        **how: Any,
    ) -> tuple[list[Decided], Followed]:
        """A run: it binds the bucket, renders, decides and follows."""
        requests = [a_request(clip, self.name) for clip in clips]
        bind_bucket(ledger, self.store, buying=True)
        for request in requests:
            key = prompt_key(request.clip, request.fingerprint)
            data = request.model_dump_json().encode()
            self.store.put_bytes(key, data, content_type="application/json", overwrite=True)

        async def work() -> tuple[list[Decided], Followed]:
            engine = self._engine(ledger)
            try:
                decided = decide(ledger, requests, Decision(decision, **how))
                with self._deliverer(engine) as deliverer:
                    follower = Follower(
                        engine, deliverer, until=until, report=lambda report: None, run_id="run-1"
                    )
                    return decided, await follower.follow(decided)
            finally:
                await engine.aclose()

        return asyncio.run(work())

    def step(self, ledger: Ledger) -> StepResult:
        """A tick of the completion sensor."""

        async def work() -> StepResult:
            engine = self._engine(ledger)
            try:
                return await engine.step(self.name)
            finally:
                await engine.aclose()

        return asyncio.run(work())

    def finish(self, ledger: Ledger) -> None:
        """The completion sensor and the runs that it requests, until every clip is delivered."""
        give_up = time.monotonic() + 300
        while any(attempt.state.is_open for attempt in ledger.overview()):
            assert time.monotonic() < give_up, "a clip was not delivered in time"
            self.step(ledger)
            finished = [a for a in ledger.overview() if a.state is AttemptState.SUCCEEDED]

            async def collect(finished: list[Attempt] = finished) -> None:
                engine = self._engine(ledger)
                try:
                    with self._deliverer(engine) as deliverer:
                        for attempt in finished:
                            await deliverer.deliver(attempt, run_id="run-2")
                finally:
                    await engine.aclose()

            if finished:
                asyncio.run(collect())

    def rebuild(self, ledger: Ledger, **how: Any) -> Rebuilt:
        async def work() -> Rebuilt:
            provider = self.provider()
            try:
                return await rebuild_ledger(ledger, self.store, {self.name: provider}, **how)
            finally:
                await provider.aclose()

        return asyncio.run(work())

    def _engine(self, ledger: Ledger) -> Engine:
        return Engine(ledger, {self.name: Account(self.provider())}, mark=BucketMark(ledger, self.store))

    def _deliverer(self, engine: Engine) -> Deliverer:
        policy = DownloadPolicy(allowed_origins=frozenset({self.sandbox}), max_bytes=50_000_000)
        return Deliverer(engine, self.store, policy=policy, scratch=self.scratch)
