"""`dailies ledger ...` as a person types it, with a separate sandbox and bucket."""

import datetime as dt
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from projects import an_order
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from resources.errors import ConfigurationError, DailiesError
from resources.ledger import heartbeats, keys, locks, schema, stops
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.lost import orphans
from resources.ledger.outcomes import record_outcome
from resources.ledger.polls import record_end
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.production import ledger_rebuild
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.production.verdict_objects import record_stored_verdicts
from resources.providers.base import Accepted, Candidate, JobState, JobStatus
from resources.providers.wavespeed.client import WaveSpeed
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from resources.settings import load_settings, open_ledger
from resources.storage.embedded import EmbeddedS3
from resources.storage.layout import prompt_key
from resources.storage.objects import ObjectStore


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, s3: EmbeddedS3, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a bucket and one account, named by the environment."""
    settings = s3.settings.model_copy(update={"bucket": f"cli-{uuid.uuid4().hex[:8]}"})
    ObjectStore(settings).ensure_bucket()
    assert settings.secret_access_key is not None
    for name, value in {
        "DAILIES_ENV_FILE": "",
        "DAILIES_HOME": str(tmp_path / "home"),
        "DAILIES_S3_ENDPOINT": s3.endpoint_url,
        "DAILIES_S3_BUCKET": settings.bucket,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key.get_secret_value(),
        "WAVESPEED_API_KEY": "sandbox",
        "DAILIES_WAVESPEED_URL": sandbox.url,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("DAILIES_LEDGER_URL", "AIMLAPI_API_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def ok(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output or result.exception
    return result.output


def want(clip: str) -> None:
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [an_order(clip, series="cli")], Decision("monday"))


def wanted() -> dict[str, str]:
    with open_ledger(load_settings()) as ledger:
        return {attempt.subject_key: attempt.state.value for attempt in ledger.overview()}


def test_a_ledger_is_copied_restored_and_rebuilt(tmp_path: Path) -> None:
    want("clip-a")
    copy = tmp_path / "monday.db"
    assert str(copy) in ok("ledger", "backup", str(copy))
    want("clip-b")
    told = ok("ledger", "restore", str(copy))
    assert "dailies ledger rebuild" in told
    assert "before-restore" in told
    assert wanted() == {"clip-a": "queued"}
    told = ok("ledger", "rebuild")
    assert "no key is set for aimlapi" in told
    assert "1 queued clips were withdrawn" in told
    assert "it may buy again" in told
    assert wanted() == {"clip-a": "withdrawn"}


def a_living_run() -> None:
    with open_ledger(load_settings()) as ledger:
        heartbeats.begin(ledger, "run-7", "w2:41:ab")


def a_post_on_its_way() -> None:
    with open_ledger(load_settings()) as ledger:
        assert isinstance(claim_next(ledger, "wavespeed", PostTerms(Limits(), 60)), Submission)


@pytest.mark.parametrize(
    ("buyer", "named"), [(a_living_run, "run-7 (process w2:41:ab)"), (a_post_on_its_way, "a POST of clip-a")]
)
def test_a_rebuild_beside_a_buyer_on_any_host_is_refused(buyer: Callable[[], None], named: str) -> None:
    want("clip-a")
    buyer()
    before = wanted()
    refused = run("ledger", "rebuild")
    assert refused.exit_code != 0
    assert named in str(refused.exception)
    assert wanted() == before
    with open_ledger(load_settings()) as ledger:
        assert not stops.stops(ledger)


def test_nothing_is_bought_during_a_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    read_verdicts = record_stored_verdicts

    def while_it_works(ledger: Ledger, store: ObjectStore) -> tuple[int, list[str]]:
        with open_ledger(load_settings()) as other:
            (decided,) = decide(other, [an_order("clip-b", series="cli")], Decision("tuesday"))
            seen.append(decided.reason or "bought")
        return read_verdicts(ledger, store)

    monkeypatch.setattr(ledger_rebuild, "record_stored_verdicts", while_it_works)
    ok("ledger", "rebuild")
    assert "the ledger is being rebuilt on" in seen[0]
    with open_ledger(load_settings()) as ledger:
        assert not stops.stops(ledger)
        stops.stop(ledger, reason="the bill")
    ok("ledger", "rebuild")
    with open_ledger(load_settings()) as ledger:
        assert [stop.reason for stop in stops.stops(ledger)] == ["the bill"]


def test_a_stop_that_a_person_orders_during_a_rebuild_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read_verdicts = record_stored_verdicts

    def while_it_works(ledger: Ledger, store: ObjectStore) -> tuple[int, list[str]]:
        assert "all buying is stopped: the bill. `dailies start`" in " ".join(
            run("stop", "--reason", "the bill").output.split()
        )
        return read_verdicts(ledger, store)

    monkeypatch.setattr(ledger_rebuild, "record_stored_verdicts", while_it_works)
    ok("ledger", "rebuild")
    with open_ledger(load_settings()) as ledger:
        assert [stop.reason for stop in stops.stops(ledger)] == ["the bill"]


def test_the_errors_after_a_killed_rebuild_say_how_to_continue() -> None:
    want("clip-a")
    with open_ledger(load_settings()) as ledger:
        # the rebuild's lease and stop, as SIGKILL leaves them
        locks._take(ledger, "rebuild", "killed", ledger_rebuild.LOCK_SECONDS)
        stops.stop(ledger, reason=f"{stops.REBUILDING} on a-host")
        refused = run("ledger", "rebuild")
        assert "the lock ends 300 s after it began" in str(refused.exception)
        with ledger.write() as connection:
            connection.execute(sa.delete(schema.locks))
    for command in (["status"], ["doctor", "--dry-run"]):
        said = " ".join(run(*command).output.split())
        assert "If it was killed, run `dailies ledger rebuild` again" in said, command
    ok("ledger", "rebuild")
    with open_ledger(load_settings()) as ledger:
        assert stops.stops(ledger) == []


def test_a_rebuild_beside_dailies_up_is_refused(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "stack.json").write_text(json.dumps({"pid": os.getpid()}))
    refused = run("ledger", "rebuild")
    assert f"(process {os.getpid()})" in str(refused.exception)


def test_a_copy_in_the_bucket_is_listed_fetched_and_restored(tmp_path: Path) -> None:
    assert "there is no copy" in ok("ledger", "backups")
    want("clip-a")
    told = ok("ledger", "backup")
    assert "backups/ledger/" in told
    assert "restored and compared" in told
    (listed,) = json.loads(ok("ledger", "backups", "--json"))
    assert listed["is_verified"]
    assert listed["name"] in ok("ledger", "backups")
    copy = tmp_path / "back.db"
    ok("ledger", "backups", "--to", str(copy))
    want("clip-b")
    other = run("ledger", "backups", "20200101T000000Z-00000000", "--to", str(tmp_path / "x"))
    assert isinstance(other.exception, ConfigurationError)
    ok("ledger", "restore", str(copy))
    assert wanted() == {"clip-a": "queued"}
    ok("ledger", "backups", listed["name"], "--to", str(tmp_path / "again.db"))
    assert (tmp_path / "again.db").read_bytes() == copy.read_bytes()


def test_a_rebuilt_ledger_counts_days_where_the_caps_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # at any moment at least one of these zones has another date than UTC
    utc = dt.datetime.now(dt.UTC)
    zone = "Pacific/Kiritimati" if utc.hour >= 12 else "Etc/GMT+12"
    monkeypatch.setenv("DAILIES_TIMEZONE", zone)
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "0.50")
    store = ObjectStore(load_settings().s3())
    with open_ledger(load_settings()) as ledger:
        bind_bucket(ledger, store)
        request = an_order("clip-a", series="cli")
        store.put_bytes(
            prompt_key(request.clip, request.fingerprint),
            request.model_dump_json().encode(),
            content_type="application/json",
        )
        decide(ledger, [request], Decision("monday"))
        sent = claim_next(ledger, "wavespeed", PostTerms(Limits(), 60))
        assert isinstance(sent, Submission)
        bought = record_outcome(ledger, sent, Accepted("job-a", None, {"id": "job-a"}))
        BucketMark(ledger, store).advance()
    monkeypatch.setenv("DAILIES_HOME", str(home.with_name("new-home")))
    ok("ledger", "rebuild", "--take-over")
    with open_ledger(load_settings()) as ledger:
        (back,) = ledger.overview()
        assert back.job_id == "job-a"
        assert back.counted_on == bought.counted_on != utc.date().isoformat()
        (decided,) = decide(ledger, [an_order("clip-b", series="cli")], Decision("tuesday"))
    assert decided.ruling is Ruling.REFUSED
    assert "$0.40 is spent" in (decided.reason or "")


def test_a_rebuild_prints_its_findings_as_json(sandbox: RunningSandbox) -> None:
    want("clip-a")
    answer = httpx.post(
        f"{sandbox.url}/api/v3/openai/sora-2/text-to-video",
        json={"prompt": "a stranger's", "size": "1280*720", "duration": 4},
        headers={"Authorization": "Bearer sandbox"},
    )
    job = answer.json()["data"]["id"]
    document = json.loads(ok("ledger", "rebuild", "--json"))
    assert document["may_buy"] is True
    assert document["withdrawn"] == ["clip-a"]
    assert document["orphans"] == {"wavespeed": [job]}
    assert [orphan["job_id"] for orphan in json.loads(ok("ledger", "orphans", "--json"))] == [job]
    assert job in ok("ledger", "orphans")


def test_disputed_amounts_are_listed_and_settled_by_a_person() -> None:
    want("clip-a")
    with open_ledger(load_settings()) as ledger:
        sent = claim_next(ledger, "wavespeed", PostTerms(Limits(), 60))
        assert isinstance(sent, Submission)
        bought = record_outcome(ledger, sent, Accepted("job-a", None, {"id": "job-a"}))
        state = JobState(JobStatus.SUCCEEDED, "completed", outputs=("https://cdn.example/a.mp4",))
        done = record_end(ledger, bought, replace(state, cost_micros=40_000_000), WaveSpeed.capabilities)
    told = " ".join(ok("ledger", "disputed").split())
    assert "the answer of wavespeed says $40.00 for job job-a of clip-a, which was ordered for $0.40" in told
    assert done.id[:8] in told
    (document,) = json.loads(ok("ledger", "disputed", "--json"))
    assert (document["kind"], document["charged_usd"], document["ordered_usd"]) == ("amount", "40", "0.4")
    assert json.loads(ok("ledger", "--json"))["total"]["counted_usd"] == "0.4"
    assert "not believed" in run("ledger").output
    result = run("ledger", "disputed", "--accept")
    assert "name the clip" in str(result.exception)
    assert "counts $40.00" in ok(
        "ledger", "disputed", done.id[:8], "--accept", "--yes", "--why", "it is dear"
    )
    assert json.loads(ok("ledger", "--json"))["total"]["counted_usd"] == "40"
    assert "nothing is disputed" in ok("ledger", "disputed")


def test_a_ledger_in_use_by_dailies_up_is_not_replaced(home: Path, tmp_path: Path) -> None:
    want("clip-a")
    ok("ledger", "backup", str(tmp_path / "monday.db"))
    (home / "stack.json").write_text(json.dumps({"pid": os.getpid()}))
    result = run("ledger", "restore", str(tmp_path / "monday.db"))
    assert isinstance(result.exception, DailiesError)
    assert "running" in str(result.exception)


@pytest.mark.parametrize("dedicated", [True, False])
def test_the_status_shows_jobs_without_an_order(dedicated: bool) -> None:
    from datetime import UTC, datetime

    want("clip-a")
    assert "not ordered" not in ok("status")
    with open_ledger(load_settings()) as ledger:
        jobs = [Candidate(f"job-{n}", None, datetime.now(UTC), JobStatus.RUNNING) for n in range(5)]
        orphans.book(ledger, "wavespeed", jobs)
        keys.declare(ledger, "wavespeed", dedicated=dedicated)
    told = " ".join(ok("status").split())
    assert "wavespeed lists 5 jobs that this ledger has not ordered" in told
    assert "dailies ledger orphans" in told
    assert ("change the key" in told) is dedicated


def test_without_such_jobs_the_status_says_so() -> None:
    assert "were ordered here" in ok("ledger", "orphans")
