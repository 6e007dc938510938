"""A deliverer of real parts, a provider that only names the address of outputs, and a bucket that is audited."""

import asyncio
import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any, Self

import stamina
from hostile import Hostile
from providerkit import BareProvider

from resources.ledger import deliveries, polls
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest, Expected
from resources.production.account import Account
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.series_sheets import Sheet
from resources.providers.base import Accepted, JobState, JobStatus
from resources.providers.provider import Capabilities
from resources.storage.download import DownloadPolicy
from resources.storage.embedded import EmbeddedS3
from resources.storage.layout import QUARANTINE, VIDEOS
from resources.storage.manifest import Manifest
from resources.storage.objects import ObjectStore
from resources.storage.trial import BucketTrial, try_bucket
from resources.video.facts import Inspection
from resources.video.inspector import VideoInspector

CAPABILITIES = Capabilities(echoes_submission_id=True, output_seconds=7 * 86_400, settle_seconds=60)
AS_MADE = Expected(width=320, height=180, duration=2, audio=True)
"""The properties of `makers.make_mp4`'s file by default."""


_MARK = re.compile(rb"[0-9a-f]{64}")
_inspections: dict[tuple[bytes, int, float], Inspection] = {}


class Lent:
    """Inspection processes that stay alive for the next test when a test closes them.

    They decode each content once: the sandbox's clips of one frame differ only in the mark of their job, in a comment.
    """

    def __init__(self, inspector: VideoInspector) -> None:
        self._inspect, self.compose = inspector.inspect, inspector.compose
        self.first_frame_of = inspector.first_frame_of

    def inspect(self, path: Path, *, poster_width: int = 480, shortest_seconds: float = 0.0) -> Inspection:
        content = _MARK.sub(b"", path.read_bytes(), count=1) if path.exists() else b""
        kind = hashlib.sha256(content).digest(), poster_width, shortest_seconds
        if kind in _inspections:
            return _inspections[kind]
        found = self._inspect(path, poster_width=poster_width, shortest_seconds=shortest_seconds)
        # signed credentials depend on the mark too, and on the trusted certificates
        return found if found.video.c2pa else _inspections.setdefault(kind, found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_trials: dict[str | None, BucketTrial] = {}


def tried_once(store: ObjectStore) -> BucketTrial:
    """Try one bucket of each server; the result holds for its other buckets."""
    server = store.settings.endpoint_url
    if server not in _trials:
        _trials[server] = try_bucket(store)
    store.learn(_trials[server].ways)
    return _trials[server]


def empty_bucket(s3: EmbeddedS3, **changes: object) -> ObjectStore:
    """A new bucket of a server that several tests share; `changes` are fields of its settings."""
    made = ObjectStore(s3.settings.model_copy(update={"bucket": f"test-{uuid.uuid4().hex[:8]}", **changes}))
    made.ensure_bucket()
    return made


class Outputs(BareProvider):
    """A provider with the methods that the deliverer calls.

    Attributes:
        address: The output that a poll names; None for a job that is gone.
        polls: Number of polls.
    """

    def __init__(self) -> None:
        self.address: str | None = None
        self.polls = 0

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState:
        self.polls += 1
        if self.address is None:
            return JobState(JobStatus.GONE, "not found")
        return JobState(JobStatus.SUCCEEDED, "completed", outputs=(self.address,))


class Depot:
    """Finished generations, and the deliverer that fetches them.

    Args:
        ledger: The record.
        store: The bucket.
        server: The server of the outputs.
        scratch: Folder for incomplete files.
    """

    def __init__(self, ledger: Ledger, store: ObjectStore, server: Hostile, scratch: Path) -> None:
        self.ledger, self.store, self.server, self.scratch = ledger, store, server, scratch
        self.provider = Outputs()
        self.policy = DownloadPolicy(
            allowed_origins=frozenset({server.origin}),
            max_bytes=50_000_000,
            pause_seconds=0,
            read_seconds=2,
            total_seconds=20,
        )
        self._jobs = 0

    def finished(
        self, clip: str, *, url: str | None = None, nsfw: tuple[bool | None, ...] = (), **changes: Any
    ) -> Attempt:
        """A clip whose generation waits to be fetched."""
        values: dict[str, Any] = {
            "clip": clip,
            "series": "city",
            "provider": "wavespeed",
            "endpoint": "openai/sora-2/text-to-video",
            "body": {"prompt": f"a picture of {clip}"},
            "price_micros": 400_000,
            "expected": AS_MADE,
        }
        decision = changes.pop("decision", "monday")
        decide(self.ledger, [ClipRequest(**(values | changes))], Decision(decision, regenerate=True))
        submission = claim_next(self.ledger, "wavespeed", PostTerms(Limits(), 30))
        assert isinstance(submission, Submission), submission
        self._jobs += 1
        job = f"job-{self._jobs}"
        attempt = record_outcome(self.ledger, submission, Accepted(job, None, {"id": job}))
        seen = JobState(JobStatus.SUCCEEDED, "completed", outputs=(url or self.server.url(),), nsfw=nsfw)
        return polls.record_end(self.ledger, attempt, seen, CAPABILITIES)

    def deliver(self, *attempts: Attempt) -> list[Attempt]:
        """Deliver generations concurrently; the first error is raised when all have ended."""
        self._deliver(attempts)
        return [self.read(attempt) for attempt in attempts]

    def deliver_and_write_sheets(self, *attempts: Attempt) -> list[Sheet]:
        """Deliver generations concurrently, then write the contact sheets, as a run does at its end."""
        return self._deliver(attempts, sheets=True)

    def _deliver(self, attempts: tuple[Attempt, ...], *, sheets: bool = False) -> list[Sheet]:
        async def work() -> list[Sheet]:
            engine = Engine(self.ledger, {"wavespeed": Account(self.provider)})
            try:
                with Deliverer(engine, self.store, policy=self.policy, scratch=self.scratch) as deliverer:
                    ended = await asyncio.gather(
                        *(deliverer.deliver(a, run_id="run-1") for a in attempts), return_exceptions=True
                    )
                    written = await deliverer.write_sheets() if sheets else []
            finally:
                await engine.aclose()
            for error in ended:
                if error is not None:
                    raise error
            return written

        with stamina.set_testing(testing=True, attempts=9, cap=True):
            return asyncio.run(work())

    def read(self, attempt: Attempt) -> Attempt:
        """The attempt as the ledger has it now."""
        return self.ledger.attempts([attempt.id])[attempt.id]

    def manifest(self, attempt: Attempt) -> Manifest:
        """The attempt's manifest, under `videos` or `quarantine`."""
        where = (attempt.delivery or {})["manifest_uri"]
        data = self.store.get_bytes(where.removeprefix(f"s3://{self.store.bucket}/"))
        assert data is not None
        return Manifest.from_json_bytes(data, where=where)

    def audit(self) -> dict[str, str]:
        """The bucket's takes, by the key of their manifest; every object must be whole and named by a manifest."""
        keys = [k for folder in (VIDEOS, QUARANTINE) for k in self.store.list_keys(folder)]
        current = [k for k in keys if k.endswith("/current.json")]
        manifests = [k for k in keys if k.endswith(".json") and k not in current]
        known = {*current, *manifests}
        for key in manifests:
            manifest = Manifest.from_json_bytes(self.store.get_bytes(key) or b"", where=key)
            assert (manifest.quarantined_for is not None) == key.startswith(QUARANTINE)
            for part in (manifest.object, manifest.poster, manifest.strip):
                if part is not None:
                    data = self.store.get_bytes(part.key, max_bytes=100_000_000) or b""
                    assert (len(data), hashlib.sha256(data).hexdigest()) == (part.size, part.sha256)
                    known.add(part.key)
        for key in current:
            assert f"videos/{json.loads(self.store.get_bytes(key) or b'')['clip']}/current.json" == key
        assert sorted(set(keys) - known) == [], "objects that no manifest names"
        assert list(self.scratch.iterdir()) == [], "files on their way that nobody waits for"
        return {key: key.partition("/")[0] for key in manifests}

    def expire_claims(self) -> None:
        """End the claims of dead workers, as time does."""
        import sqlalchemy as sa

        from resources.ledger.schema import attempts

        with self.ledger.write() as connection:
            connection.execute(
                sa.update(attempts)
                .where(attempts.c.state == AttemptState.SUCCEEDED.value)
                .values(delivery_until=self.ledger.clock() - deliveries.LEASE_SECONDS)
            )
