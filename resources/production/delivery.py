"""Delivery of a finished generation: fetch it, check it, store it, write its manifest last, record it in the ledger.

A clip is delivered when its manifest exists. The clip is paid for, so a failure before that is repeated as a download, never as
a generation.
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import secrets
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from resources.errors import DailiesError
from resources.ledger import deliveries, notes
from resources.ledger.ledger import Ledger
from resources.ledger.outage import repeat_unrecorded
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest
from resources.production.clip_steps import clip_step
from resources.production.engine import Engine
from resources.production.manifests import TakeFiles, delivery_of, describe, show_current
from resources.production.output import DeliveryError, Fetcher, NoLongerThereError
from resources.production.series_sheets import Sheet, write_sheet
from resources.storage.download_policy import DownloadPolicy
from resources.storage.errors import ObjectConflictError
from resources.storage.layout import (
    frame_key,
    manifest_key,
    poster_key,
    quarantined,
    strip_key,
    video_key,
)
from resources.storage.manifest import Manifest, StoredObject
from resources.storage.objects import ObjectStore
from resources.storage.scratch import scratch_folder, sweep
from resources.storage.transfer import MP4
from resources.traces.spans import Stages
from resources.unforeseen import as_unforeseen
from resources.video.facts import Inspection, UnreadableVideoError
from resources.video.inspector import VideoInspector
from resources.video.judge import Check, Sibling, judge, unreadable

__all__ = ["Deliverer", "DeliveryError", "NoLongerThereError"]

T = TypeVar("T")

logger = logging.getLogger("dailies")

PNG = "image/png"
INSPECTORS = 2
"""How many clips one process inspects side by side."""


@dataclass
class _Looked:
    """The inspection of a file, filled in by the thread that transfers the file."""

    inspection: Inspection | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(check.outcome == "failed" for check in self.checks)


class Deliverer:
    """Fetches, checks and stores clips. It is a context manager, which ends the inspecting processes.

    Args:
        engine: The engine, for its ledger and for fresh addresses from providers.
        policy: The rules for addresses and sizes of downloads.
        scratch: Folder for files in transfer; files of dead processes are removed from it.
    """

    def __init__(self, engine: Engine, store: ObjectStore, *, policy: DownloadPolicy, scratch: Path) -> None:
        self._engine = engine
        self._store = store
        self._fetcher = Fetcher(engine, store, policy)
        self._scratch = scratch
        self._inspector: VideoInspector | None = None
        self._making_inspector = threading.Lock()
        self._brought: set[tuple[str, str]] = set()
        self._posters: dict[str, bytes] = {}

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
        """Deliver one finished generation, unless another worker has claimed it.

        Raises:
            DailiesError: It could not be delivered now; the claim was released and the reason kept.
        """
        token = f"{self._engine.ledger.blocking.owner}:{secrets.token_hex(4)}"[:64]
        claim = await self._engine.ledger.run(deliveries.claim, attempt.id, token=token)
        if claim is None:
            return
        claimed = claim.attempt
        stop = threading.Event()
        try:
            with (
                clip_step("deliver", claimed, run_id=run_id),
                as_unforeseen(f"{attempt.clip} could not be delivered"),
            ):
                async with self._claimed(claimed, token, stop):
                    await self._bring_home(claim, run_id, stop)
        except NoLongerThereError as error:
            ended = await self._engine.ledger.run(
                deliveries.record_missing_output, attempt.id, why=str(error), run_id=run_id
            )
            if ended.state is AttemptState.SUCCEEDED:
                why = f"{error}. It counts as lost only when that was seen over minutes, and is fetched again until then"
                await self._engine.ledger.run(deliveries.release, attempt.id, token=token, why=why)
                raise DeliveryError(why) from error
        except DailiesError as error:
            await self._engine.ledger.run(deliveries.release, attempt.id, token=token, why=str(error))
            raise
        except BaseException:
            await self._engine.ledger.run(
                deliveries.release, attempt.id, token=token, why="interrupted while it was fetched"
            )
            raise

    async def verify(self, attempt: Attempt) -> None:
        """Check that a delivered video is still in the bucket.

        Raises:
            DeliveryError: It is gone or not the stored one.
        """
        delivery = attempt.delivery or {}
        key = str(delivery.get("key", video_key(attempt.clip, attempt.id)))
        stored = await asyncio.to_thread(self._store.head, key)
        if stored is None or stored.size != delivery.get("size"):
            state = (
                "is missing"
                if stored is None
                else f"has {stored.size} bytes instead of {delivery.get('size')}"
            )
            raise DeliveryError(
                f"the delivered video {self._store.uri(key)} {state}. Restore it in the bucket, or buy another take with "
                "`regenerate: true`. It was not bought again."
            )

    async def write_sheets(self) -> list[Sheet]:
        """Write the contact sheet of each series and day with new deliveries.

        A sheet only shows what is stored, so a failure is only logged.
        """
        sheets = []
        for series, day in sorted(self._brought):
            work = functools.partial(
                write_sheet,
                self._engine.ledger.blocking,
                self._store,
                self._ready_inspector(),
                series=series,
                day=day,
                posters=self._posters,
            )
            try:
                with as_unforeseen("it could not be drawn"):
                    sheet = await asyncio.to_thread(work)
            except DailiesError as error:
                logger.warning("the contact sheet of %s for %s was not made: %s", series, day, error)
            else:
                sheets += [sheet] if sheet is not None else []
        self._brought.clear()
        self._posters.clear()
        return sheets

    @contextlib.asynccontextmanager
    async def _claimed(self, attempt: Attempt, token: str, stop: threading.Event) -> AsyncIterator[None]:
        """Renew the claim during the delivery. A lost claim (after a laptop's sleep) ends the delivery."""

        async def renew() -> None:
            while True:
                await self._engine.sleep(deliveries.LEASE_SECONDS / 3)
                if not await self._engine.ledger.run(deliveries.renew, attempt.id, token=token):
                    stop.set()
                    return

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            stop.set()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _bring_home(self, claim: deliveries.DeliveryClaim, run_id: str, stop: threading.Event) -> None:
        attempt = claim.attempt
        # Should a lost ledger have delivered it, storing it meets the video and `recover` goes on.
        manifest = None if claim.is_first else await self._stored_before(attempt)
        if manifest is None:
            with scratch_folder(self._scratch) as folder:
                manifest = await self._fetch_and_store(attempt, folder, run_id, stop)
        delivery = delivery_of(manifest, self._store)
        self._brought.add((attempt.series, attempt.counted_on))
        why = manifest.quarantined_for
        if why is not None:
            await self._engine.ledger.run(
                deliveries.record_quarantined, attempt.id, delivery, why=why, run_id=run_id
            )
            return
        delivered = await self._engine.ledger.run(
            deliveries.record_delivered, attempt.id, delivery, run_id=run_id
        )
        ledger = self._engine.ledger.blocking
        await asyncio.to_thread(repeat_unrecorded, show_current, ledger, self._store, delivered)

    async def _stored_before(self, attempt: Attempt) -> Manifest | None:
        """The manifest left by a worker that died between storing it and recording the delivery."""
        key = manifest_key(attempt.clip, attempt.id)
        for place in (key, quarantined(key)):
            data = await asyncio.to_thread(self._store.get_bytes, place)
            if data is not None:
                return Manifest.from_json_bytes(data, where=self._store.uri(place))
        return None

    async def _fetch_and_store(
        self, attempt: Attempt, folder: Path, run_id: str, stop: threading.Event
    ) -> Manifest:
        with Stages("download") as stages:
            return await self._in_stages(attempt, folder, run_id, stop, stages)

    async def _in_stages(
        self, attempt: Attempt, folder: Path, run_id: str, stop: threading.Event, stages: Stages
    ) -> Manifest:
        looked = _Looked()

        def decide(path: Path) -> str:
            stages.next("check")
            self._inspect_and_judge(attempt, path, looked)
            failed = [check.name for check in looked.checks if check.outcome == "failed"]
            stages.next("store", failed_checks=", ".join(failed) or None)
            key = video_key(attempt.clip, attempt.id)
            return quarantined(key) if looked.failed else key

        path = folder / "clip.mp4"
        try:
            stored = await self._fetcher.fetch(attempt, path, decide, stop)
        except (DeliveryError, ObjectConflictError):
            # a dead worker may have stored the video but not its manifest
            recovered = None if stop.is_set() else await self._fetcher.recover(attempt, path, decide)
            if recovered is None:
                raise
            stored = recovered
        place = quarantined if looked.failed else _unchanged
        inspection = looked.inspection
        poster = await self._put_picture(
            place(poster_key(attempt.clip, attempt.id)), inspection.poster_webp if inspection else None
        )
        if poster is not None and inspection is not None and inspection.poster_webp is not None:
            self._posters[poster.key] = inspection.poster_webp
        strip = await self._put_picture(
            place(strip_key(attempt.clip, attempt.id)), inspection.strip_webp if inspection else None
        )
        engine = self._engine
        video = self._object(stored.key, stored.size, stored.sha256, MP4)
        submission = await engine.ledger.run(Ledger.submission_of, attempt.account, attempt.job_id or "")
        manifest = describe(
            attempt,
            TakeFiles(
                video, poster, strip, inspection, looked.checks, await self._first_frame(attempt, path)
            ),
            submission=submission,
            seed=await engine.ledger.run(Ledger.seed_of, submission),
            draft_id=await engine.ledger.run(notes.draft_id_of, attempt.id),
            run_id=run_id,
            now=engine.ledger.clock(),
        )
        return await self._put_manifest(place(manifest_key(attempt.clip, attempt.id)), manifest)

    # Inspecting and storing

    def _inspect_and_judge(self, attempt: Attempt, path: Path, looked: _Looked) -> None:
        """Inspect a whole file and compare it with the order, in the thread that transfers the file."""
        try:
            looked.inspection = inspection = self._inspect(path, attempt.request)
        except UnreadableVideoError as error:
            looked.inspection, looked.checks = None, unreadable(str(error))
            return
        ledger, siblings = self._engine.ledger.blocking, []
        look = inspection.looked.look if inspection.looked else None
        if look is not None:
            looks = repeat_unrecorded(notes.note_look, ledger, attempt, look)
            siblings = [Sibling(one.clip, one.look, one.seq < attempt.seq) for one in looks]
        nsfw = repeat_unrecorded(notes.nsfw, ledger, attempt.id)
        looked.checks = judge(
            inspection, attempt.request, served=attempt.served_model, nsfw=nsfw, siblings=siblings
        )

    def _inspect(self, path: Path, request: ClipRequest) -> Inspection:
        shortest = request.checks.shortest_stretch_seconds
        return self._ready_inspector().inspect(path, shortest_seconds=shortest)

    def _ready_inspector(self) -> VideoInspector:
        with self._making_inspector:
            if self._inspector is None:
                self._inspector = VideoInspector(workers=INSPECTORS).__enter__()
        return self._inspector

    async def _first_frame(self, attempt: Attempt, path: Path) -> StoredObject | None:
        """Store the first frame of a draft whose finish begins with it; None for any other take, or if it cannot be decoded.

        It is stored with the draft, so that circling the draft and ordering the finish remain one transaction of the ledger.
        """
        order = attempt.request.finish
        if order is None or not order.first_frame:
            return None
        try:
            data = await asyncio.to_thread(self._ready_inspector().first_frame_of, path)
        except UnreadableVideoError as error:
            logger.warning("%s: the first frame of its draft was not kept: %s", attempt.clip, error)
            return None
        digest = hashlib.sha256(data).hexdigest()
        key = frame_key(attempt.clip, digest)
        # the key names the content, so a second delivery writes the same bytes
        await asyncio.to_thread(self._store.put_bytes, key, data, content_type=PNG, overwrite=True)
        return self._object(key, len(data), digest, PNG)

    async def _put_picture(self, key: str, data: bytes | None) -> StoredObject | None:
        if data is None:
            return None
        await asyncio.to_thread(self._store.put_bytes, key, data, content_type="image/webp", overwrite=True)
        return self._object(key, len(data), hashlib.sha256(data).hexdigest(), "image/webp")

    async def _put_manifest(self, key: str, manifest: Manifest) -> Manifest:
        """Write the manifest after all other objects; returns the manifest in the bucket, which may be another worker's."""
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


def _unchanged(key: str) -> str:
    return key
