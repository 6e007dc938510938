"""A project with a ledger, a bucket at a real embedded S3, and clips that were delivered there without a provider."""

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deliverykit import Depot, Lent, tried_once
from hostile import File, serving
from makers import make_mp4
from projects import a_project

from pipelines.cli import fetch, main
from resources.export import archive
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.production import bucket_mark, delivery
from resources.production.bucket_mark import bind_bucket
from resources.storage import remote
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore
from resources.video.inspector import VideoInspector

_numbers = itertools.count()


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(rclone_s3: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty bucket, which the settings name."""
    store = ObjectStore(rclone_s3.settings.model_copy(update={"bucket": f"depot-{next(_numbers)}"}))
    store.ensure_bucket()
    secret = store.settings.secret_access_key
    assert secret is not None
    variables = {
        "DAILIES_S3_ENDPOINT": rclone_s3.endpoint_url,
        "DAILIES_S3_BUCKET": store.settings.bucket,
        "AWS_ACCESS_KEY_ID": rclone_s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bucket_mark, "try_bucket", tried_once)
    return store


@pytest.fixture
def depot(
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bucket: ObjectStore,
    lookers: VideoInspector,
) -> Iterator[Depot]:
    for module in (delivery, fetch, archive):
        monkeypatch.setattr(module, "VideoInspector", lambda **_: Lent(lookers))
    a_project(tmp_path, monkeypatch, ["dawn", "noon"])
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(sqlite_template, home / "ledger.db")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    with serving() as server, Ledger(f"sqlite:///{home}/ledger.db", budget=Budget()) as ledger:
        server.files["/clip.mp4"] = File(data=make_mp4(tmp_path / "film.mp4").read_bytes())
        bind_bucket(ledger, bucket, buying=True)
        yield Depot(ledger, bucket, server, scratch)
    remote._connections.close()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process; returns its exit code and its text on both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dailies", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run
