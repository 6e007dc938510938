"""Verdicts in the bucket, one object each, so that a rebuild restores them in a lost ledger."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from resources.errors import DailiesError, UnavailableError
from resources.ledger import verdicts
from resources.ledger.ledger import Ledger
from resources.ledger.verdicts import RecordedVerdict, Verdict, VerdictWay, Word
from resources.production.manifests import show_current
from resources.storage.layout import VERDICTS, verdict_key
from resources.storage.objects import ObjectStore

logger = logging.getLogger("dailies")


class StoredVerdict(BaseModel):
    """A verdict as the bucket holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    id: str
    clip: str
    take: str
    """Id of the take's attempt."""
    word: Word
    reasons: tuple[str, ...] = ()
    note: str = ""
    second: float | None = None
    """The moment in the video that the note is about, in seconds."""
    who: str
    way: VerdictWay
    at: datetime
    number: int
    """Its place in the order of the ledger that recorded it."""

    @classmethod
    def of(cls, one: RecordedVerdict) -> "StoredVerdict":
        """The object of a verdict in the ledger."""
        verdict = one.verdict
        return cls(
            id=verdict.id,
            clip=one.clip,
            take=verdict.take,
            word=verdict.word,
            reasons=verdict.reasons,
            note=verdict.note,
            second=verdict.second,
            who=verdict.who,
            way=verdict.way,
            at=datetime.fromtimestamp(one.at, UTC),
            number=one.seq,
        )

    @property
    def verdict(self) -> Verdict:
        """The object as a verdict.

        Raises:
            DailiesError: The object is not a valid verdict.
        """
        return Verdict(
            id=self.id,
            take=self.take,
            word=self.word,
            who=self.who,
            way=self.way,
            reasons=self.reasons,
            note=self.note,
            second=self.second,
        )


def store_verdicts(ledger: Ledger, store: ObjectStore) -> int:
    """Store every verdict that the bucket does not hold yet, and show the current takes of their clips.

    The ledger keeps a list of verdicts that are not stored yet. So a failure here is only logged, and the next call tries again.

    Returns:
        How many verdicts are not stored yet.
    """
    left = verdicts.unstored(ledger)
    by_clip: dict[str, list[RecordedVerdict]] = {}
    for one in left:
        by_clip.setdefault(one.clip, []).append(one)
    stored = 0
    failure: DailiesError | None = None
    for clip, given in by_clip.items():
        try:
            if _store(ledger, store, clip, given):
                stored += len(given)
        except UnavailableError as error:
            failure = error
            break
        except DailiesError as error:
            # an object that cannot be written must not keep the other clips' verdicts from the bucket
            failure = error
    if failure is not None:
        logger.warning(
            "%d verdicts are in the ledger and not in the bucket yet: %s", len(left) - stored, failure
        )
    return len(left) - stored


def _store(ledger: Ledger, store: ObjectStore, clip: str, given: list[RecordedVerdict]) -> bool:
    """Store the verdicts on one clip; returns whether the bucket shows its current take too."""
    for one in given:
        data = StoredVerdict.of(one).model_dump_json(indent=2).encode()
        store.put_bytes(verdict_key(clip, one.verdict.id), data, content_type="application/json")
    delivered = ledger.shown([clip]).get(clip)
    # last, so that a process that died before this is repeated
    if delivered is not None and not show_current(ledger, store, delivered):
        return False
    for one in given:
        verdicts.mark_stored(ledger, one.verdict.id)
    return True


def record_stored_verdicts(ledger: Ledger, store: ObjectStore) -> tuple[int, list[str]]:
    """Record the verdicts in the bucket that a ledger does not know.

    Returns:
        How many were recorded, and sentences about objects that could not be read.
    """
    known, problems = verdicts.known_ids(ledger), []
    stored: list[StoredVerdict] = []
    for key in store.list_keys(VERDICTS):
        if key.rpartition("/")[2].removesuffix(".json") in known:
            continue
        try:
            stored.append(StoredVerdict.model_validate_json(store.get_bytes(key) or b""))
        except ValidationError as error:
            problems.append(f"{store.uri(key)} is no verdict: {error.errors()[0]['msg']}")
    taken = 0
    for one in _in_order(stored):
        try:
            is_known = verdicts.record_stored(ledger, one.verdict, clip=one.clip, at=one.at.timestamp())
        except DailiesError as error:
            problems.append(f"{store.uri(verdict_key(one.clip, one.id))}: {error}")
            continue
        if is_known:
            taken += 1
        else:
            problems.append(
                f"{one.clip}: a verdict of {one.who} is about a take that the bucket does not have"
            )
    return taken, problems


def _in_order(stored: Iterable[StoredVerdict]) -> list[StoredVerdict]:
    return sorted(stored, key=lambda one: (one.at, one.number))
