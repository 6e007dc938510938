"""One project for a test: its data folder, sandbox, bucket, ledger and Dagster, all in this process."""

import functools
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
import yaml

from pipelines.assets.clips import produce
from pipelines.assets.prompts import prompts
from pipelines.code_location import build_defs
from pipelines.partitions import add_clips, range_tags
from pipelines.sensors import account_names
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.sandbox import RunningSandbox
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import client_for

MODELS = Path(__file__).parents[2] / "data" / "models"
KEY = "sandbox-key"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class ImpatientProduction(Production):
    """The resources of runs, except that no test waits a minute for an S3 server that is not running.

    A running server gets the full time: on a loaded machine it may close a connection, which the next request opens anew.
    """

    def store(self) -> ObjectStore:
        found = self.settings().s3()
        return ObjectStore(found if _listens(found.endpoint_url) else found.model_copy(update=IMPATIENT))


IMPATIENT = {"ride_out_seconds": 0.2}


def _listens(address: str | None) -> bool:
    place = urlsplit(address or "")
    with socket.socket() as probe:
        return place.port is not None and probe.connect_ex((place.hostname or "", place.port)) == 0


@functools.cache
def loaded(accounts: tuple[str, ...], schedules: tuple[str, ...], *, allow_submits: bool) -> dg.Definitions:
    """The definitions of all houses with these accounts and schedules, as the present house has.

    Loading them for each house took as long as a run. Their resource reads the settings of the house that uses it.
    """
    return build_defs(ImpatientProduction(allow_submits=allow_submits))


def produce_clips() -> dg.JobDefinition:
    """A function of the module, as `dagster.reconstructable` requires."""
    return _produce_clips()


@functools.cache
def _produce_clips() -> dg.JobDefinition:
    return build_defs(ImpatientProduction()).resolve_job_def("produce_clips")


@dataclass(frozen=True)
class Ran:
    """One run that is over."""

    run: dg.DagsterRun
    """Dagster's record of the run."""
    failure: str | None
    """The error of the failed step; None for a green run."""
    failed_clips: dict[str, str]
    """The failure's table: reason by clip."""

    @property
    def green(self) -> bool:
        return self.run.status is dg.DagsterRunStatus.SUCCESS


