"""A separate project for every test: a fresh ledger, bucket, sandbox and Dagster, with jobs that end at once."""

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from alarm_receiver import Receiver
from dagster._core.instance.methods.event_methods import EventMethods
from dagster_ui import DagsterUi, opened
from deliverykit import Lent, tried_once
from pipelinekit import KEY, MODELS, House, poll_soon
from pydantic import SecretStr

from resources.inventory import repairs
from resources.ledger import deliveries, ends, ledger, polls
from resources.ledger.database import open_database
from resources.production import batch, bucket_mark, delivery, poller
from resources.sandbox import SandboxSettings, media, running_sandbox, workshop
from resources.sandbox.endpoints import Frame
from resources.sandbox.media import ClipStore, Footage
from resources.storage.embedded import EmbeddedS3
from resources.storage.s3_client import client_for
from resources.video.inspector import VideoInspector

QUIET_DAGSTER = {
    "telemetry": {"enabled": False},
    # the local step launcher starts four processes for each step
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    },
    # The storage of `dailies up`; Dagster's default opens a file for each statement, which took a fifth of a test's time.
    "storage": {"custom": {"module": "pipelines.dagster_storage", "class": "KeptSqliteStorage"}},
}
UNSET = (
    "AWS_SESSION_TOKEN",
    "DAILIES_LEDGER_URL",
    "DAILIES_WAVESPEED_MAX_IN_FLIGHT",
    "DAILIES_WAVESPEED_SUBMITS_PER_MINUTE",
)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


_as_ephemeral_job = dg.JobDefinition.as_ephemeral_job


def ephemeral_job_once(
    job: dg.JobDefinition,
    resource_defs: Mapping[str, dg.ResourceDefinition],
    input_values: Mapping[str, object],
    op_selection: Sequence[str] | None = None,
    asset_selection: Sequence[dg.AssetKey] | None = None,
) -> dg.JobDefinition:
    """A job for runs in this process; Dagster makes a new one for each run, and computes its configuration and snapshot anew."""
    if resource_defs or input_values or op_selection:
        return _as_ephemeral_job(job, resource_defs, input_values, op_selection, asset_selection)
    made = vars(job).setdefault("jobs of this process", {})
    selected = frozenset(asset_selection or ())
    if selected not in made:
        made[selected] = _as_ephemeral_job(job, {}, {}, None, asset_selection)
    found: dg.JobDefinition = made[selected]
    return found


class SmallClips(ClipStore):
    """Square clips of 128 pixels. Seedance promises a shape and no size, and inspecting a clip of 960 pixels takes 110 ms more."""

    made: ClassVar[Path]
    """Folder shared by all houses: most clips exist from an earlier house."""

    def __init__(self, _directory: Path, pad_to: int | None = None) -> None:
        super().__init__(self.made, pad_to)

    def clip(self, job_id: str, frame: Frame) -> Footage:
        if frame.width == frame.height:
            frame = frame.model_copy(update={"width": 128, "height": 128})
        return super().clip(job_id, frame)


@pytest.fixture(scope="session")
def dagster_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Dagster with its tables: copying it is faster than Dagster's migrations."""
    folder = tmp_path_factory.mktemp("template") / "dagster"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, dagster_in(folder, patch):
        return folder


