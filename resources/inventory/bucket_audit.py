"""The audit of the bucket: one listing compared with one reading of the ledger."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from resources.inventory import findings
from resources.inventory.findings import Finding, found
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, current_takes
from resources.ledger.states import AttemptState
from resources.storage.layout import (
    QUARANTINE,
    VIDEOS,
    current_key,
    manifest_key,
    poster_key,
    quarantined,
    video_key,
)
from resources.storage.objects import ObjectInfo, ObjectStore

CURRENT = "current.json"
GRACE_SECONDS = 1800.0
"""Seconds. A delivery stores its manifest last, so younger objects without a manifest may belong to a running delivery."""


RECENT_SECONDS = 60.0
"""Seconds after which a take that is not listed is missing; a listing may be late."""


@dataclass(frozen=True)
class KeptTake:
    """A stored take, by the ledger."""

    attempt: Attempt
    """The purchase."""
    video: str
    """Key of its video."""
    size: int | None
    """Its size in bytes."""
    sha256: str | None
    """SHA-256 of the video, in hex."""
    manifest: str
    """Key of its manifest."""
    poster: str | None
    """Key of its poster, None if none could be made."""
    strip: str | None
    """Key of its strip of frames, None if none could be made."""

    @classmethod
    def of(cls, attempt: Attempt) -> "KeptTake":
        """The stored take of a delivered or quarantined attempt."""
        delivery = attempt.delivery or {}
        clip = attempt.clip
        video = str(delivery.get("key") or video_key(clip, attempt.id))
        place = quarantined if video.startswith(QUARANTINE) else _as_it_is
        poster = _key(delivery.get("poster_uri"))
        if poster is None and "poster_uri" not in delivery and delivery.get("video"):
            # earlier versions of dailies did not record it
            poster = place(poster_key(clip, attempt.id))
        return cls(
            attempt,
            video,
            delivery.get("size"),
            delivery.get("sha256"),
            _key(delivery.get("manifest_uri")) or place(manifest_key(clip, attempt.id)),
            poster,
            _key(delivery.get("strip_uri")),
        )


@dataclass(frozen=True)
class Missing:
    """An object of a take that is gone or has changed."""

    take: KeptTake
    """Whose."""
    what: str
    """`video`, `manifest`, `poster`, `strip` or `current`."""
    key: str
    """Its key."""
    why: str
    """One sentence."""


@dataclass
class Stock:
    """The result of the audit."""

    missing: list[Missing] = field(default_factory=list)
    """Objects that the ledger knows and the bucket does not have."""
    stray: list[tuple[str, str]] = field(default_factory=list)
    """Objects of takes without a manifest, older than any delivery takes: key and the ledger's state of the take."""
    doubles: list[tuple[KeptTake, str]] = field(default_factory=list)
    """Complete takes, each with keys of copies of its objects in another place."""
    unknown: list[str] = field(default_factory=list)
    """Manifests of takes that the ledger does not know."""
    objects: int = 0
    """The number of objects of takes."""
    size: int = 0
    """Size of those objects in bytes."""

    def findings(self) -> list[Finding]:
        """The findings of the audit."""
        return [
            found(findings.EVERY_OBJECT_HAS_ITS_MANIFEST, self.stray),
            found(findings.NOTHING_IS_MISSING, ((m.key, m.why) for m in self.missing)),
            found(findings.EVERY_MANIFEST_IS_KNOWN, ((key, "") for key in self.unknown)),
        ]


def take_stock(ledger: Ledger, store: ObjectStore, *, now: float | None = None) -> Stock:
    """Compare bucket and ledger.

    The ledger is read first: its takes were stored before the listing, so no take is missing only because it is new.

    Args:
        now: Seconds since the epoch by S3's clock; None for this machine's clock.

    Raises:
        resources.errors.DailiesError: The bucket or the ledger does not answer.
    """
    takes = {take.attempt.id: take for take in map(KeptTake.of, _stored(ledger))}
    current = _current(ledger)
    listed = {info.key: info for place in (VIDEOS, QUARANTINE) for info in store.list_objects(place)}
    stock = Stock(objects=len(listed), size=sum(info.size for info in listed.values()))
    recent = ledger.clock() - RECENT_SECONDS
    for take in takes.values():
        if (take.attempt.delivered_at or take.attempt.finished_at or 0.0) > recent:
            continue
        stock.missing.extend(_missing(take, listed, is_current=take.attempt.id in current))
    _look_for_strays(stock, listed, ledger, takes, time.time() if now is None else now)
    return stock


