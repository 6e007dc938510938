"""Whether the bucket holds what the ledger says, and nothing else: one listing against one reading of the ledger."""

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
"""A delivery stores its manifest last. Younger objects without one may belong to a delivery that is at work."""


RECENT_SECONDS = 60.0
"""A listing may be behind by a moment, so a take is not missed at once."""


@dataclass(frozen=True)
class KeptTake:
    """A take as the ledger says it was stored."""

    attempt: Attempt
    """The purchase."""
    video: str
    """Key of its video."""
    size: int | None
    """Bytes of it."""
    sha256: str | None
    """Of them, in hex."""
    manifest: str
    """Key of its manifest."""
    poster: str | None
    """Key of its poster, None where none could be made."""
    strip: str | None
    """Key of its strip of frames, None where none could be made."""

    @classmethod
    def of(cls, attempt: Attempt) -> "KeptTake":
        """From what the ledger kept of the delivery."""
        delivery = attempt.delivery or {}
        clip = attempt.clip
        video = str(delivery.get("key") or video_key(clip, attempt.id))
        place = quarantined if video.startswith(QUARANTINE) else _as_it_is
        poster = _key(delivery.get("poster_uri"))
        if poster is None and "poster_uri" not in delivery and delivery.get("video"):
            # earlier versions of dailies did not write it down
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
    """Something of a take that is not in the bucket as it was stored."""

    take: KeptTake
    """Whose."""
    what: str
    """`video`, `manifest`, `poster`, `strip` or `current`."""
    key: str
    """Where it should be."""
    why: str
    """One sentence."""


@dataclass
class Stock:
    """Bucket and ledger compared."""

    missing: list[Missing] = field(default_factory=list)
    """What the ledger says is there and is not."""
    stray: list[tuple[str, str]] = field(default_factory=list)
    """Objects of takes without a manifest, older than a delivery takes: key and what the ledger says of them."""
    doubles: list[tuple[KeptTake, str]] = field(default_factory=list)
    """Takes that are stored as they should be, with keys of objects of theirs that lie elsewhere as well."""
    unknown: list[str] = field(default_factory=list)
    """Manifests of takes that the ledger does not know."""
    objects: int = 0
    """How many objects of takes there are."""
    size: int = 0
    """Bytes of them."""

    def findings(self) -> list[Finding]:
        """What the checks say of it."""
        return [
            found(findings.EVERY_OBJECT_HAS_ITS_MANIFEST, self.stray),
            found(findings.NOTHING_IS_MISSING, ((m.key, m.why) for m in self.missing)),
            found(findings.EVERY_MANIFEST_IS_KNOWN, ((key, "") for key in self.unknown)),
        ]


def take_stock(ledger: Ledger, store: ObjectStore, *, now: float | None = None) -> Stock:
    """Compare bucket and ledger.

    The ledger is read first: what it says is stored was stored before, so nothing is missed that is only on its way.

    Args:
        ledger: The record.
        store: The bucket.
        now: Seconds since the epoch by S3's clock; this machine's when left out.

    Raises:
        resources.errors.DailiesError: One of them does not answer.
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
            continue  # its manifest is missing, which is told above
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
    """The folder and the attempt that the key of a take's object names; None for what only shows which is current."""
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
