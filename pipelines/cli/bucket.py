"""The bucket of a command: the configured one, or that of the embedded S3, which the command starts if it does not run."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from pipelines.cli.stack_state import running_stack
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.storage.s3_client import S3Settings

if TYPE_CHECKING:
    from resources.storage.objects import ObjectStore


@dataclass(frozen=True)
class Bucket:
    """The bucket with the clips.

    Attributes:
        store: Reads and writes objects.
        folder: The folder of this machine with the objects as files, None for a bucket elsewhere.
    """

    store: "ObjectStore"
    folder: Path | None


@contextlib.contextmanager
def bucket_of(settings: Settings) -> Iterator[Bucket]:
    """The bucket of these settings, for the duration of the block.

    Raises:
        ConfigurationError: None is set, and the embedded S3 of this home was never used.
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
    """The same; None if no bucket is set and the home has none, as before the first `dailies up`."""
    folder, secret = settings.home.absolute() / "s3", settings.home / "s3-secret"
    running = running_stack(settings.home) or {}
    if not running.get("s3_url") and not settings.s3_bucket and not secret.exists():
        yield None
        return
    from resources.storage.embedded import EmbeddedS3
    from resources.storage.objects import ObjectStore

    if running.get("s3_url"):
        yield Bucket(ObjectStore(_embedded(running["s3_url"], _read(secret))), folder / "dailies")
    elif settings.s3_bucket:
        yield Bucket(ObjectStore(settings.s3()), None)
    else:
        with EmbeddedS3(folder, secret_access_key=_read(secret)) as server:
            yield Bucket(ObjectStore(server.settings), folder / server.bucket)


def _read(secret: Path) -> SecretStr:
    try:
        return SecretStr(secret.read_text().strip())
    except OSError as error:
        raise ConfigurationError(f"cannot read {secret}: {error.strerror}") from None


def _embedded(url: str, secret: SecretStr) -> S3Settings:
    return S3Settings(
        bucket="dailies", endpoint_url=url, access_key_id="dailieskey", secret_access_key=secret
    )
