"""The data folder that a host reads: its own, or, with `DAILIES_DATA=bucket`, the pushed one.

If a folder was pushed, it counts on every host: a host whose own folder differs buys and renders nothing. A run reads the
folder of its decision, even if another folder was pushed since.
"""

import contextlib
import datetime as dt
import logging
import secrets
import socket
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import ConfigurationError, DailiesError
from resources.ledger import data_pushes, refused_hosts
from resources.ledger.data_pushes import DataPush
from resources.ledger.ledger import Ledger
from resources.ledger.refused_hosts import About
from resources.settings import POINTER, Settings, open_ledger
from resources.shared_data.archive import unpack
from resources.shared_data.kept_folders import is_kept, prune
from resources.shared_data.snapshot import MOST_BYTES, short, take_snapshot
from resources.storage.layout import data_key

if TYPE_CHECKING:
    from resources.storage.reader import BucketReader

logger = logging.getLogger("dailies")

NOTHING_PUSHED = (
    "DAILIES_DATA=bucket, and no data folder was pushed yet. Nothing was bought. `dailies data push` on a host that has the "
    "folder stores it"
)


def bring(settings: Settings, ledger: Ledger | None = None) -> Settings:
    """The settings with the current folder, if this host reads the bucket's; it is fetched once.

    Raises:
        ConfigurationError: None was pushed yet, or its archive is gone or broken.
        resources.errors.UnavailableError: The ledger or the bucket does not answer.
    """
    if not settings.reads_bucket:
        return settings
    with open_ledger(settings) if ledger is None else contextlib.nullcontext(ledger) as opened:
        push = data_pushes.current(opened)
    if push is None:
        raise ConfigurationError(NOTHING_PUSHED)
    folder = fetch(settings, push.digest)
    pointer = settings.home / POINTER
    if not (pointer.is_file() and pointer.read_text() == push.digest):
        # containers that share a home have the same process ids
        written = pointer.with_name(f".{pointer.name}-{secrets.token_hex(8)}")
        written.write_text(push.digest)
        written.rename(pointer)
    return settings.reading(folder)


