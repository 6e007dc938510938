"""A company's network, in real processes: only a proxy reaches the provider and the bucket, both with certificates of a private authority.

Only the proxy resolves their names, so nothing can bypass it. A plan, the purchases, the deliveries, an alarm and doctor use it.
tests/network tests each client alone; a client that other code creates is refused there.
"""

import datetime as dt
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commandkit import ROOT, run_apart
from corporate import Corporation, corporation, without_proxies
from raw_server import RawServer, answering

from bench.machine import is_ours
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import Launch, approve_as_declared, launch, wait_for
from pipelines.cli.stack import Stack, StackOptions, free_port
from resources.sandbox.server import RunningSandbox, running_sandbox
from resources.sandbox.settings import SandboxSettings
from resources.settings import load_settings
from resources.storage.embedded import EmbeddedS3

pytestmark = [pytest.mark.slow, pytest.mark.night]

SECONDS = 300
KEY = "key-canary-5e2c"
LOGIN = "robot:proxy-canary-91b7"
WEBHOOK = "alarm-canary-c0de"
CLIPS = 12


@dataclass
class Office:
    """The network, and dailies running in it."""

    company: Corporation
    sandbox: RunningSandbox
    alarms: RawServer
    s3: EmbeddedS3
    home: Path

    def dailies(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        done = run_apart(*arguments, environment={**os.environ, **changed})
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def posts(self) -> int:
        return len(self.sandbox.app.state.workshop.books.jobs())


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    provider = SandboxSettings(key=KEY, job_seconds=1, public_url="https://provider.corp.test")
    with (
        pytest.MonkeyPatch.context() as patch,
        corporation(folder, login=LOGIN) as company,
        running_sandbox(provider) as sandbox,
        EmbeddedS3(folder / "s3") as s3,
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as alarms,
    ):
        for name in [*filter(is_ours, os.environ), *without_proxies(), "COLUMNS"]:
            patch.delenv(name, raising=False)
        patch.chdir(ROOT)
        secret = s3.settings.secret_access_key
        assert secret is not None
        values = {
            **company.environment,
            "DAILIES_ENV_FILE": "",
            "DAILIES_HOME": str(folder / "home"),
            "DAILIES_DATA": str(ROOT / "data"),
            "DAILIES_WAVESPEED_URL": company.serve("provider.corp.test", int(sandbox.url.rpartition(":")[2])),
            "WAVESPEED_API_KEY": KEY,
            "DAILIES_AIMLAPI_URL": company.serve("another.corp.test", int(sandbox.url.rpartition(":")[2])),
            "AIMLAPI_API_KEY": KEY,
            "DAILIES_WAVESPEED_DEDICATED": "true",
            "DAILIES_S3_ENDPOINT": company.serve("s3.corp.test", s3.port),
            "DAILIES_S3_BUCKET": s3.bucket,
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
            "DAILIES_ALARM_URL": company.serve("alarms.corp.test", int(alarms.origin.rpartition(":")[2]))
            + f"/{WEBHOOK}",
            "DAILIES_LINGER_SECONDS": "2",
        }
        for name, value in values.items():
            patch.setenv(name, value)
        wanted = StackOptions(port=free_port())
        patch.setenv("DAILIES_DAGSTER_URL", f"http://127.0.0.1:{wanted.port}")
        with Stack(load_settings(), wanted) as stack:
            assert not stack.uses_sandbox
            assert not stack.uses_embedded_s3
            yield Office(company, sandbox, alarms, s3, folder / "home")


@pytest.fixture(scope="module")
def produced(office: Office) -> set[str]:
    """Produce the demo's clips, as the demo does."""
    settings = load_settings()
    date = dt.datetime.now(dt.UTC).date()
    # the network has two providers, and drafts are bought from a third
    series = [one for one in declarations_of(settings).series.values() if one.declaration.draft is None]
    keys = [clip.key for one in series for clip in one.clips(date if one.dated else None)]
    with DagsterApi(settings.dagster_url) as api:
        approvals = approve_as_declared(settings, keys)
        launched = launch(settings, api, approvals, Launch("demo", "produce_clips"))
        wait_for(api, settings, launched, quiet=True)
    return set(keys)


def test_the_demos_clips_are_produced_and_nothing_bypasses_the_proxy(
    office: Office, produced: set[str]
) -> None:
    shown = json.loads(office.dailies("status", "--json").stdout)
    assert {clip["clip"]: clip["state"] for clip in shown} == dict.fromkeys(produced, "delivered")
    assert len(produced) == CLIPS
    assert len(list((office.s3.folder / office.s3.bucket / "videos").rglob("*.mp4"))) == CLIPS
    hosts = {line.split(" ")[1] for line in office.company.proxy.asked}
    assert hosts == {"provider.corp.test:443", "another.corp.test:443", "s3.corp.test:443"}
    assert office.company.arrived == office.company.proxy.opened > 0


def test_an_alarm_arrives(office: Office) -> None:
    done = office.dailies("doctor", "--alarm")
    assert done.returncode == 0, done.stderr
    assert len(office.alarms.requests) == 1


def test_no_secret_reaches_the_proxy_or_the_home(office: Office, produced: set[str]) -> None:
    seen = b"".join(office.company.proxy.heads)
    assert KEY.encode() not in seen
    assert WEBHOOK.encode() not in seen
    for path in office.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"canary" not in path.read_bytes(), path


def test_a_login_that_the_proxy_refuses_buys_nothing(office: Office, produced: set[str]) -> None:
    before = office.posts()
    wrong = office.company.proxy.url.replace("://", "://robot:wrong-canary@")
    done = office.dailies("plan", "city-sunset", HTTPS_PROXY=wrong)
    assert done.returncode != 0 or "proxy" in done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr
    assert office.posts() == before


def test_a_missing_certificate_store_is_refused_before_anything_else(office: Office) -> None:
    done = office.dailies("produce", "city-sunset", SSL_CERT_FILE="/nowhere/corp.pem")
    assert done.returncode == 2
    assert "SSL_CERT_FILE names /nowhere/corp.pem" in done.stderr
    assert "Nothing was bought" in " ".join(done.stderr.split())
