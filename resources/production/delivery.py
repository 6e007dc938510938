"""Bringing a finished generation home: fetch, look at it, store it, write its manifest last, tell the ledger.

A clip is delivered when its manifest exists. Whatever goes wrong before that is tried again as a download and never as
a generation: the clip is paid for.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from resources.errors import DailiesError
from resources.ledger import delivering
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.production.engine import Engine
from resources.providers.base import JobStatus, PollFailed
from resources.storage.download import Downloaded, DownloadError, DownloadPolicy, download
from resources.storage.layout import current_key, manifest_key, poster_key, quarantined, video_key
from resources.storage.manifest import Cost, Disclosure, Manifest, StoredObject, Times, utc
from resources.storage.objects import ObjectStore
from resources.video.facts import Inspection, UnreadableVideoError, VideoFacts, compare
from resources.video.inspector import VideoInspector

T = TypeVar("T")

logger = logging.getLogger("dailies")

DOWNLOAD_TRIES = 3
MP4 = "video/mp4"


class DeliveryError(DailiesError):
    """A finished generation could not be brought home now; it stays at the provider and is asked for again."""


class NoLongerThereError(DeliveryError):
    """The provider no longer has the output: it was paid for and is lost."""


class Deliverer:
    """Fetches, checks and stores clips. A context manager: the worker that looks at files ends with it.

    Args:
        engine: For the ledger, and to ask a provider for a fresh address.
        store: The bucket.
        policy: What may be fetched from where.
        scratch: Folder for files on their way; emptied by every delivery.
    """

    def __init__(self, engine: Engine, store: ObjectStore, *, policy: DownloadPolicy, scratch: Path) -> None:
        self._engine = engine
        self._store = store
        self._policy = policy
        self._scratch = scratch
        self._inspector: VideoInspector | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inspector is not None:
            self._inspector.__exit__(kind, error, trace)
            self._inspector = None

    async def deliver(self, attempt: Attempt, *, run_id: str) -> None:
        """Bring one finished generation home, unless somebody else is at it.

        Raises:
            DailiesError: It could not be done now; the claim is given back and the reason kept.
        """
        token = f"{self._engine.ledger.owner}:{secrets.token_hex(4)}"[:64]
        claimed = await self._ledger(delivering.claim, attempt.id, token=token)
        if claimed is None:
            return
        try:
            await self._bring_home(claimed, run_id)
        except NoLongerThereError as error:
            await self._ledger(delivering.record_lost, attempt.id, why=str(error), run_id=run_id)
        except DailiesError as error:
            await self._ledger(delivering.release, attempt.id, token=token, why=str(error))
            raise
        except BaseException:
            await self._ledger(
                delivering.release, attempt.id, token=token, why="interrupted while it was fetched"
            )
            raise

    async def verify(self, attempt: Attempt) -> None:
        """Make sure that a delivered video is still in the bucket.

        Raises:
            DeliveryError: It is gone or not what was stored.
        """
        delivery = attempt.delivery or {}
        key = str(delivery.get("key", video_key(attempt.clip, attempt.id)))
        found = await asyncio.to_thread(self._store.head, key)
        if found is None or found.size != delivery.get("size"):
            state = (
                "is missing" if found is None else f"has {found.size} bytes instead of {delivery.get('size')}"
            )
            raise DeliveryError(
                f"the delivered video {self._store.uri(key)} {state}. Restore it in the bucket, or buy another take with "
                "`regenerate: true`. Nothing was bought."
            )

    async def _bring_home(self, attempt: Attempt, run_id: str) -> None:
        manifest = await self._stored_before(attempt)
        if manifest is None:
            with tempfile.TemporaryDirectory(dir=self._scratch, prefix="clip-") as folder:
                manifest = await self._fetch_and_store(attempt, Path(folder), run_id)
        delivery = delivery_of(manifest, self._store)
        if manifest.differences:
            why = "; ".join(manifest.differences)
            await self._ledger(delivering.record_quarantined, attempt.id, delivery, why=why, run_id=run_id)
            return
        delivered = await self._ledger(delivering.record_delivered, attempt.id, delivery, run_id=run_id)
        await self._show_current(delivered)

    async def _stored_before(self, attempt: Attempt) -> Manifest | None:
        """The manifest of a worker that died between storing and telling the ledger."""
        key = manifest_key(attempt.clip, attempt.id)
        for place in (key, quarantined(key)):
            data = await asyncio.to_thread(self._store.get_bytes, place)
            if data is not None:
                return Manifest.from_json_bytes(data, where=self._store.uri(place))
        return None

    async def _fetch_and_store(self, attempt: Attempt, folder: Path, run_id: str) -> Manifest:
        path = folder / "clip.mp4"
        fetched = await self._fetch(attempt, path)
        try:
            inspection: Inspection | None = await asyncio.to_thread(self._inspect, path)
        except UnreadableVideoError as error:
            inspection, differences = None, [str(error)]
        else:
            differences = compare(inspection.video, attempt.request.expected) if inspection else []
        place = (lambda key: key) if not differences else quarantined
        video = await self._put_file(place(video_key(attempt.clip, attempt.id)), path, fetched)
        poster = await self._put_poster(
            place(poster_key(attempt.clip, attempt.id)), inspection.poster_webp if inspection else None
        )
        manifest = await self._manifest(
            attempt, inspection.video if inspection else None, video, poster, differences, run_id
        )
        await asyncio.to_thread(
            self._store.put_bytes,
            place(manifest_key(attempt.clip, attempt.id)),
            manifest.to_json_bytes(),
            content_type="application/json",
        )
        return manifest

    # Fetching

    async def _fetch(self, attempt: Attempt, path: Path) -> Downloaded:
        url = self._url(attempt)
        refreshed = False
        for tried in range(1, DOWNLOAD_TRIES + 1):
            try:
                return await asyncio.to_thread(download, url, path, policy=self._policy)
            except DownloadError as error:
                if error.expired and not refreshed:
                    refreshed = True
                    url = await self._fresh_url(attempt, error)
                elif not error.retryable or tried == DOWNLOAD_TRIES:
                    raise DeliveryError(f"the finished clip could not be fetched: {error}") from error
                else:
                    logger.warning("%s: %s; fetching it again", attempt.clip, error)
                    await self._engine.sleep(2.0**tried)
        raise DeliveryError(
            "the finished clip's address expired as often as it was renewed; it is tried again later"
        )

    @staticmethod
    def _url(attempt: Attempt) -> str:
        if not attempt.outputs:
            raise DeliveryError("the job is finished and names no output; look at it at the provider")
        return attempt.outputs[0]

    async def _fresh_url(self, attempt: Attempt, error: DownloadError) -> str:
        """Ask the provider once for the output's address as it is now."""
        provider = self._engine.accounts[attempt.account].provider
        age = self._engine.ledger.clock() - (attempt.submitted_at or attempt.created_at)
        seen = await provider.poll(attempt.job_id or "", age_seconds=age)
        if isinstance(seen, PollFailed):
            raise DeliveryError(f"{error}; a fresh address could not be had: {seen.cause}")
        if seen.status is JobStatus.GONE:
            raise NoLongerThereError(
                f"{error}, and {attempt.account} no longer knows the job {attempt.job_id}"
            )
        if not seen.outputs:
            raise DeliveryError(f"{error}; {attempt.account} names no output any more")
        await self._ledger(delivering.update_outputs, attempt.id, list(seen.outputs))
        return seen.outputs[0]

    # Looking at it and storing it

    def _inspect(self, path: Path) -> Inspection:
        if self._inspector is None:
            self._inspector = VideoInspector().__enter__()
        return self._inspector.inspect(path)

    async def _put_file(self, key: str, path: Path, fetched: Downloaded) -> StoredObject:
        await asyncio.to_thread(self._store.put_file, key, path, sha256=fetched.sha256, content_type=MP4)
        return StoredObject(
            key=key, uri=self._store.uri(key), size=fetched.size, sha256=fetched.sha256, content_type=MP4
        )

    async def _put_poster(self, key: str, data: bytes | None) -> StoredObject | None:
        if data is None:
            return None
        stored = await asyncio.to_thread(
            self._store.put_bytes, key, data, content_type="image/webp", overwrite=True
        )
        return StoredObject(
            key=key,
            uri=self._store.uri(key),
            size=stored.size,
            sha256=hashlib.sha256(data).hexdigest(),
            content_type="image/webp",
        )

    async def _manifest(
        self,
        attempt: Attempt,
        facts: VideoFacts | None,
        video: StoredObject,
        poster: StoredObject | None,
        differences: list[str],
        run_id: str,
    ) -> Manifest:
        engine = self._engine
        submission = await engine.call(engine.ledger.submission_of, attempt.account, attempt.job_id or "")
        delivered = utc(engine.ledger.clock())
        if delivered is None:
            raise AssertionError("the clock always has a time")
        return Manifest(
            clip=attempt.clip,
            series=attempt.series,
            prompt=attempt.request.prompt,
            fingerprint=attempt.fingerprint,
            body=attempt.request.body,
            provider=attempt.provider,
            account=attempt.account,
            endpoint=attempt.endpoint,
            endpoint_served=attempt.served_model,
            attempt=attempt.id,
            decision=attempt.decision,
            submission=submission,
            job=attempt.job_id,
            run_id=run_id,
            times=Times(
                submitted=utc(attempt.submitted_at),
                finished=utc(attempt.finished_at),
                delivered=delivered,
                waited_seconds=attempt.waited_seconds,
                inference_seconds=attempt.inference_seconds,
            ),
            cost=Cost.of(attempt.cost_micros, state=attempt.money_state.value, source=attempt.charge_source),
            object=video,
            poster=poster,
            video=facts,
            spare=attempt.is_spare,
            differences=differences,
            disclosure=Disclosure(c2pa=facts is not None and facts.c2pa),
        )

    async def _show_current(self, attempt: Attempt) -> None:
        """Let the bucket show which take is current; the ledger decides, so a failure here is only logged."""
        if attempt.state is not AttemptState.DELIVERED or attempt.is_spare:
            return
        current = await self._engine.call(self._engine.ledger.current, [attempt.clip])
        shown = current.get(attempt.clip, attempt)
        document = {"clip": shown.clip, "attempt": shown.id, **(shown.delivery or {})}
        try:
            await asyncio.to_thread(
                self._store.put_bytes,
                current_key(shown.clip),
                json.dumps(document, indent=2, sort_keys=True).encode(),
                content_type="application/json",
                overwrite=True,
            )
        except DailiesError as error:
            logger.warning(
                "%s is delivered, but %s was not updated: %s",
                shown.clip,
                current_key(shown.clip),
                error,
            )

    async def _ledger(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._engine.call(function, self._engine.ledger, *args, **kwargs)


def delivery_of(manifest: Manifest, store: ObjectStore) -> dict[str, Any]:
    """What the ledger keeps of a manifest: enough to show the clip without reading the bucket."""
    key = manifest_key(manifest.clip, manifest.attempt)
    return {
        "key": manifest.object.key,
        "uri": manifest.object.uri,
        "manifest_uri": store.uri(quarantined(key) if manifest.differences else key),
        "size": manifest.object.size,
        "sha256": manifest.object.sha256,
        "video": manifest.video.model_dump(mode="json") if manifest.video else {},
    }