def fetch(settings: Settings, digest: str, store: "BucketReader | None" = None) -> Path:
    """The folder with this digest in the home; fetched from the bucket if it is missing.

    Raises:
        ConfigurationError: Its archive is gone or broken.
        resources.errors.UnavailableError: The bucket does not answer.
    """
    folder = (settings.home / POINTER).with_name(digest).absolute()
    if is_kept(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    if store is None:
        # no S3 client is loaded if the folder exists
        from resources.storage.objects import ObjectStore  # noqa: PLC0415

        store = ObjectStore(settings.s3())
    key = data_key(digest)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as place:
        archive = Path(place) / "data.tar.gz"
        stored = store.head(key)
        if stored is None or stored.size > MOST_BYTES or store.get_file(key, archive) is None:
            raise ConfigurationError(
                f"the data folder {short(digest)} is not in the bucket ({store.uri(key)}). Nothing was bought. `dailies data push` on a "
                "host that has it stores it again."
            )
        unpack(archive, folder, digest)
    prune(folder.parent, current=_named_by(settings.home / POINTER))
    return folder


def _named_by(pointer: Path) -> str:
    try:
        return pointer.read_text().strip()
    except OSError:
        return ""


def folders_of_unsent(settings: Settings, ledger: Ledger, store: "BucketReader") -> Iterator[Path]:
    """The pushed folders of which unsent purchases were ordered, so that a later push changes no picture of theirs.

    Raises:
        resources.errors.UnavailableError: The ledger or the bucket does not answer.
    """
    for digest in data_pushes.of_unsent(ledger):
        with contextlib.suppress(ConfigurationError):
            yield fetch(settings, digest, store)


def checked_digest(settings: Settings, ledger: Ledger) -> str | None:
    """The digest of the folder that this host reads; None if none was pushed and this host's cannot be pushed.

    Raises:
        ConfigurationError: Another folder is current. Nothing was bought.
    """
    push = data_pushes.current(ledger)
    if settings.reads_bucket:
        if push is None:
            raise ConfigurationError(NOTHING_PUSHED)
        if settings.data.name != push.digest:
            raise ConfigurationError(
                f"the data folder {short(push.digest)} was pushed meanwhile ({_by(push)}); {short(settings.data.name)} was read. "
                "Nothing was bought; run it again."
            )
        return push.digest
    try:
        own = take_snapshot(settings.data).digest
    except ConfigurationError:
        if push is None:
            return None
        raise
    if push is not None and push.digest != own:
        raise _refuse_host(
            ledger,
            f"{_own_folder(settings)} is {short(own)}, and {short(push.digest)} is current ({_by(push)}). Nothing was bought. "
            "`dailies data diff` shows the difference, which may be only in the two versions' catalogues (shipped-models/); `dailies "
            "data push` makes this host's folder and catalogue current; DAILIES_DATA=bucket reads the current ones, with this version, too.",
        )
    refused_hosts.end(ledger, About.DATA)
    return own


def unpushed(settings: Settings) -> DataPush | None:
    """The current data folder if this host's differs from it; None also if the ledger cannot be read."""
    if settings.ledger_url_setting is None and not (settings.home / "ledger.db").exists():
        return None
    # the caller has just changed a file, and that change must not fail
    with contextlib.suppress(DailiesError), open_ledger(settings, patience=0) as ledger:
        push = data_pushes.current(ledger)
        if push is not None and push.digest != take_snapshot(settings.own_data).digest:
            return push
    return None


def folder_of_run(settings: Settings, ledger: Ledger, decision: str) -> Path | None:
    """The folder that a run reads: that of its decision.

    Returns:
        None for the host's own folder.

    Raises:
        ConfigurationError: This host has another folder, or the one in the bucket is gone or broken. Nothing was bought.
    """
    push = data_pushes.current(ledger)
    named = data_pushes.of_decision(ledger, decision)
    if named is None and push is not None:
        # a page of Dagster started it; its retries and its other runs read the same
        named = data_pushes.name_for(ledger, decision, push.digest)
    if settings.reads_bucket:
        if named is None:
            raise ConfigurationError(NOTHING_PUSHED)
        return fetch(settings, named)
    if named is None:
        return None
    own = take_snapshot(settings.data).digest
    if own == named:
        refused_hosts.end(ledger, About.DATA)
        return None
    reason = (
        f"the decision {decision} was made of the data folder {short(named)}{_pushed_as(ledger, named)}, and {_own_folder(settings)} "
        f"is {short(own)}"
    )
    if push is None:
        # no folder is shared: the approved order of each clip decides (see `ledger.approvals`)
        logger.warning("%s. A clip whose request differs is not bought.", reason)
        return None
    raise _refuse_host(
        ledger,
        f"{reason}. Nothing was bought. Bring this host's folder up to date or set DAILIES_DATA=bucket, then repeat the command.",
    )


def _refuse_host(ledger: Ledger, why: str) -> ConfigurationError:
    """The error of a host whose folder is not the current one; the ledger records it."""
    refused_hosts.note(ledger, About.DATA, why)
    return ConfigurationError(why)


def _own_folder(settings: Settings) -> str:
    return f"the folder of this host ({socket.gethostname()}: {settings.data}, with the catalogue of dailies {version('dailies')})"


def _pushed_as(ledger: Ledger, digest: str) -> str:
    pushes = [push for push in data_pushes.pushes(ledger) if push.digest == digest]
    return f" ({_by(pushes[-1])})" if pushes else ""


def _by(push: DataPush) -> str:
    return f"pushed by {push.who}, {dt.datetime.fromtimestamp(push.at, dt.UTC):%Y-%m-%d %H:%M} UTC"