@contextmanager
def dagster_in(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster with its files in this folder. A command that opens the folder in a test finds the same storage."""
    patch.setenv("DAGSTER_HOME", str(folder))
    (folder / "dagster.yaml").write_text(yaml.safe_dump(QUIET_DAGSTER))
    with dg.DagsterInstance.local_temp(str(folder), QUIET_DAGSTER) as instance:
        yield instance


class OpenLedgers:
    """Ledgers stay open until their house ends: each run and tick opens them, which took a tenth of these tests' time."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, int], sa.Engine] = {}

    def open(self, url: str, *, patience: float = 0) -> sa.Engine:
        """The ledger's engine; a restored ledger is another file."""
        file = Path(url.removeprefix("sqlite:///"))
        found = self._engines.get((url, file.stat().st_ino)) if file.exists() else None
        if found is None:
            found = open_database(url, patience=patience)
            found.dispose = lambda close=True: None  # type: ignore[method-assign]
            self._engines[url, file.stat().st_ino] = found
        return found

    def close(self) -> None:
        for engine in self._engines.values():
            sa.Engine.dispose(engine)


@contextmanager
def house_in(folder: Path, s3: EmbeddedS3, lookers: VideoInspector, dagster: Path) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        # other tests test the time of polls with their own clock; here it would only cost seconds
        patch.setattr(poller, "next_poll_in", poll_soon)
        for module in (ends, polls):
            patch.setattr(module, "SOON_SECONDS", 0.3)
        patch.setattr(ends, "APART_SECONDS", 0.1)
        # a minute may pass on a slow machine, and a sensor that must have nothing to do would then have something
        for module in (polls, deliveries):
            patch.setattr(module, "LATE_SECONDS", 3600)
        patch.setattr(batch, "LOOK_SECONDS", 0.1)
        # Two runs in one process may deadlock: each configures all logging while the other logs an event within its handler's lock. Run
        # workers are separate processes, and no house configures a handler.
        patch.setattr(EventMethods, "get_yaml_python_handlers", lambda _: [])
        patch.setattr(dg.JobDefinition, "as_ephemeral_job", ephemeral_job_once)
        for module in (delivery, repairs):
            patch.setattr(module, "VideoInspector", lambda **_: Lent(lookers))
        patch.setattr(bucket_mark, "try_bucket", tried_once)
        patch.setattr(workshop, "ClipStore", SmallClips)
        # clips of one colour, which is encoded once for each size
        patch.setattr(media, "PALETTES", media.PALETTES[:1])
        ledgers = OpenLedgers()
        patch.setattr(ledger, "open_database", ledgers.open)
        patch.setattr(SmallClips, "made", dagster.parent / "clips", raising=False)
        data = folder / "data"
        (data / "series").mkdir(parents=True)
        (data / "models").symlink_to(MODELS)
        shutil.copytree(dagster, folder / "dagster")
        secret = s3.settings.secret_access_key
        assert secret is not None
        bucket = f"test-{uuid.uuid4().hex[:12]}"
        sandbox_settings = SandboxSettings(job_seconds=0, key=SecretStr(KEY))
        with (
            running_sandbox(sandbox_settings) as sandbox,
            dagster_in(folder / "dagster", patch) as instance,
        ):
            for name in UNSET:
                patch.delenv(name, raising=False)
            for name, value in {
                "DAILIES_ENV_FILE": "",
                "DAILIES_HOME": str(folder),
                "DAILIES_DATA": str(data),
                "DAILIES_LINGER_SECONDS": "0",
                "DAILIES_WAVESPEED_URL": sandbox.url,
                "WAVESPEED_API_KEY": KEY,
                "DAILIES_WAVESPEED_DEDICATED": "true",
                "DAILIES_AIMLAPI_URL": sandbox.url,
                "AIMLAPI_API_KEY": KEY,
                "DAILIES_ALLOWED_ORIGINS": sandbox.url,
                "DAILIES_S3_ENDPOINT": s3.endpoint_url,
                "DAILIES_S3_BUCKET": bucket,
                "AWS_ACCESS_KEY_ID": s3.access_key_id,
                "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
                "AWS_REGION": "us-east-1",
            }.items():
                patch.setenv(name, value)
            made = House(data, sandbox, s3.folder, instance)
            client_for(made.production.settings().s3()).create_bucket(Bucket=bucket)
            yield made
            made.http.close()
            ledgers.close()


@pytest.fixture
def house(tmp_path: Path, s3: EmbeddedS3, lookers: VideoInspector, dagster_template: Path) -> Iterator[House]:
    with house_in(tmp_path, s3, lookers, dagster_template) as made:
        yield made


@pytest.fixture(scope="module")
def house_to_look_at(
    tmp_path_factory: pytest.TempPathFactory, s3: EmbeddedS3, lookers: VideoInspector, dagster_template: Path
) -> Iterator[House]:
    """One house for all tests of a module, which must not change it."""
    with house_in(tmp_path_factory.mktemp("house"), s3, lookers, dagster_template) as made:
        yield made


@contextmanager
def copied(made: House, folder: Path) -> Iterator[House]:
    """A house with copies of another one's data, ledger and Dagster, for a test that changes them.

    Sandbox and bucket are those of the other house. At the end the bucket is as before: the other house would be too old for the mark of a
    newer one. The sandbox has no faults any more, and keeps its books.
    """
    # nobody writes; SQLite makes these files anew from the others
    unneeded = shutil.ignore_patterns("*-shm", "tmp")
    shutil.copytree(made.data.parent, folder, symlinks=True, ignore=unneeded, dirs_exist_ok=True)
    before = made.objects()
    with pytest.MonkeyPatch.context() as patch, dagster_in(folder / "dagster", patch) as instance:
        patch.setenv("DAILIES_HOME", str(folder))
        patch.setenv("DAILIES_DATA", str(folder / "data"))
        copy = House(folder / "data", made.sandbox, made.s3_folder, instance, run_keys=set(made.run_keys))
        copy.cursors.update(made.cursors)
        yield copy
        copy.heal()
        copy.http.close()
    after = made.objects()
    for key in after.keys() - before.keys():
        made.delete(key)
    for key, data in before.items():
        if after.get(key) != data:
            made.put(key, data)


@pytest.fixture
def copy_of(tmp_path: Path) -> Iterator[Callable[[House], House]]:
    """Copies the house of a module for one test, which may then change it."""
    with ExitStack() as stack:
        yield lambda made: stack.enter_context(copied(made, tmp_path))


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, no_pauses: None) -> Iterator[Receiver]:
    """The receiver of this test's alarms."""
    made = Receiver()
    monkeypatch.setenv("DAILIES_ALARM_URL", made.url)
    yield made
    made.close()


@pytest.fixture
def ui(house: House) -> Iterator[DagsterUi]:
    with opened(house.instance) as found:
        yield found
