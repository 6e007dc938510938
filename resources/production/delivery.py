"""Bringing a finished generation home: fetch, look at it, store it, write its manifest last, tell the ledger.

A clip is delivered when its manifest exists. Whatever goes wrong before that is tried again as a download and never as
a generation: the clip is paid for.
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from resources.errors import DailiesError
from resources.ledger import delivering, noting
from resources.ledger.records import Attempt
from resources.production.describing import delivery_of, describe, show_current
from resources.production.engine import Engine
from resources.production.sheets import Sheet, write_sheet
from resources.providers.base import JobStatus, PollFailed
from resources.storage.errors import ObjectConflictError
from resources.storage.layout import (
    manifest_key,
    poster_key,
    quarantined,
    strip_key,
    video_key,
)
from resources.storage.manifest import Manifest, StoredObject
from resources.storage.objects import ObjectStore
from resources.storage.policy import DownloadError, DownloadPolicy
from resources.storage.scratch import scratch_folder, sweep
from resources.storage.transfer import MP4, Transferred, transfer
from resources.video.facts import Inspection, UnreadableVideoError
from resources.video.inspector import VideoInspector
from resources.video.judging import Check, Sibling, judge, unreadable

T = TypeVar("T")

logger = logging.getLogger("dailies")

DOWNLOAD_TRIES = 3
INSPECTORS = 2
"""Clips of one process that are looked at side by side."""
ENDING_SECONDS = 5.0
"""How long a delivery that is cancelled may take to notice."""


class DeliveryError(DailiesError):
    """A finished generation could not be brought home now; it stays at the provider and is asked for again."""


class NoLongerThereError(DeliveryError):
    """The provider no longer has the output: it was paid for and is lost."""


@dataclass
class _Looked:
    """What came of looking at a file; filled in by the thread that transfers it."""

    inspection: Inspection | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(check.outcome == "failed" for check in self.checks)


class Deliverer:
    """Fetches, checks and stores clips. A context manager: the workers that look at files end with it.

    Args:
        engine: For the ledger, and to ask a provider for a fresh address.
        store: The bucket.
        policy: What may be fetched from where.
        scratch: Folder for files on their way; what died processes left there is removed.
    """

    def __init__(self, engine: Engine, store: ObjectStore, *, policy: DownloadPolicy, scratch: Path) -> None:
        self._engine = engine
        self._store = store
        self._policy = policy
        self._scratch = scratch
        self._inspector: VideoInspector | None = None
        self._making_inspector = threading.Lock()
        self._brought: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        sweep(self._scratch)
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
        stop = threading.Event()
        try:
            async with self._claimed(claimed, token, stop):
                await self._bring_home(claimed, run_id, stop)
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

    async def write_sheets(self) -> list[Sheet]:
        """Make the contact sheets anew of every series and day that something was brought home of.

        They only show what is there, so a failure is logged and nothing else.
        """
        sheets = []
        for series, day in sorted(self._brought):
            work = functools.partial(
                write_sheet, self._engine.ledger, self._store, self._ready_inspector(), series=series, day=day
            )
            try:
                sheet = await asyncio.to_thread(work)
            except DailiesError as error:
                logger.warning("the contact sheet of %s for %s was not made: %s", series, day, error)
            else:
                sheets += [sheet] if sheet is not None else []
        self._brought.clear()
        return sheets

    @contextlib.asynccontextmanager
    async def _claimed(self, attempt: Attempt, token: str, stop: threading.Event) -> AsyncIterator[None]:
        """Renew the claim while the delivery goes on; one that was lost all the same (a laptop slept) ends it."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(delivering.LEASE_SECONDS / 3)
                if not await self._ledger(delivering.renew, attempt.id, token=token):
                    stop.set()
                    return

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            stop.set()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _bring_home(self, attempt: Attempt, run_id: str, stop: threading.Event) -> None:
        manifest = await self._stored_before(attempt)
        if manifest is None:
            with scratch_folder(self._scratch) as folder:
                manifest = await self._fetch_and_store(attempt, folder, run_id, stop)
        delivery = delivery_of(manifest, self._store)
        self._brought.add((attempt.series, attempt.counted_on))
        why = manifest.quarantined_for
        if why is not None:
            await self._ledger(delivering.record_quarantined, attempt.id, delivery, why=why, run_id=run_id)
            return
        delivered = await self._ledger(delivering.record_delivered, attempt.id, delivery, run_id=run_id)
        await asyncio.to_thread(show_current, self._engine.ledger, self._store, delivered)

    async def _stored_before(self, attempt: Attempt) -> Manifest | None:
        """The manifest of a worker that died between storing and telling the ledger."""
        key = manifest_key(attempt.clip, attempt.id)
        for place in (key, quarantined(key)):
            data = await asyncio.to_thread(self._store.get_bytes, place)
            if data is not None:
                return Manifest.from_json_bytes(data, where=self._store.uri(place))
        return None

    async def _fetch_and_store(
        self, attempt: Attempt, folder: Path, run_id: str, stop: threading.Event
    ) -> Manifest:
        looked = _Looked()

        def decide(path: Path) -> str:
            self._look(attempt, path, looked)
            key = video_key(attempt.clip, attempt.id)
            return quarantined(key) if looked.failed else key

        path = folder / "clip.mp4"
        try:
            stored = await self._fetch(attempt, path, decide, stop)
        except (DeliveryError, ObjectConflictError):
            # a worker that died may have stored the video and not its manifest
            recovered = None if stop.is_set() else await self._recover(attempt, path, decide)
            if recovered is None:
                raise
            stored = recovered
        place = quarantined if looked.failed else _as_it_is
        inspection = looked.inspection
        poster = await self._put_picture(
            place(poster_key(attempt.clip, attempt.id)), inspection.poster_webp if inspection else None
        )
        strip = await self._put_picture(
            place(strip_key(attempt.clip, attempt.id)), inspection.strip_webp if inspection else None
        )
        engine = self._engine
        manifest = describe(
            attempt,
            submission=await engine.call(engine.ledger.submission_of, attempt.account, attempt.job_id or ""),
            run_id=run_id,
            now=engine.ledger.clock(),
            video=self._object(stored.key, stored.size, stored.sha256, MP4),
            poster=poster,
            strip=strip,
            inspection=inspection,
            checks=looked.checks,
        )
        return await self._put_manifest(place(manifest_key(attempt.clip, attempt.id)), manifest)

    # Fetching

    async def _fetch(
        self, attempt: Attempt, path: Path, decide: Callable[[Path], str], stop: threading.Event
    ) -> Transferred:
        url = self._url(attempt)
        refreshed = False
        for tried in range(1, DOWNLOAD_TRIES + 1):
            try:
                work = functools.partial(
                    transfer,
                    url,
                    path,
                    self._store,
                    key=video_key(attempt.clip, attempt.id),
                    decide=decide,
                    policy=self._policy,
                    stop=stop,
                )
                return await _in_a_thread(stop, work)
            except DownloadError as error:
                if error.expired and not refreshed:
                    refreshed = True
                    url = await self._fresh_url(attempt, error)
                elif not error.retryable or stop.is_set() or tried == DOWNLOAD_TRIES:
                    raise DeliveryError(f"the finished clip could not be fetched: {error}") from error
                else:
                    logger.warning("%s: %s; fetching it again", attempt.clip, error)
                    await self._engine.sleep(2.0**tried)
        raise DeliveryError(
            "the finished clip's address expired as often as it was renewed; it is tried again later"
        )

    async def _recover(
        self, attempt: Attempt, path: Path, decide: Callable[[Path], str]
    ) -> Transferred | None:
        """The video that is already in the bucket, looked at anew; it is whole, since S3 stores nothing by halves."""
        key = video_key(attempt.clip, attempt.id)
        for place in (key, quarantined(key)):
            found = await asyncio.to_thread(self._store.get_file, place, path)
            if found is None or found.sha256 is None:
                continue
            belongs = await asyncio.to_thread(decide, path)
            if belongs != place:
                await asyncio.to_thread(
                    self._store.put_file, belongs, path, sha256=found.sha256, content_type=MP4
                )
            return Transferred(belongs, found.size, found.sha256, streamed=False)
        return None

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

    def _look(self, attempt: Attempt, path: Path, looked: _Looked) -> None:
        """Look at a whole file and hold it against what was asked for; called in the thread that transfers it."""
        try:
            looked.inspection = inspection = self._inspect(path)
        except UnreadableVideoError as error:
            looked.inspection, looked.checks = None, unreadable(str(error))
            return
        ledger, siblings = self._engine.ledger, []
        look = inspection.looked.look if inspection.looked else None
        if look is not None:
            seen = noting.note_look(ledger, attempt, look)
            siblings = [Sibling(one.clip, one.look, one.seq < attempt.seq) for one in seen]
        nsfw = noting.nsfw(ledger, attempt.id)
        looked.checks = judge(
            inspection, attempt.request, served=attempt.served_model, nsfw=nsfw, siblings=siblings
        )

    def _inspect(self, path: Path) -> Inspection:
        return self._ready_inspector().inspect(path)

    def _ready_inspector(self) -> VideoInspector:
        with self._making_inspector:
            if self._inspector is None:
                self._inspector = VideoInspector(workers=INSPECTORS).__enter__()
        return self._inspector

    async def _put_picture(self, key: str, data: bytes | None) -> StoredObject | None:
        if data is None:
            return None
        await asyncio.to_thread(self._store.put_bytes, key, data, content_type="image/webp", overwrite=True)
        return self._object(key, len(data), hashlib.sha256(data).hexdigest(), "image/webp")

    async def _put_manifest(self, key: str, manifest: Manifest) -> Manifest:
        """Write the manifest, last of all; returns the one that stands, which may be another worker's."""
        try:
            await asyncio.to_thread(
                self._store.put_bytes, key, manifest.to_json_bytes(), content_type="application/json"
            )
        except ObjectConflictError:
            data = await asyncio.to_thread(self._store.get_bytes, key)
            if data is None:
                raise
            return Manifest.from_json_bytes(data, where=self._store.uri(key))
        return manifest

    def _object(self, key: str, size: int, sha256: str, content_type: str) -> StoredObject:
        return StoredObject(
            key=key, uri=self._store.uri(key), size=size, sha256=sha256, content_type=content_type
        )

    async def _ledger(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._engine.call(function, self._engine.ledger, *args, **kwargs)


def _as_it_is(key: str) -> str:
    return key


async def _in_a_thread(stop: threading.Event, work: Callable[[], T]) -> T:
    """Run blocking work in a thread; when the wait for it is cancelled, tell it to stop and let it end."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({working}, timeout=ENDING_SECONDS)
        raise
