"""Repairs from the ledger and the bucket: manifests, pictures, and the object that names the current take.

Nothing is bought, and no intact object is overwritten. A lost video is fetched again while its provider has it, and kept only
if it is byte for byte the delivered one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from resources.errors import DailiesError
from resources.inventory.bucket_audit import KeptTake, Missing, Stock
from resources.ledger.ledger import Ledger
from resources.ledger.notes import draft_id_of
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.production.manifests import TakeFiles, describe, show_current
from resources.storage.download import download
from resources.storage.download_policy import DownloadError, DownloadPolicy
from resources.storage.layout import frame_key
from resources.storage.manifest import Acceptance, Manifest, StoredObject
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import client_for
from resources.storage.scratch import scratch_folder
from resources.video.facts import Inspection, UnreadableVideoError
from resources.video.inspector import VideoInspector
from resources.video.judge import Check

MP4, WEBP, PNG, JSON = "video/mp4", "image/webp", "image/png", "application/json"


@dataclass(frozen=True)
class Repair:
    """One attempted repair."""

    key: str
    """The object, or the clip."""
    done: bool
    """Whether it is intact now."""
    text: str
    """What was done, or why it was not possible."""


class Repairer:
    """Repairs the findings of an inventory.

    Args:
        policy: The origins that a lost video may be fetched from.
        scratch: Folder for temporary files.
    """

    def __init__(self, ledger: Ledger, store: ObjectStore, *, policy: DownloadPolicy, scratch: Path) -> None:
        self._ledger = ledger
        self._store = store
        self._policy = policy
        self._scratch = scratch

    def repair(self, stock: Stock) -> Iterator[Repair]:
        """Repair one finding after the other; a failed repair does not stop the rest."""
        with VideoInspector() as inspector:
            by_take = groupby(stock.missing, key=lambda missing: missing.take.attempt)
            for _, group in by_take:
                missing = list(group)
                try:
                    yield from self._repair_take(missing[0].take, missing, inspector)
                except DailiesError as error:
                    yield Repair(missing[0].key, False, str(error))
        for take, key in stock.doubles:
            try:
                yield self._remove_double(take, key)
            except DailiesError as error:
                yield Repair(key, False, str(error))

    def _repair_take(
        self, take: KeptTake, missing: list[Missing], inspector: VideoInspector
    ) -> Iterator[Repair]:
        by_part = {m.what: m for m in missing}
        with scratch_folder(self._scratch) as folder:
            path = folder / "clip.mp4"
            if video := by_part.pop("video", None):
                self._fetch_again(take, path)
                yield Repair(video.key, True, "fetched again from the provider; it is the delivered video")
            if by_part.keys() & {"manifest", "poster", "strip", "frame"}:
                self._read(take, path)
                inspection = _inspected(inspector, path)
                for picture in ("poster", "strip"):
                    if lost := by_part.get(picture):
                        yield self._put_picture(lost, inspection)
                if lost := by_part.get("frame"):
                    yield self._put_frame(lost, inspector.first_frame_of(path))
                if lost := by_part.get("manifest"):
                    self._put_manifest(take, inspection)
                    yield Repair(lost.key, True, "written again from the ledger and the video")
        if lost := by_part.get("current"):
            show_current(self._ledger, self._store, self._attempt(take))
            yield Repair(lost.key, True, "shown again")

    def _fetch_again(self, take: KeptTake, path: Path) -> None:
        """Fetch a delivered video again.

        Raises:
            DailiesError: Another object has its key, the provider no longer has it, or sends another video.
        """
        uri = self._store.uri(take.video)
        if self._store.head(take.video) is not None:
            raise DailiesError(
                f"{uri} is not what was stored, and is never overwritten: restore it from a version of the bucket, or remove "
                "it and run this again"
            )
        outputs = self._attempt(take).outputs
        if not outputs:
            raise DailiesError(
                f"{uri} is gone, and where it came from is not known: restore it, or buy another take"
            )
        try:
            fetched = download(outputs[0], path, policy=self._policy)
        except DownloadError as error:
            raise DailiesError(f"{uri} is gone, and cannot be fetched again: {error}") from None
        if fetched.sha256 != take.sha256:
            raise DailiesError(
                f"{uri} is gone, and its provider sends another file by now: restore it, or buy another take"
            )
        self._store.put_file(take.video, path, sha256=fetched.sha256, content_type=MP4)

    def _read(self, take: KeptTake, path: Path) -> None:
        """The video as a local file; it must be the stored one."""
        if path.exists():
            return
        fetched = self._store.get_file(take.video, path)
        if fetched is None or (take.sha256 is not None and fetched.sha256 != take.sha256):
            state = "is gone" if fetched is None else "is not what was stored"
            raise DailiesError(f"{self._store.uri(take.video)} {state}, so nothing can be made from it")

    def _put_picture(self, lost: Missing, inspection: Inspection | None) -> Repair:
        data = None if inspection is None else getattr(inspection, f"{lost.what}_webp")
        if data is None:
            return Repair(lost.key, False, "no picture can be made from the video")
        self._store.put_bytes(lost.key, data, content_type=WEBP, overwrite=True)
        return Repair(lost.key, True, "made again from the video")

    def _put_frame(self, lost: Missing, data: bytes) -> Repair:
        if frame_key(lost.take.clip, sha256(data).hexdigest()) != lost.key:
            return Repair(
                lost.key,
                False,
                "the video gives another picture by now; circle another take, or `dailies retake`",
            )
        self._store.put_bytes(lost.key, data, content_type=PNG, overwrite=True)
        return Repair(lost.key, True, "made again from the draft's video")

    def _put_manifest(self, take: KeptTake, inspection: Inspection | None) -> None:
        attempt, history = self._attempt(take), self._ledger.history(take.attempt)
        stored = [e for e in history if e["to_state"] in {"delivered", "quarantined"} and e["run_id"]]
        files = TakeFiles(
            self._object(take.video, take.size, take.sha256, MP4),
            self._picture(take.poster),
            self._picture(take.strip),
            inspection,
            _checks(attempt),
            self._first_frame(attempt),
        )
        submission = self._ledger.submission_of(attempt.account, attempt.job_id or "")
        manifest = describe(
            attempt,
            files,
            submission=submission,
            seed=self._ledger.seed_of(submission),
            draft_id=draft_id_of(self._ledger, attempt.id),
            run_id=str(stored[0]["run_id"]) if stored else "doctor",
            now=attempt.delivered_at or attempt.finished_at or self._ledger.clock(),
        )
        accepted = (
            _acceptance(history) if manifest.failures and attempt.state is AttemptState.DELIVERED else None
        )
        manifest = manifest.model_copy(update={"accepted": accepted})
        self._store.put_bytes(take.manifest, _read_back(manifest), content_type=JSON)

    def _attempt(self, take: KeptTake) -> Attempt:
        return self._ledger.attempts([take.attempt])[take.attempt]

    def _first_frame(self, attempt: Attempt) -> StoredObject | None:
        kept = (attempt.delivery or {}).get("first_frame")
        return None if kept is None else self._object(kept["key"], kept["size"], kept["sha256"], PNG)

    def _picture(self, key: str | None) -> StoredObject | None:
        data = None if key is None else self._store.get_bytes(key)
        if key is None or data is None:
            return None
        return self._object(key, len(data), sha256(data).hexdigest(), WEBP)

    def _object(self, key: str, size: int | None, digest: str | None, content_type: str) -> StoredObject:
        return StoredObject(
            key=key, uri=self._store.uri(key), size=size or 0, sha256=digest or "", content_type=content_type
        )

    def _remove_double(self, take: KeptTake, key: str) -> Repair:
        """Remove copies that a dead delivery left in another place; the take itself is intact."""
        if key.endswith(".mp4"):
            with scratch_folder(self._scratch) as folder:
                fetched = self._store.get_file(key, folder / "double.mp4")
            if fetched is not None and fetched.sha256 != take.sha256:
                return Repair(key, False, f"is another video than {take.video}; remove it when you are sure")
        client_for(self._store.settings).delete_object(Bucket=self._store.bucket, Key=key)
        return Repair(key, True, f"removed: the same is kept as {take.video}")


def _inspected(inspector: VideoInspector, path: Path) -> Inspection | None:
    try:
        return inspector.inspect(path)
    except UnreadableVideoError:
        return None


def _checks(attempt: Attempt) -> list[Check]:
    """The results of checks in the ledger."""
    delivery = attempt.delivery or {}
    kept: dict[str, Any] = dict(delivery.get("checks") or {})
    if not kept and attempt.state is AttemptState.QUARANTINED:
        kept = {"whole": "failed"}
    why = {
        "failed": attempt.reason or "it failed",
        "warned": "; ".join(map(str, delivery.get("warnings") or ())),
    }
    return [Check(name=name, outcome=outcome, detail=why.get(outcome, "")) for name, outcome in kept.items()]


def _acceptance(history: Iterable[dict[str, Any]]) -> Acceptance | None:
    """Who accepted a take that failed a check, from the journal."""
    for entry in history:
        if (entry["from_state"], entry["to_state"]) == ("quarantined", "delivered"):
            by = str(entry["who"]).removeprefix("person ").split(" ")[0]
            return Acceptance(by=by, at=datetime.fromtimestamp(entry["at"], UTC), why=str(entry["why"] or ""))
    return None


def _read_back(manifest: Manifest) -> bytes:
    """The bytes of a manifest, validated like every manifest that is read."""
    data = manifest.to_json_bytes()
    Manifest.from_json_bytes(data, where="the manifest that is written again")
    return data
