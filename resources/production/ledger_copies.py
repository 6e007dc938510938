"""Copies of the ledger in the bucket: each is restored into a scratch database and compared before it counts as verified.

A copy in the bucket protects against a lost disk or server, not against a lost bucket. `resources.ledger.recovery` prevents a
restored ledger from buying until it is rebuilt.
"""

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError

from resources.errors import ConfigurationError, DailiesError
from resources.ledger import locks
from resources.ledger.address import is_postgresql, parsed_address
from resources.ledger.backup import back_up, restore
from resources.ledger.budget import Budget
from resources.ledger.database import SCHEMA_REVISION, make_private_file
from resources.ledger.ledger import Ledger
from resources.ledger.postgres_dump import dump, restore_dump, scratch_database
from resources.ledger.recovery.mark import knows, mark_of, newest_seq
from resources.ledger.schema import attempts, jobs, journal, submissions, verdicts
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.storage.layout import BACKUPS, copy_key, copy_of
from resources.storage.objects import ObjectStore
from resources.storage.scratch import scratch_folder

GROWING = (attempts, submissions, jobs, journal, verdicts)
"""Tables that only grow: a copy has at least the rows of the ledger before the copy was made, and at most those after."""
SPARED = 3
"""How many of the newest verified copies are kept at any age, so that a wrong clock cannot remove all."""
_DAY = 86_400.0
_LEASE_SECONDS = 3600.0
_PACKED, _DUMP, _RECORD = "db.gz", "dump", "json"


class CopyNotVerifiedError(DailiesError):
    """A copy is damaged or differs from the ledger."""


class CopyRecord(BaseModel):
    """The record of a verified copy."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    """The copy's key."""
    size: int
    """Its size in bytes."""
    sha256: str
    """In hex."""
    at: float
    """When it was made, seconds since the epoch by the ledger's clock."""
    ledger: str
    """The ledger's id."""
    revision: str
    """The newest migration of its schema."""
    seq: int
    """Number of its newest journal entry, 0 for none."""
    rows: dict[str, int]
    """Rows of the tables that only grow."""


@dataclass(frozen=True)
class LedgerCopy:
    """A copy of a ledger in the bucket, as listed."""

    name: str
    """Its key without prefix and ending."""
    key: str
    at: float
    """When it was made, seconds since the epoch."""
    size: int
    """Bytes."""
    is_verified: bool
    """Whether it was restored and compared."""

    @property
    def record_key(self) -> str:
        """Key of its record."""
        return f"{BACKUPS}{self.name}.{_RECORD}"


def store_copy(ledger: Ledger, store: ObjectStore, url: str, *, scratch: Path) -> CopyRecord:
    """Copy a ledger, which may be in use, into its bucket, restore the copy from there, and compare it with the ledger.

    Args:
        url: The ledger's address. For PostgreSQL: the server itself, not a pooler, with a user that may create databases.
        scratch: A folder for temporary files, which take about three times the ledger's size.

    Raises:
        CopyNotVerifiedError: The restored copy differs from the ledger. The copy stays in the bucket without a record.
        ConfigurationError: The bucket has another ledger, the ledger is older than its bucket, or a program is missing.
        resources.errors.UnavailableError: Bucket or database do not answer.
    """
    # copies of an emptied or restored ledger would displace the good ones
    bind_bucket(ledger, store, buying=False)
    BucketMark(ledger, store).examine()
    scratch.mkdir(parents=True, exist_ok=True)
    with locks.hold(ledger, "ledger copy", seconds=_LEASE_SECONDS, wait=1), scratch_folder(scratch) as folder:
        at, before, seq = ledger.clock(), _rows_of(ledger), newest_seq(ledger)
        file, kind = _make_copy(url, folder)
        key = copy_key(at, ledger.id, kind)
        sha256 = _sha256_of(file)
        size = file.stat().st_size
        store.put_file(key, file, sha256=sha256, content_type="application/octet-stream")
        file.unlink()
        after = _rows_of(ledger)
        arrived = folder / f"arrived.{kind}"
        fetched = store.get_file(key, arrived)
        if fetched is None or fetched.sha256 != sha256:
            raise CopyNotVerifiedError(
                f"{store.uri(key)} is not the copy that was stored: it has {fetched.size if fetched else 0:,} bytes of {size:,}, or others"
            )
        with _restored(url, arrived, folder, f"dailies_check_{ledger.id[:12]}") as restored:
            rows = _compared(ledger, restored, before, after, seq, store.uri(key))
            record = CopyRecord(
                key=key,
                size=size,
                sha256=sha256,
                at=at,
                ledger=ledger.id,
                revision=SCHEMA_REVISION,
                seq=newest_seq(restored),
                rows=rows,
            )
        data = record.model_dump_json(indent=2).encode()
        store.put_bytes(copy_key(at, ledger.id, _RECORD), data, content_type="application/json")
        return record


