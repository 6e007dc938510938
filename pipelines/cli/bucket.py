"""The bucket of a command: the configured one, or that of the embedded S3, which is started if it is not running."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from pipelines.cli.stack_state import running_stack
from pipelines.cli.terminal import note
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.storage.s3_client import S3Settings

if TYPE_CHECKING:
    from resources.ledger.ledger import Ledger
    from resources.storage.objects import ObjectStore


PATIENCE_SECONDS = 60.0
"""How long a command waits for another command or for `dailies up` to start, in seconds."""


@dataclass(frozen=True)
class Bucket:
    """The bucket with the clips."""

    store: "ObjectStore"
    """Reads and writes objects."""
    folder: Path | None
    """The folder of this machine with the objects as files, None for a bucket elsewhere."""


@contextlib.contextmanager
def bucket_of(settings: Settings) -> Iterator[Bucket]:
    """The bucket of these settings, for the duration of the block.

    Raises:
        ConfigurationError: No bucket is set, and the embedded S3 of this home was never used.
    """
    with bucket_if_any(settings) as bucket:
        if bucket is None:
            raise ConfigurationError(
                f"no bucket is set, and {settings.home.absolute() / 's3'} holds no embedded one yet. Run `dailies demo` or "
                "`dailies up`, or set DAILIES_S3_BUCKET."
            )
        yield bucket


@contextlib.contextmanager
def bucket_if_any(settings: Settings) -> Iterator[Bucket | None]:
    """The bucket as from `bucket_of`; None if no bucket is set and the home has none, as before the first `dailies up`."""
    folder, secret = settings.home.absolute() / "s3", settings.home / "s3-secret"
    running = running_stack(settings.home) or {}
    if not running.get("s3_url") and not settings.s3_bucket and not secret.exists():
        yield None
        return
    from resources.storage.objects import ObjectStore

    if settings.s3_bucket and not running.get("s3_url"):
        yield Bucket(ObjectStore(settings.s3()), None)
        return
    with _embedded_of(settings.home, _read(secret)) as embedded:
        yield Bucket(ObjectStore(embedded), folder / embedded.bucket)


def refusal_of_bucket(settings: Settings, ledger: "Ledger") -> str | None:
    """Why this ledger may not buy for its bucket; None if it may, or if there is no bucket.

    Raises:
        DailiesError: The bucket cannot be read.
    """
    try:
        with bucket_if_any(settings) as bucket:
            if bucket is not None:
                from resources.production.bucket_mark import BucketMark

                BucketMark(ledger, bucket.store).examine()
    except ConfigurationError as error:
        return str(error)
    return None


@contextlib.contextmanager
def _embedded_of(home: Path, secret: SecretStr) -> Iterator[S3Settings]:
    """The embedded S3 of `dailies up`, which may still be starting, or one for this command alone.

    Raises:
        ConfigurationError: Another command uses it for longer than `PATIENCE_SECONDS`, or `dailies up` takes longer to start.
    """
    from resources.storage.embedded import EmbeddedS3, FolderServedError

    own = EmbeddedS3(home.absolute() / "s3", secret_access_key=secret)
    give_up = None
    while not (url := (running_stack(home) or {}).get("s3_url")):
        try:
            own.start()
        except FolderServedError as error:
            if give_up is None:
                give_up = time.monotonic() + PATIENCE_SECONDS
                note(f"waiting up to {PATIENCE_SECONDS:.0f} s, since {error.why}")
            elif time.monotonic() > give_up:
                raise
        else:
            with own:
                yield own.settings
            return
    yield S3Settings(
        bucket=own.bucket, endpoint_url=url, access_key_id=own.access_key_id, secret_access_key=secret
    )


def _read(secret: Path) -> SecretStr:
    try:
        return SecretStr(secret.read_text().strip())
    except OSError as error:
        raise ConfigurationError(f"cannot read {secret}: {error.strerror}") from None
