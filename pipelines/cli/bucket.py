"""The bucket as a command reaches it: the one that is set, or the embedded S3's, which it starts when nobody has."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from pipelines.cli.stack import running_stack
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings


@dataclass(frozen=True)
class Bucket:
    """Where the clips are.

    Attributes:
        store: To read and write them.
        folder: Where they are as plain files on this machine, None when they are elsewhere.
    """

    store: ObjectStore
    folder: Path | None


@contextlib.contextmanager
def bucket_of(settings: Settings) -> Iterator[Bucket]:
    """The bucket that belongs to these settings, for as long as the block lasts: how every command finds it.

    Raises:
        ConfigurationError: None is set, and nothing was ever kept in the embedded S3 of this folder.
    """
    with bucket_if_any(settings) as bucket:
        if bucket is None:
            raise ConfigurationError(
                f"no bucket is set, and nothing was kept in {settings.home.absolute() / 's3'} yet: run `dailies demo` or "
                "`dailies up`, or set DAILIES_S3_BUCKET"
            )
        yield bucket


@contextlib.contextmanager
def bucket_if_any(settings: Settings) -> Iterator[Bucket | None]:
    """The same; None where no bucket is set and the home has none, as before the first `dailies up`."""
    folder, secret = settings.home.absolute() / "s3", settings.home / "s3-secret"
    running = running_stack(settings.home) or {}
    if running.get("s3_url"):
        yield Bucket(ObjectStore(_embedded(running["s3_url"], _read(secret))), folder / "dailies")
    elif settings.s3_bucket:
        yield Bucket(ObjectStore(settings.s3()), None)
    elif secret.exists():
        with EmbeddedS3(folder, secret_access_key=_read(secret)) as server:
            yield Bucket(ObjectStore(server.settings), folder / server.bucket)
    else:
        yield None


def _read(secret: Path) -> SecretStr:
    try:
        return SecretStr(secret.read_text().strip())
    except OSError as error:
        raise ConfigurationError(f"cannot read {secret}: {error.strerror}") from None


def _embedded(url: str, secret: SecretStr) -> S3Settings:
    return S3Settings(
        bucket="dailies", endpoint_url=url, access_key_id="dailieskey", secret_access_key=secret
    )