def copies(store: ObjectStore) -> list[LedgerCopy]:
    """The copies in the bucket, oldest first, by one listing."""
    by_name: dict[str, dict[str, tuple[str, float, int]]] = {}
    for item in store.list_objects(BACKUPS):
        if (parts := copy_of(item.key)) is not None:
            name, at, kind = parts
            by_name.setdefault(name, {})[kind] = (item.key, at, item.size)
    listed = [
        LedgerCopy(name, key, at, size, _RECORD in kinds)
        for name, kinds in by_name.items()
        for kind, (key, at, size) in kinds.items()
        if kind != _RECORD
    ]
    return sorted(listed, key=lambda copy: copy.at)


def remove_old(store: ObjectStore, *, days: int, now: float) -> int:
    """Remove copies older than `days`, but never the newest verified ones. Returns how many were removed.

    Args:
        days: The age from which copies are removed.
        now: Seconds since the epoch.
    """
    listed = copies(store)
    spared = [copy.name for copy in listed if copy.is_verified][-SPARED:]
    removed = 0
    for copy in listed:
        if copy.name not in spared and now - copy.at > days * _DAY:
            # the record first: if the second request fails, the copy no longer counts as verified
            gone = store.discard(copy.record_key) if copy.is_verified else True
            removed += gone and store.discard(copy.key)
    return removed


def fetch_copy(store: ObjectStore, copy: LedgerCopy, target: Path) -> None:
    """Write a verified copy into a file for `dailies ledger restore` (SQLite) or `pg_restore` (PostgreSQL).

    Args:
        target: The file to write; an existing file is never overwritten.

    Raises:
        CopyNotVerifiedError: The object is not the one that was verified.
        ConfigurationError: The file exists.
    """
    if target.exists():
        raise ConfigurationError(
            f"{target} exists already, and a copy never overwrites a file. Name a new file."
        )
    try:
        record = CopyRecord.model_validate_json(store.get_bytes(copy.record_key) or b"")
    except ValidationError:
        raise CopyNotVerifiedError(f"{store.uri(copy.record_key)} is no record of a copy") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(target.parent) as folder:
        arrived = folder / "arrived"
        fetched = store.get_file(copy.key, arrived)
        if fetched is None or fetched.sha256 != record.sha256:
            raise CopyNotVerifiedError(
                f"{store.uri(copy.key)} is not the copy that was verified: it was changed or cut"
            )
        whole = _unpacked(arrived, folder) if copy.key.endswith(_PACKED) else arrived
        whole.chmod(0o600)
        whole.rename(target)


def _make_copy(url: str, folder: Path) -> tuple[Path, str]:
    """A copy of the ledger as a file, and its kind."""
    if is_postgresql(parsed_address(url)):
        file = folder / "ledger.dump"
        dump(url, file)
        return file, _DUMP
    plain, packed = folder / "ledger.db", folder / "ledger.db.gz"
    back_up(url, plain)
    with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    plain.unlink()
    return packed, _PACKED


@contextmanager
def _restored(url: str, copy: Path, folder: Path, name: str) -> Iterator[Ledger]:
    """Restore the copy into a scratch database, in the same way as a person restores it."""
    if is_postgresql(parsed_address(url)):
        with scratch_database(url, name) as place:
            with _must_restore():
                restore_dump(place, copy)
            with Ledger(place, budget=Budget()) as ledger:
                yield ledger
        return
    place = f"sqlite:///{folder / 'restored.db'}"
    with _must_restore():
        restore(place, _unpacked(copy, folder))
    with Ledger(place, budget=Budget()) as ledger:
        yield ledger


@contextmanager
def _must_restore() -> Iterator[None]:
    try:
        yield
    except DailiesError as error:
        raise CopyNotVerifiedError(
            f"the copy of the ledger could not be restored, so it is not verified: {error}"
        ) from None


def _unpacked(copy: Path, folder: Path) -> Path:
    plain = folder / "unpacked.db"
    make_private_file(plain)
    try:
        with gzip.open(copy, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise CopyNotVerifiedError(f"the copy cannot be unpacked: {error}") from None
    return plain


def _compared(
    ledger: Ledger, restored: Ledger, before: dict[str, int], after: dict[str, int], seq: int, uri: str
) -> dict[str, int]:
    """The numbers of rows of the restored copy, after checking that it is part of the ledger's history and complete."""
    mark, rows = mark_of(restored), _rows_of(restored)
    wrong = []
    if mark.ledger != ledger.id:
        wrong.append(f"it is of the ledger {mark.ledger}, not {ledger.id}")
    if mark.seq < seq:
        wrong.append(f"its journal ends at {mark.seq}, and the ledger's had {seq} before the copy was made")
    if not knows(ledger, mark):
        wrong.append(f"its newest journal entry ({mark.seq}) is not the ledger's")
    wrong += [
        f"{name} has {rows[name]} rows, and the ledger had {before[name]} to {after[name]}"
        for name in rows
        if not before[name] <= rows[name] <= after[name]
    ]
    if wrong:
        raise CopyNotVerifiedError(f"{uri} is no copy of this ledger: {'; '.join(wrong)}")
    return rows


def _rows_of(ledger: Ledger) -> dict[str, int]:
    with ledger.read() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in GROWING
        }


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
