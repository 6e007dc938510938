"""The audit of the bucket: one listing compared with one reading of the ledger."""

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from resources.inventory import findings
from resources.inventory.findings import Finding, found
from resources.ledger.ledger import Ledger
from resources.ledger.records import clip_of
from resources.ledger.schema import attempts, current_takes
from resources.ledger.states import AttemptState
from resources.ledger.stored_forms import StoredTake, whole_delivery
from resources.storage.layout import (
    FRAMES,
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


PAGE = 500
"""Takes of the ledger that are in memory at once."""
_KEPT = [AttemptState.DELIVERED.value, AttemptState.QUARANTINED.value]
_PAGE = (
    sa.select(
        attempts.c.seq,
        attempts.c.id,
        attempts.c.subject_kind,
        attempts.c.subject_key,
        attempts.c.state,
        attempts.c.delivery,
        sa.func.coalesce(attempts.c.delivered_at, attempts.c.finished_at, 0.0).label("kept_at"),
    )
    .where(attempts.c.seq > sa.bindparam("after"))
    .order_by(attempts.c.seq)
    .limit(sa.bindparam("page"))
)


@dataclass(frozen=True, slots=True)
class KeptTake:
    """A stored take, by the ledger."""

    attempt: str
    """Id of the purchase."""
    clip: str
    """Its clip's key."""
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
    frame: str | None
    """Key of the first frame of a draft whose finish begins with it, None for any other take."""

    @classmethod
    def of(cls, attempt: str, clip: str, delivery: dict[str, Any]) -> "KeptTake":
        """The stored take of a delivered or quarantined attempt, by the facts of its manifest."""
        video = str(delivery.get("key") or video_key(clip, attempt))
        place = quarantined if video.startswith(QUARANTINE) else _unchanged
        poster = _key(delivery.get("poster_uri"))
        if poster is None and "poster_uri" not in delivery and delivery.get("video"):
            # earlier versions of dailies did not record it
            poster = place(poster_key(clip, attempt))
        return cls(
            attempt,
            clip,
            video,
            delivery.get("size"),
            delivery.get("sha256"),
            _key(delivery.get("manifest_uri")) or place(manifest_key(clip, attempt)),
            poster,
            _key(delivery.get("strip_uri")),
            (delivery.get("first_frame") or {}).get("key"),
        )


@dataclass(frozen=True)
class Missing:
    """An object of a take that is gone or has changed."""

    take: KeptTake
    """Whose."""
    what: str
    """`video`, `manifest`, `poster`, `strip`, `frame` or `current`."""
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
    recent = ledger.clock() - RECENT_SECONDS
    with contextlib.closing(_Notebook()) as notebook:
        notebook.add_takes(_stored(ledger), _current(ledger))
        for place in (VIDEOS, QUARANTINE, *([FRAMES] if notebook.has_frames() else [])):
            notebook.add_objects(store.list_objects(place))
        objects, size = notebook.measure()
        stock = Stock(objects=objects, size=size)
        for take, is_current in notebook.takes(before=recent):
            stock.missing.extend(_missing(take, notebook, is_current=is_current))
        _look_for_strays(stock, ledger, notebook, time.time() if now is None else now)
    return stock


class _Notebook:
    """What ledger and bucket hold, in a temporary file of this process that SQLite removes: years of clips do not fit in memory."""

    def __init__(self) -> None:
        # an empty name is a private file, written to where the cache is full
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.executescript(
            """
            CREATE TABLE takes (attempt UNIQUE, clip, video, size, sha256, manifest, poster, strip, frame, kept_at);
            CREATE TABLE current (attempt PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE objects (folder, attempt, key, size, modified, PRIMARY KEY (folder, attempt, key)) WITHOUT ROWID;
            CREATE VIEW kept AS SELECT attempt, clip, video, size, sha256, manifest, poster, strip, frame FROM takes;
            BEGIN
            """
        )

    def close(self) -> None:
        self._file.close()

    def add_takes(self, takes: Iterator[tuple[KeptTake, float]], current: Iterator[str]) -> None:
        """Note takes, each with the time that it is kept since, and the attempts whose takes are current."""
        self._file.executemany(
            "INSERT INTO takes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*_values(take), kept_at) for take, kept_at in takes),
        )
        self._file.executemany(
            "INSERT OR IGNORE INTO current VALUES (?)", ((attempt,) for attempt in current)
        )

    def add_objects(self, objects: Iterator[ObjectInfo]) -> None:
        """Note objects of the listing; one that is listed twice counts once."""
        self._file.executemany(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
            ((*_place_of(info.key), info.key, info.size, _stored_at(info)) for info in objects),
        )

    def has_frames(self) -> bool:
        """Whether a take is a draft whose first frame is kept."""
        query = "SELECT 1 FROM takes WHERE frame IS NOT NULL LIMIT 1"
        return self._file.execute(query).fetchone() is not None

    def measure(self) -> tuple[int, int]:
        """How many objects there are, and their size in bytes."""
        count, size = self._file.execute("SELECT count(*), coalesce(sum(size), 0) FROM objects").fetchone()
        return int(count), int(size)

    def takes(self, *, before: float) -> Iterator[tuple[KeptTake, bool]]:
        """Takes that were stored before a time, oldest first, and whether each is current."""
        rows = self._file.execute(
            "SELECT *, attempt IN (SELECT attempt FROM current) FROM takes WHERE kept_at <= ? ORDER BY rowid",
            (before,),
        )
        for *values, _, is_current in rows:
            yield KeptTake(*values), bool(is_current)

    def take(self, attempt: str) -> KeptTake | None:
        row = self._file.execute("SELECT * FROM kept WHERE attempt = ?", (attempt,)).fetchone()
        return None if row is None else KeptTake(*row)

    def size_of(self, key: str) -> int | None:
        """The size of an object in bytes; None if the bucket does not list it."""
        row = self._file.execute(
            "SELECT size FROM objects WHERE folder = ? AND attempt = ? AND key = ?", (*_place_of(key), key)
        ).fetchone()
        return None if row is None else int(row[0])

    def objects_by_take(self) -> Iterator[tuple[str, str, list[tuple[str, float]]]]:
        """Folder, attempt, and the attempt's objects there: their keys, and when each was stored."""
        rows = self._file.execute(
            "SELECT folder, attempt, key, modified FROM objects WHERE attempt <> '' ORDER BY 1, 2, 3"
        )
        for (folder, attempt), group in itertools.groupby(rows, key=lambda row: (row[0], row[1])):
            yield folder, attempt, [(key, modified) for _, _, key, modified in group]


def _values(take: KeptTake) -> Iterator[Any]:
    return (getattr(take, one.name) for one in fields(take))


def _stored(ledger: Ledger) -> Iterator[tuple[KeptTake, float]]:
    """Stored takes, each with the time that it is kept since; `PAGE` of them at a time."""
    after = 0
    while True:
        with ledger.read() as connection:
            rows = connection.execute(_PAGE, {"after": after, "page": PAGE}).all()
        for row in rows:
            if row.state in _KEPT and row.subject_kind in {"clip", "spare"} and row.delivery is not None:
                clip = clip_of(row.subject_key)
                take = KeptTake.of(row.id, clip, whole_delivery(row.delivery, StoredTake(clip, row.id)))
                yield take, row.kept_at
        if len(rows) < PAGE:
            return
        after = rows[-1].seq


def _current(ledger: Ledger) -> Iterator[str]:
    query = sa.select(current_takes.c.attempt_id).where(current_takes.c.subject_kind == "clip")
    with ledger.read() as connection:
        yield from connection.execution_options(yield_per=PAGE).execute(query).scalars()


def _missing(take: KeptTake, notebook: _Notebook, *, is_current: bool) -> Iterator[Missing]:
    clip, size = take.clip, notebook.size_of(take.video)
    if size is None:
        yield Missing(take, "video", take.video, f"the video of {clip} is gone")
    elif take.size is not None and size != take.size:
        why = f"the video of {clip} has {size} bytes instead of {take.size}"
        yield Missing(take, "video", take.video, why)
    if notebook.size_of(take.manifest) is None:
        yield Missing(take, "manifest", take.manifest, f"the manifest of {clip} is gone")
    if take.poster is not None and notebook.size_of(take.poster) is None:
        yield Missing(take, "poster", take.poster, f"the poster of {clip} is gone")
    if take.strip is not None and notebook.size_of(take.strip) is None:
        yield Missing(take, "strip", take.strip, f"the strip of frames of {clip} is gone")
    if take.frame is not None and notebook.size_of(take.frame) is None:
        yield Missing(take, "frame", take.frame, f"the first frame of a draft of {clip} is gone")
    if is_current and notebook.size_of(current_key(clip)) is None:
        yield Missing(take, "current", current_key(clip), f"nothing shows which take of {clip} is current")


def _look_for_strays(stock: Stock, ledger: Ledger, notebook: _Notebook, now: float) -> None:
    for folder, attempt, objects in notebook.objects_by_take():
        manifest = next((key for key, _ in objects if _suffix(key) == "json"), None)
        take = notebook.take(attempt)
        if manifest is not None:
            if take is None and not ledger.attempts([attempt]):
                stock.unknown.append(manifest)
            continue
        if take is not None and take.video.startswith(folder):
            continue  # a missing manifest is a finding of its own
        if now - max(modified for _, modified in objects) <= GRACE_SECONDS:
            continue
        known = ledger.attempts([attempt]).get(attempt)
        state = "unknown" if known is None else known.state.value
        whole = take is not None and None not in map(notebook.size_of, (take.video, take.manifest))
        for key, _ in objects:
            stock.stray.append((key, f"of a take that is {'kept elsewhere' if take else state}"))
            if take is not None and whole:
                stock.doubles.append((take, key))


def _stored_at(info: ObjectInfo) -> float:
    return info.modified.timestamp() if info.modified is not None else 0.0


def _place_of(key: str) -> tuple[str, str]:
    """The folder and the attempt in the key of a take's object; no attempt for first frames and for what names the current take."""
    folder, _, name = key.rpartition("/")
    return f"{folder}/", "" if name == CURRENT or key.startswith(FRAMES) else name.partition(".")[0]


def _suffix(key: str) -> str:
    return key.rpartition(".")[2]


def _key(uri: object) -> str | None:
    """The key of `s3://bucket/key`."""
    return str(uri).removeprefix("s3://").partition("/")[2] or None if uri else None


def _unchanged(key: str) -> str:
    return key
