"""Finished generations that wait to be fetched, the stand-in that serves them and cuts some, and a bucket."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from proof.deliveries.worker import KEY
from resources.ledger import polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.orders import ClipRequest, Expected
from resources.providers.base import JobState
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.sandbox import FaultRule, SandboxSettings, running_sandbox
from resources.storage.embedded import EmbeddedS3

MODEL = "openai/sora-2/text-to-video"
WIDTH, HEIGHT, SECONDS = 320, 180, 4
SMALL = {"name": "small", "then": {"do": "wrong_size", "width": WIDTH, "height": HEIGHT}}
SLOW = {"name": "slow", "when": {"operation": "cdn"}, "then": {"do": "delay", "seconds": 0.02}}


@dataclass
class Depot:
    """The finished generations to deliver, and their destination."""

    ledger: str
    """Its URL."""
    s3: EmbeddedS3
    scratch: Path
    """The workers' folder for incomplete files."""
    origin: str
    """Id of the stand-in's process."""
    place: Path
    """The file with these values for a worker."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each clip's output, by its key."""

    @property
    def fetches(self) -> int:
        """The number of requests for files."""
        return sum(job["fetches"] for job in _ask(f"{self.origin}/admin/books").json()["jobs"])


@contextlib.contextmanager
def filled(
    folder: Path, *, clips: int, lease_seconds: float, seed: int, cuts: float = 0.1
) -> Iterator[Depot]:
    """A depot with a number of finished generations.

    Args:
        folder: The folder for all files.
        clips: The number of generations.
        lease_seconds: The lifetime of a killed worker's claims.
        seed: Decides which answers are cut, and where.
        cuts: Share of the requests whose answer is cut.
    """
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    url = f"sqlite:///{folder / 'ledger.db'}"
    settings = SandboxSettings(job_seconds=0, balance_usd=clips + 1, clip_bytes=400_000)
    with running_sandbox(settings) as sandbox, EmbeddedS3(folder / "s3") as s3:
        depot = Depot(url, s3, scratch, sandbox.url, folder / "place.json")
        depot.place.write_text(json.dumps(_place(depot, lease_seconds)))
        rules = sandbox.app.state.workshop.faults.rules
        rules.append(FaultRule.model_validate(SMALL))
        with Ledger(url, budget=Budget()) as ledger:
            for number in range(clips):
                attempt, output = asyncio.run(_finished(ledger, f"clip-{number:04}", sandbox.url))
                depot.digests[attempt.clip] = hashlib.sha256(_ask(output).content).hexdigest()
        rules.append(FaultRule.model_validate(SLOW))
        rules += [
            FaultRule.model_validate(
                {
                    "name": "cut",
                    "when": {"operation": "cdn", "probability": cuts / 3, "seed": seed * 10 + number},
                    "then": {"do": "truncate", "share": share},
                }
            )
            for number, share in enumerate((0.1, 0.5, 0.9))
        ]
        yield depot


def _ask(url: str) -> httpx.Response:
    return httpx.get(url, timeout=30, trust_env=False).raise_for_status()


def _place(depot: Depot, lease_seconds: float) -> dict[str, Any]:
    settings = depot.s3.settings
    return {
        "ledger": depot.ledger,
        "bucket": settings.bucket,
        "endpoint": settings.endpoint_url,
        "key_id": settings.access_key_id,
        "secret": settings.secret_access_key.get_secret_value() if settings.secret_access_key else "",
        "origin": depot.origin,
        "scratch": str(depot.scratch),
        "lease_seconds": lease_seconds,
    }


async def _finished(ledger: Ledger, clip: str, origin: str) -> tuple[Attempt, str]:
    """Buy a clip and wait for it; returns its attempt and the address of its output."""
    request = ClipRequest(
        clip=clip,
        series="bench",
        provider="wavespeed",
        endpoint=MODEL,
        body={"prompt": clip, "duration": SECONDS},
        price_micros=400_000,
        expected=Expected(width=WIDTH, height=HEIGHT, duration=SECONDS, audio=True),
    )
    decide(ledger, [request], Decision("bench"))
    submission = claim_next(ledger, "wavespeed", PostTerms(Limits(), 30))
    if not isinstance(submission, Submission):
        raise TypeError(f"nothing could be claimed: {submission}")
    provider = WaveSpeed(Connection("wavespeed", origin, KEY))
    try:
        outcome = await provider.submit(MODEL, request.body, submission_id=submission.id, deadline_seconds=30)
        attempt = record_outcome(ledger, submission, outcome)
        seen = await provider.poll(str(attempt.job_id), age_seconds=0)
    finally:
        await provider.aclose()
    if not isinstance(seen, JobState):
        raise TypeError(f"{clip} has not ended: {seen}")
    return polls.record_end(ledger, attempt, seen, provider.capabilities), seen.outputs[0]