@dataclass
class House:
    """One project."""

    data: Path
    """The data folder."""
    sandbox: RunningSandbox
    """The provider."""
    s3_folder: Path
    """The embedded S3's folder of buckets."""
    instance: dg.DagsterInstance
    """Dagster's storage, in SQLite files."""
    production: Production = field(default_factory=ImpatientProduction)
    run_keys: set[str] = field(default_factory=set)
    """Every `run_key` so far, since Dagster answers each key only once."""

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.sandbox.url, trust_env=False, verify=False)
        self.cursors: dict[str, str] = {}
        self._schedules: tuple[tuple[bytes, ...], tuple[str, ...]] | None = None

    # What people write

    def declare(
        self,
        series: str,
        clips: Collection[str],
        *,
        own: Mapping[str, dict[str, Any]] | None = None,
        **changes: Any,
    ) -> list[str]:
        """Write a series whose prompts name their clip; returns the keys in the file's order.

        Args:
            own: Fields of single clips, by the clips' names.
        """
        document: dict[str, Any] = {
            "name": series,
            "endpoint": "bytedance/seedance-2.0/text-to-video",
            "parameters": {"duration": 4, "aspect_ratio": "1:1"},
            "prompt": "A quiet view of {{ subject }}.",
            "clips": [
                {"name": clip, "variables": {"subject": f"the {clip}"}, **(own or {}).get(clip, {})}
                for clip in clips
            ],
            **changes,
        }
        (self.data / "series" / f"{series}.yaml").write_text(yaml.safe_dump(document))
        return [f"{series}-{clip}" for clip in clips]

    def edit(self, series: str, old: str, new: str) -> None:
        """Change a word in a series' file."""
        file = self.data / "series" / f"{series}.yaml"
        before = file.read_text()
        assert old in before
        file.write_text(before.replace(old, new))

    # What Dagster does

    def definitions(self) -> dg.Definitions:
        """Load Dagster's definitions; called again after every change of a file, since the files declare accounts and schedules."""
        declared = tuple(file.read_bytes() for file in sorted((self.data / "series").iterdir()))
        if self._schedules is None or self._schedules[0] != declared:
            self._schedules = declared, self._declared_schedules(declared)
        names, allowed = account_names(self.production), self.production.allow_submits
        return loaded(names, self._schedules[1], allow_submits=allowed)

    def _declared_schedules(self, files: Iterable[bytes]) -> tuple[str, ...]:
        if not any(b"schedule" in file for file in files):
            return ()
        try:
            valid = self.production.declarations().series.values()
        except DailiesError:
            return ()
        return tuple(repr((one.schedule_name, one.title, one.schedule)) for one in valid if one.schedule)

    def add(self, keys: Iterable[str]) -> list[str]:
        with self.production.ledger() as ledger:
            return add_clips(self.instance, ledger, keys)

    def run(
        self,
        job: str,
        keys: Sequence[str] = (),
        *,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Ran:
        """Carry out one run in this thread, over the range from the first key to the last."""
        found = self.definitions().resolve_job_def(job)
        all_tags = {**(range_tags(keys) if keys else {}), **(tags or {})}
        result = found.execute_in_process(
            instance=self.instance,
            tags=all_tags,
            run_config={**QUIET, **(config or {})},
            raise_on_error=False,
        )
        return self.ran(result.run_id)

    def produce(self, keys: Sequence[str], **how: Any) -> Ran:
        return self.run("produce_clips", keys, **how)

    def materialize(
        self, assets: Sequence[str], keys: Sequence[str], *, tags: Mapping[str, str] | None = None
    ) -> Ran:
        """Materialize a selection of assets over a range of clips, as a person does in the UI."""
        result = dg.materialize(
            [prompts, produce],
            selection=[dg.AssetKey(asset) for asset in assets],
            instance=self.instance,
            resources={"production": self.production},
            tags={**range_tags(keys), **(tags or {})},
            run_config=QUIET,
            raise_on_error=False,
        )
        return self.ran(result.run_id)

    def scattered(self, keys: Sequence[str], **config: Any) -> Ran:
        ops = {"produce_scattered": {"config": {"keys": list(keys), **config}}}
        return self.run("produce_scattered_clips", config={"ops": ops})

    def ran(self, run_id: str) -> Ran:
        run = self.run_of(run_id)
        failure, failed = None, {}
        for entry in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = entry.dagster_event
            data = event.step_failure_data if event else None
            if data is None:
                continue
            shown = data.user_failure_data
            failure = shown.description if shown else f"TRACEBACK {data.error}"
            table = shown.metadata.get("failed_clips") if shown else None
            if isinstance(table, dg.TableMetadataValue):
                failed = {str(r.data["clip"]): str(r.data["reason"]) for r in table.records}
        return Ran(run, failure, failed)

    def tick(self, sensor: str) -> tuple[list[Ran], str | None]:
        """Carry out one tick of a sensor with its runs, as the daemon does; returns the runs and the tick's message."""
        definitions = self.definitions()
        found = definitions.resolve_sensor_def(sensor)
        cursor = self.cursors.get(sensor)
        context = dg.build_sensor_context(
            self.instance,
            cursor=cursor,
            definitions=definitions,
            sensor_name=sensor,
            resources={"production": self.production},
        )
        outcome = found.evaluate_tick(context)
        for event in outcome.asset_events:
            assert isinstance(event, (dg.AssetMaterialization, dg.AssetCheckEvaluation))
            self.instance.report_runless_asset_event(event)
        ran = []
        for request in outcome.run_requests or ():
            assert request.run_key is not None
            if request.run_key not in self.run_keys:
                self.run_keys.add(request.run_key)
                job = request.job_name or found.job_name
                ran.append(self.run(job, tags=request.tags, config=request.run_config))
        if outcome.cursor is not None:
            self.cursors[sensor] = outcome.cursor
        return ran, outcome.skip_message

    def collected(self, sensor: str) -> Ran:
        """Tick a sensor until it requests a run, and return that run; a batch waits for its stragglers meanwhile.

        The number of ends that one tick sees depends on the machine.
        """
        ran: list[Ran] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAILIES_LINGER_SECONDS", "3600")
            self.until(lambda: bool(ran.extend(self.tick(sensor)[0]) or ran))
        (collected,) = ran
        return collected

    def a_run_that(self, job: str, status: dg.DagsterRunStatus, tags: Mapping[str, str] | None = None) -> str:
        """Record a run of another process in this state; returns its id."""
        found = self.definitions().resolve_job_def(job)
        run = self.instance.create_run_for_job(found, status=status, tags=dict(tags or {}))
        return run.run_id

    def run_of(self, run_id: str) -> dg.DagsterRun:
        """The record of a run."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def watched_by(self, run_id: str, keys: Collection[str]) -> None:
        """Make a run watch clips."""
        with self.production.ledger() as ledger, ledger.write() as connection:
            connection.execute(
                sa.update(attempts).where(attempts.c.subject_key.in_(list(keys))).values(watched_by=run_id)
            )

    def age(self, seconds: float) -> None:
        """Move all recorded times into the past."""
        with self.production.ledger() as ledger, ledger.write() as connection:
            connection.execute(
                sa.update(attempts).values(
                    created_at=attempts.c.created_at - seconds,
                    submitted_at=attempts.c.submitted_at - seconds,
                    delivered_at=attempts.c.delivered_at - seconds,
                    finished_at=attempts.c.finished_at - seconds,
                    copy_deadline=attempts.c.copy_deadline - seconds,
                )
            )

    @staticmethod
    def until(done: Callable[[], bool], *, seconds: float = 120) -> None:
        """Wait until `done` holds; fail if it does not in time."""
        give_up = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < give_up, "the condition did not hold in time"
            time.sleep(0.1)

    def forget(self, key: str) -> None:
        """Delete a partition, as a person does in the UI (Manage partitions)."""
        self.instance.delete_dynamic_partition("clips", key)

    def said(self, run_id: str) -> list[str]:
        """The log of a run."""
        return [entry.user_message for entry in self.instance.all_logs(run_id)]

    def observed(self, asset: str, clip: str) -> dict[str, Any]:
        """The metadata of the newest observation, as values; empty if there is none."""
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[clip])
        for record in self.instance.fetch_observations(wanted, limit=1).records:
            observation = record.event_log_entry.asset_observation
            assert observation is not None
            return {name: value.value for name, value in observation.metadata.items()}
        return {}

    # What other systems show

    def books(self) -> dict[str, Any]:
        """The sandbox's own books: the oracle of all purchases."""
        return dict(self.http.get("/admin/books").json())

    def bought(self) -> list[str]:
        """The prompts of all jobs that were ever accepted, sorted."""
        return sorted(str(job["body"]["prompt"]) for job in self.books()["jobs"])

    def requests(self, operation: str) -> int:
        """Number of requests of a kind that reached the provider, whatever their answer was."""
        visits = self.http.get("/admin/books", params={"requests": "1"}).json()["requests"]
        return sum(visit["operation"] == operation for visit in visits)

    def fault(self, then: dict[str, Any], **when: Any) -> None:
        """Add a fault at the provider."""
        rule = {"name": f"{then} when {when}", "when": when, "then": then}
        self.http.post("/admin/faults", json={"faults": [rule]}).raise_for_status()

    def heal(self) -> None:
        """Remove all faults at the provider."""
        self.http.delete("/admin/faults").raise_for_status()

    def attempts(self, keys: Collection[str]) -> dict[str, Attempt]:
        """The newest attempt of each clip."""
        with self.production.ledger() as ledger:
            return ledger.latest(keys)

    def states(self, keys: Collection[str]) -> dict[str, str]:
        return {key: attempt.state.value for key, attempt in self.attempts(keys).items()}

    def shown(self, asset: str, clip: str) -> dict[str, Any]:
        """The metadata of the newest materialization, as values."""
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[clip])
        (record,) = self.instance.fetch_materializations(wanted, limit=1).records
        materialization = record.asset_materialization
        assert materialization is not None
        return {name: value.value for name, value in materialization.metadata.items()}

    def settings(self, **pace: Any) -> None:
        """Change the provider's pace."""
        self.http.post("/admin/settings", json=pace).raise_for_status()

    def bucket_file(self, key: str) -> Path:
        """The embedded S3's file of an object."""
        return self.s3_folder / self.production.settings().s3().bucket / key

    def objects(self) -> dict[str, bytes]:
        """All objects of the bucket."""
        bucket = self.bucket_file("")
        files = (file for file in bucket.rglob("*") if file.is_file())
        return {str(file.relative_to(bucket)): file.read_bytes() for file in files}

    def put(self, key: str, data: bytes) -> None:
        """Write an object without the product."""
        settings = self.production.settings().s3()
        client_for(settings).put_object(Bucket=settings.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        """Read an object."""
        data = self.production.store().get_bytes(key)
        assert data is not None
        return data

    def delete(self, key: str) -> None:
        """Remove an object without the product."""
        settings = self.production.settings().s3()
        client_for(settings).delete_object(Bucket=settings.bucket, Key=key)

    @staticmethod
    def sha256(file: Path) -> str:
        return hashlib.sha256(file.read_bytes()).hexdigest()


def poll_soon(*, elapsed: float, usual: float | None, overdue: bool, rng: random.Random) -> float:
    """Replace `next_poll_in`, so that no test waits for a poll."""
    return 0.05


def subject(key: str) -> str:
    """The prompt of a clip that `declare` wrote."""
    return f"A quiet view of the {key.split('-', 1)[1]}."


def side_by_side(*works: Callable[[], Any]) -> list[Any]:
    """Call functions in threads that start together; returns what they returned."""
    barrier = threading.Barrier(len(works))

    def carry(work: Callable[[], Any]) -> Any:
        barrier.wait(120)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [done.result(300) for done in [pool.submit(carry, work) for work in works]]


def character(house: House, name: str, **changes: object) -> None:
    """Declare a character that is made from a film."""
    folder = house.data / "characters"
    folder.mkdir(exist_ok=True)
    said = {"name": name, "video": "https://example.com/mara.mp4", "allow_retired": True, **changes}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(said))


def again(house: House, parent: dg.DagsterRun) -> Ran:
    """The run page's "Re-execute", which repeats the whole run with its tags."""
    with dg.execute_job(
        dg.reconstructable(produce_clips),
        instance=house.instance,
        reexecution_options=dg.ReexecutionOptions(parent_run_id=parent.run_id),
        tags={name: value for name, value in parent.tags.items() if not name.startswith(".")},
        run_config=QUIET,
    ) as result:
        return house.ran(result.run_id)


@contextmanager
def nothing_bought(house: House) -> Iterator[None]:
    """Check that a block sends no POST."""
    before = house.requests("submit"), house.bought()
    yield
    assert (house.requests("submit"), house.bought()) == before
