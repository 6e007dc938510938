"""Two independent S3 servers: rclone, which the product ships, as a process; and moto in a thread."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["rclone", "moto"])
def settings(request: pytest.FixtureRequest) -> S3Settings:
    """Settings of a fresh bucket at either server, with short timeouts."""
    if request.param == "rclone":
        found: S3Settings = request.getfixturevalue("rclone_s3").settings
    else:
        found = request.getfixturevalue("moto_s3")
    return found.model_copy(update={"bucket": f"test-{uuid.uuid4().hex[:12]}", "ride_out_seconds": 1})


@pytest.fixture
def store(settings: S3Settings) -> ObjectStore:
    made = ObjectStore(settings)
    made.ensure_bucket()
    return made


@pytest.fixture
def some_file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 4096)
    return path
