"""`dailies gallery`: write the pages, print where they are, and show them in a browser."""

import time
import webbrowser
from pathlib import Path
from typing import Any

from rich.text import Text

from pipelines.cli.bucket import Bucket, bucket_of
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import dagster_url
from pipelines.cli.terminal import complain, console, counted, print_json, tell
from resources.errors import DailiesError
from resources.gallery.server import GalleryServer
from resources.gallery.writer import Written, write_gallery
from resources.production.bucket_mark import bind_bucket
from resources.settings import Settings, open_ledger

LOOK_SECONDS = 1.0


def show_gallery(settings: Settings, *, open_it: bool, port: int, as_json: bool) -> None:
    """Write the pages, print where they are, and show them on request.

    Args:
        settings: The settings of the ledger and the bucket.
        open_it: Whether to open a browser; for a bucket elsewhere, serve the pages until Ctrl-C.
        port: The port on 127.0.0.1 for a bucket elsewhere; 0 picks a free one.
        as_json: Whether to print JSON.

    Raises:
        DailiesError: The ledger or the bucket does not answer, or they do not belong together.
    """
    with bucket_of(settings) as bucket:
        written = write(settings, bucket)
        if as_json:
            print_json(_document(written, bucket))
        else:
            console.print(
                Text(f"{counted(written.clips, 'clip')} on {counted(len(written.digests), 'page')}: ").append(
                    str(file_of(bucket, written) or bucket.store.uri(written.index))
                ),
                soft_wrap=True,
            )
        if open_it:
            _open(bucket, written, port)


def write(settings: Settings, bucket: Bucket) -> Written:
    """Write every page.

    Raises:
        DailiesError: The ledger or the bucket does not answer, or they do not belong together.
    """
    with open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)
        return write_gallery(ledger, bucket.store, dagster=dagster_url(settings), titles=_titles(settings))


def _titles(settings: Settings) -> dict[str, str]:
    try:
        return {name: series.title for name, series in declarations_of(settings).series.items()}
    except DailiesError as error:
        complain(f"series are shown without their titles: {error}")
        return {}


def file_of(bucket: Bucket, written: Written) -> Path | None:
    """The first page as a file of this machine, None for a bucket elsewhere."""
    return None if bucket.folder is None else bucket.folder / written.index


def _document(written: Written, bucket: Bucket) -> dict[str, Any]:
    file = file_of(bucket, written)
    return {
        "index": bucket.store.uri(written.index),
        "file": None if file is None else str(file),
        "pages": sorted(written.digests),
        "clips": written.clips,
        "size_bytes": written.size,
    }


def _open(bucket: Bucket, written: Written, port: int) -> None:
    file = file_of(bucket, written)
    if file is not None:
        if not webbrowser.open(file.as_uri()):
            complain(f"no browser could be started here; open {file}")
        return
    try:
        server = GalleryServer(bucket.store, port=port)
    except OSError as error:
        raise DailiesError(
            f"port {port} of 127.0.0.1 cannot be used: {error.strerror}; choose another --port"
        ) from None
    with server:
        tell(f"shown at {server.url} until Ctrl-C; do not share the address")
        webbrowser.open(server.url)
        try:
            while True:
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            tell("ending")