def _stored(ledger: Ledger) -> list[Attempt]:
    query = (
        sa.select(attempts)
        .where(
            attempts.c.state.in_([AttemptState.DELIVERED.value, AttemptState.QUARANTINED.value]),
            attempts.c.subject_kind.in_(["clip", "spare"]),
        )
        .order_by(attempts.c.seq)
    )
    with ledger.read() as connection:
        return [a for a in map(Attempt.from_row, connection.execute(query)) if a.delivery is not None]


def _current(ledger: Ledger) -> set[str]:
    query = sa.select(current_takes.c.attempt_id).where(current_takes.c.subject_kind == "clip")
    with ledger.read() as connection:
        return set(map(str, connection.execute(query).scalars()))


def _missing(take: KeptTake, listed: dict[str, ObjectInfo], *, is_current: bool) -> Iterator[Missing]:
    clip, video = take.attempt.clip, listed.get(take.video)
    if video is None:
        yield Missing(take, "video", take.video, f"the video of {clip} is gone")
    elif take.size is not None and video.size != take.size:
        why = f"the video of {clip} has {video.size} bytes instead of {take.size}"
        yield Missing(take, "video", take.video, why)
    if take.manifest not in listed:
        yield Missing(take, "manifest", take.manifest, f"the manifest of {clip} is gone")
    if take.poster is not None and take.poster not in listed:
        yield Missing(take, "poster", take.poster, f"the poster of {clip} is gone")
    if take.strip is not None and take.strip not in listed:
        yield Missing(take, "strip", take.strip, f"the strip of frames of {clip} is gone")
    if is_current and current_key(clip) not in listed:
        yield Missing(take, "current", current_key(clip), f"nothing shows which take of {clip} is current")


def _look_for_strays(
    stock: Stock, listed: dict[str, ObjectInfo], ledger: Ledger, takes: dict[str, KeptTake], now: float
) -> None:
    by_attempt: dict[tuple[str, str], list[ObjectInfo]] = {}
    for info in listed.values():
        name = _attempt_of(info.key)
        if name is not None:
            by_attempt.setdefault(name, []).append(info)
    strangers = {attempt for _, attempt in by_attempt} - set(takes)
    known = ledger.attempts(sorted(strangers))
    for (folder, attempt_id), infos in sorted(by_attempt.items()):
        if any(_suffix(info.key) == "json" for info in infos):
            if attempt_id not in takes and attempt_id not in known:
                stock.unknown.append(next(i.key for i in infos if _suffix(i.key) == "json"))
            continue
        take = takes.get(attempt_id)
        if take is not None and take.video.startswith(folder):
            continue  # a missing manifest is a finding of its own
        if now - max(_stored_at(info) for info in infos) <= GRACE_SECONDS:
            continue
        state = known[attempt_id].state.value if attempt_id in known else "unknown"
        for info in infos:
            stock.stray.append((info.key, f"of a take that is {'kept elsewhere' if take else state}"))
            if take is not None and take.video in listed and take.manifest in listed:
                stock.doubles.append((take, info.key))


def _stored_at(info: ObjectInfo) -> float:
    return info.modified.timestamp() if info.modified is not None else 0.0


def _attempt_of(key: str) -> tuple[str, str] | None:
    """The folder and the attempt in the key of a take's object; None for the object that names the current take."""
    folder, _, name = key.rpartition("/")
    attempt = name.partition(".")[0]
    return None if name == CURRENT or not attempt else (f"{folder}/", attempt)


def _suffix(key: str) -> str:
    return key.rpartition(".")[2]


def _key(uri: object) -> str | None:
    """The key of `s3://bucket/key`."""
    return str(uri).removeprefix("s3://").partition("/")[2] or None if uri else None


def _as_it_is(key: str) -> str:
    return key
