"""Acceptance: a person accepts a take in quarantine, and its objects are copied to where videos are, the manifest last."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from resources.errors import DailiesError
from resources.ledger import deliveries
from resources.ledger.finishes import FinishOrdered, Limits, judge_and_finish
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.ledger.verdicts import Judged, Verdict, judge
from resources.production.manifests import delivery_of, show_current
from resources.storage.errors import ObjectConflictError
from resources.storage.layout import manifest_key, poster_key, quarantined, strip_key, video_key
from resources.storage.manifest import Acceptance, Manifest, StoredObject
from resources.storage.objects import ObjectStore
from resources.storage.scratch import scratch_folder


@dataclass(frozen=True)
class Acceptor:
    """Accepts and circles takes, whose objects may be in quarantine."""

    ledger: Ledger
    store: ObjectStore
    scratch: Path
    """A folder for the file in transfer."""

    def circle(self, attempt: Attempt, verdict: Verdict, *, seen: int | None = None) -> Judged:
        """Circle a take. A take in quarantine is accepted first.

        Args:
            verdict: `Word.CIRCLED` on this take.
            seen: See `resources.ledger.verdicts.judge`.

        Raises:
            DailiesError: The take cannot be circled or accepted, or the bucket does not answer. Nothing was changed.
        """
        self._accept_if_apart(attempt, verdict)
        return judge(self.ledger, verdict, seen=seen)

    def circle_and_finish(
        self,
        attempt: Attempt,
        verdict: Verdict,
        *,
        at_most_micros: int,
        limits: Limits,
        seen: int | None = None,
    ) -> tuple[Judged, FinishOrdered | None]:
        """Circle a draft and order its finish, together. Arguments and errors as of `circle` and `judge_and_finish`."""
        self._accept_if_apart(attempt, verdict)
        return judge_and_finish(self.ledger, verdict, at_most_micros=at_most_micros, seen=seen, limits=limits)

    def _accept_if_apart(self, attempt: Attempt, verdict: Verdict) -> None:
        if attempt.state is AttemptState.QUARANTINED and not attempt.is_spare:
            self.accept(attempt, verdict)

    def accept(self, attempt: Attempt, verdict: Verdict) -> Attempt:
        """Deliver and circle a take that failed a check. Nothing is bought, and the objects in quarantine stay there.

        Safe to repeat: a second call finds what an interrupted one has stored.

        Args:
            attempt: A take in quarantine.
            verdict: The person's verdict; its note is the reason.

        Returns:
            The attempt, delivered.

        Raises:
            DailiesError: The take is not in quarantine, its objects are gone or damaged, or the bucket does not answer.
        """
        manifest = _manifest(self.store, manifest_key(attempt.clip, attempt.id))
        if manifest is None:
            manifest = self._move(attempt, Acceptance(by=verdict.who, at=_now(self.ledger), why=verdict.note))
        accepted = deliveries.record_accepted(
            self.ledger, attempt.id, delivery_of(manifest, self.store), verdict
        )
        show_current(self.ledger, self.store, accepted)
        return accepted

    def _move(self, attempt: Attempt, acceptance: Acceptance) -> Manifest:
        """Copy the objects in quarantine to the keys of a video."""
        store = self.store
        key = manifest_key(attempt.clip, attempt.id)
        apart = _manifest(store, quarantined(key))
        if apart is None:
            raise DailiesError(
                f"{store.uri(quarantined(key))} is gone, so {attempt.clip} cannot be accepted; `dailies retry {attempt.clip}` "
                "makes it again"
            )
        with scratch_folder(self.scratch) as folder:
            video = _copy_video(store, apart, video_key(attempt.clip, attempt.id), folder / "clip.mp4")
        changes = {
            "object": video,
            "poster": _copy(store, apart.poster, poster_key(attempt.clip, attempt.id)),
            "strip": _copy(store, apart.strip, strip_key(attempt.clip, attempt.id)),
            "times": apart.times.model_copy(update={"delivered": _now(self.ledger)}),
            "accepted": acceptance,
        }
        manifest = apart.model_copy(update=changes)
        try:
            store.put_bytes(key, manifest.to_json_bytes(), content_type="application/json")
        except ObjectConflictError:
            # another process accepted it at the same moment
            stored = _manifest(store, key)
            if stored is None:
                raise
            return stored
        return manifest


def _copy_video(store: ObjectStore, apart: Manifest, key: str, path: Path) -> StoredObject:
    """Copy the video through this machine, which checks its digest whatever the S3 server supports."""
    fetched = store.get_file(apart.object.key, path)
    if fetched is None or fetched.sha256 != apart.object.sha256:
        state = "is gone" if fetched is None else "is no longer what was stored"
        raise DailiesError(f"{apart.object.uri} {state}, so it cannot be accepted")
    store.put_file(key, path, sha256=fetched.sha256, content_type=apart.object.content_type)
    return apart.object.model_copy(update={"key": key, "uri": store.uri(key)})


def _copy(store: ObjectStore, picture: StoredObject | None, key: str) -> StoredObject | None:
    """Copy a picture; None if it is gone, since it can be made again."""
    data = None if picture is None else store.get_bytes(picture.key)
    if picture is None or data is None:
        return None
    store.put_bytes(key, data, content_type=picture.content_type, overwrite=True)
    return picture.model_copy(update={"key": key, "uri": store.uri(key)})


def _manifest(store: ObjectStore, key: str) -> Manifest | None:
    data = store.get_bytes(key)
    return None if data is None else Manifest.from_json_bytes(data, where=store.uri(key))


def _now(ledger: Ledger) -> datetime:
    return datetime.fromtimestamp(ledger.clock(), UTC)
