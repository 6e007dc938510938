"""Pushing a data folder, and comparing two of them."""

import difflib
import getpass
import hashlib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from pipelines.cli.bucket import bucket_of
from pipelines.cli.check import read_folder
from resources.errors import ConfigurationError
from resources.ledger import data_pushes
from resources.ledger.data_pushes import DataPush
from resources.production.bucket_mark import bind_bucket
from resources.settings import Settings, open_ledger
from resources.shared_data.archive import unpack, write_archive
from resources.shared_data.snapshot import Snapshot, place_of, short, take_snapshot
from resources.shared_data.source import fetch
from resources.storage.layout import data_key
from resources.storage.objects import ObjectStore

ARCHIVE_TYPE = "application/gzip"
LONGEST_TEXT = 256 << 10
"""The largest file whose lines are compared, in bytes."""


@dataclass(frozen=True)
class FolderDifference:
    """How one data folder differs from another."""

    before: str
    """The first folder, for a person."""
    after: str
    changes: dict[str, str]
    """`added`, `removed` or `changed`, by file."""
    lines: tuple[str, ...]
    """The changed lines of text files."""

    def document(self) -> dict[str, Any]:
        """The difference as JSON."""
        return {"before": self.before, "after": self.after, "changes": self.changes}


def push_folder(settings: Settings, *, note: str) -> DataPush:
    """Store the data folder of this host in the bucket, and make it current.

    Raises:
        ConfigurationError: The host has no folder of its own, or the folder has mistakes or forbidden content. Nothing was changed.
        resources.errors.UnavailableError: Ledger or bucket does not answer.
    """
    folder = settings.own_data
    snapshot = take_snapshot(folder)
    if problems := read_folder(settings)[1]:
        listing = "\n".join(problems)
        raise ConfigurationError(
            f"{listing}\nEvery host would read these mistakes, so nothing was stored. Correct them, or move the files out of {folder}."
        )
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)
        _store(bucket.store, folder, snapshot, settings)
        return data_pushes.push(
            ledger,
            snapshot.digest,
            files=len(snapshot.files),
            size=snapshot.size,
            who=f"{getpass.getuser()} on {socket.gethostname()}, with dailies {version('dailies')}",
            note=note,
        )


def _store(store: ObjectStore, folder: Path, snapshot: Snapshot, settings: Settings) -> None:
    """Store the archive of a folder, unless the bucket has a readable one."""
    key = data_key(snapshot.digest)
    is_there = store.head(key) is not None
    if is_there and _can_be_read(store, key, snapshot.digest):
        return
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as file:
        write_archive(folder, snapshot, file, secrets=secrets_of(settings))
        file.flush()
        content = Path(file.name).read_bytes()
        if is_there:
            store.put_bytes(key, content, content_type=ARCHIVE_TYPE, overwrite=True)
        else:
            sha256 = hashlib.sha256(content).hexdigest()
            store.put_file(key, Path(file.name), sha256=sha256, content_type=ARCHIVE_TYPE)


def _can_be_read(store: ObjectStore, key: str, digest: str) -> bool:
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "data.tar.gz"
        try:
            if store.get_file(key, archive) is None:
                return False
            unpack(archive, Path(place) / digest, digest)
        except ConfigurationError:
            return False
    return True


def compare(settings: Settings, before: str | None, after: str | None) -> FolderDifference:
    """Compare two data folders.

    Args:
        before: The first digits of a pushed folder's digest; None for the current one.
        after: The first digits of a pushed folder's digest; None for the folder of this host.

    Raises:
        ConfigurationError: No such folder was pushed, or this host has no folder of its own.
    """
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        known = data_pushes.pushes(ledger)
        old = _find(known, before)
        old_folder = fetch(settings, old, bucket.store)
        if after is None and settings.reads_bucket:
            raise ConfigurationError(
                "this host has no data folder of its own (DAILIES_DATA=bucket). Name two pushed ones: `dailies data diff BEFORE AFTER`; "
                "`dailies data log` shows them"
            )
        if after is None:
            new_folder, named = settings.own_data, f"this host's {settings.data}"
        else:
            new = _find(known, after)
            new_folder, named = fetch(settings, new, bucket.store), short(new)
    earlier, later = take_snapshot(old_folder), take_snapshot(new_folder)
    changes = _changes(earlier, later)
    lines = [line for name in changes for line in _lines(name, old_folder, new_folder)]
    return FolderDifference(short(old), named, changes, tuple(lines))


def _find(known: list[DataPush], start: str | None) -> str:
    if not known:
        raise ConfigurationError("no data folder was pushed yet; `dailies data push` stores this host's")
    if start is None:
        return known[-1].digest
    digests = {push.digest for push in known if push.digest.startswith(start)}
    if len(digests) != 1:
        why = "begins several digests" if digests else "is not the digest of a pushed folder"
        raise ConfigurationError(f"{start!r} {why}; `dailies data log` shows them")
    return digests.pop()


def _changes(before: Snapshot, after: Snapshot) -> dict[str, str]:
    return {
        name: "added" if name not in before.files else "removed" if name not in after.files else "changed"
        for name in sorted(before.files.keys() | after.files.keys())
        if before.files.get(name) != after.files.get(name)
    }


def _lines(name: str, before: Path, after: Path) -> Iterator[str]:
    old, new = _text(place_of(before, name)), _text(place_of(after, name))
    if old is not None and new is not None:
        yield from difflib.unified_diff(old, new, f"before/{name}", f"after/{name}", lineterm="", n=1)


def _text(file: Path) -> list[str] | None:
    """The lines of a text file; empty if the file does not exist, None if it is not text or too long."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    if len(data) > LONGEST_TEXT or b"\0" in data:
        return None
    try:
        return data.decode().splitlines()
    except UnicodeDecodeError:
        return None


def secrets_of(settings: Settings) -> Iterator[bytes]:
    """Every key, token and password that this host's settings hold."""
    for name in settings.account_names:
        account = settings.account(name)
        yield from (key.get_secret_value().encode() for key in (account.api_key, account.admin_key) if key)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value().encode()
    yield from (value.encode() for value in settings.dagster_headers.values())
    for address in (settings.ledger_url, settings.copied_url):
        password = urlsplit(address).password
        if password is not None:
            yield from (password.encode(), unquote(password).encode())
