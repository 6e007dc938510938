"""The files of deploy/ are valid, and each of their checks finds its kind of mistake."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("kubernetes_validate", reason="make install-dev brings it")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HELM = DEPLOY / "helm"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_check", DEPLOY / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_is_valid(check: ModuleType) -> None:
    assert check.everything() == []


BROKEN: list[tuple[str, str, str, str, str]] = [
    ("dockerfile", "image/Dockerfile", "WORKDIR /src", "WORKDIR src", "DL3000"),
    (
        "compose",
        "compose/compose.yaml",
        "  restart: unless-stopped\n  init",
        "  restrat: x\n  init",
        "restrat",
    ),
    ("compose", "compose/compose.yaml", "read_only: true\n  user", "read_only: false\n  user", "read_only"),
    ("compose", "compose/compose.yaml", "stop_grace_period: 90s", 'ports: ["4000:4000"]', "publishes a port"),
    ("values", "helm/values.yaml", "maxRetries: 10", "maxRetrys: 10", "etrys"),
    (
        "values",
        "helm/values.yaml",
        "pollIntervalSeconds: 30",
        "pollIntervalSeconds: soon",
        "poll_interval_seconds",
    ),
    ("objects", "helm/objects.yaml", "replicas: 1", "replicas: one", "'one' is not of type"),
    (
        "objects",
        "helm/objects.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "may write",
    ),
    (
        "compose",
        "compose/compose.yaml",
        "stop_grace_period: 90s",
        "stop_grace_period: 60s",
        "is killed after 60 s",
    ),
    ("compose", "compose/compose.yaml", "    mem_limit: 4g\n", "", "code has no mem_limit"),
    ("compose", "compose/compose.yaml", "http://127.0.0.1:3000\n", "https://x.com\n", "without a login"),
    (
        "compose",
        "compose/compose.yaml",
        '      DAILIES_DAGSTER_HEADER: ""\n',
        "",
        "room does not start if DAILIES_DAGSTER_HEADER is set",
    ),
    (
        "objects",
        "helm/objects.yaml",
        '            - {name: DAILIES_DAGSTER_TOKEN, value: ""}\n',
        "",
        "dailies-room does not start if DAILIES_DAGSTER_TOKEN is set",
    ),
    (
        "compose",
        "compose/compose.yaml",
        "healthcheck:\n      test: [CMD, wget",
        "x-was:\n      test: [CMD, wget",
        "proxy has no healthcheck",
    ),
    (
        "compose",
        "compose/compose.yaml",
        "code: {condition: service_healthy}",
        "code: {condition: service_started}",
        "web starts before code is ready",
    ),
    (
        "compose",
        "compose/compose.yaml",
        "${POSTGRES_PASSWORD:?in .env beside this file}",
        "hunter2",
        "POSTGRES_PASSWORD is written",
    ),
    (
        "values",
        "helm/values.yaml",
        "limits: {memory: 2Gi}",
        "limits: {cpu: 1}",
        "k8sRunLauncher: its container has no limit of memory",
    ),
    (
        "values",
        "helm/values.yaml",
        "terminationGracePeriodSeconds: 90",
        "terminationGracePeriodSeconds: 30",
        "killed after 30 s",
    ),
    ("values", "helm/values.yaml", "logFormat: json", "logFormat: colored", "log lines have several forms"),
    ("objects", "helm/objects.yaml", ", seccompProfile: {type: RuntimeDefault}", "", "no seccomp profile"),
    (
        "objects",
        "helm/objects.yaml",
        "      automountServiceAccountToken: false\n",
        "",
        "token of the cluster",
    ),
    ("objects", "helm/objects.yaml", "readinessProbe", "startupProbe", "has no probe"),
    ("unit", "systemd/dailies.service", "OOMPolicy=continue\n", "", "OOMPolicy=continue is missing"),
    ("unit", "systemd/dailies.service", "TimeoutStopSec=120", "TimeoutStopSec=50", "killed after 50 s"),
    ("unit", "systemd/dailies.service", "KillMode=mixed", "KillMode=mixt", "kill mode"),
]


@pytest.mark.parametrize(("name", "path", "right", "wrong", "said"), BROKEN)
def test_a_mistake_is_found(
    check: ModuleType, tmp_path: Path, name: str, path: str, right: str, wrong: str, said: str
) -> None:
    text = (DEPLOY / path).read_text()
    assert right in text
    file = tmp_path / Path(path).name
    file.write_text(text.replace(right, wrong, 1))
    look: Callable[[Path], Iterator[str]] = getattr(check, name)
    assert said in "\n".join(look(file))


def test_a_dagster_yaml_whose_class_does_not_take_its_configuration_is_found(check: ModuleType) -> None:
    document = yaml.safe_load((DEPLOY / "compose" / "dagster.yaml").read_text())
    document["compute_logs"]["config"]["buckett"] = "b"
    assert "buckett" in "\n".join(check.instance(document, "dagster.yaml"))


def test_an_alarm_or_a_panel_of_a_metric_that_does_not_exist_is_found(
    check: ModuleType, tmp_path: Path
) -> None:
    alarms, board = tmp_path / "alarms.yaml", tmp_path / "dailies.json"
    whole = (DEPLOY / "grafana" / "alarms.yaml").read_text()
    for right, wrong, said in (
        ("dailies_oldest_finished_seconds", "dailies_oldest_finish_seconds", "is no metric of ours"),
        ('{state="held"}', '{status="held"}', "has no label status"),
        ("for: 15m", "for: 15 minutes", "is no duration"),
        ("sum(dailies_disputed_amounts)", "sum(dailies_disputed_amounts", "a bracket is missing"),
        ('summary: "A bill', 'text: "A bill', "an expression and a summary"),
    ):
        assert right in whole
        alarms.write_text(whole.replace(right, wrong, 1))
        assert said in "\n".join(check.alarms(alarms))
    shown = (DEPLOY / "grafana" / "dailies.json").read_text()
    board.write_text(shown.replace("dailies_runs", "dailies_run"))
    assert sorted(check.dashboard(board)) == [
        "dailies.json: dailies_run is no metric of ours: dailies_run",
        "dailies.json: does not show dailies_runs",
    ]
    assert [*check.alarms(), *check.dashboard()] == []


def test_the_compose_proxy_replaces_the_header_that_names_people() -> None:
    caddy = (DEPLOY / "compose" / "Caddyfile").read_text()
    settings = (DEPLOY / "compose" / "dailies.env.example").read_text()
    header = re.search(r"^DAILIES_ROOM_USER_HEADER=(.+)$", settings, re.MULTILINE)
    assert header is not None
    assert f"header_up {header[1]} " in caddy


CELERY_SETTINGS = """
import json, os, sys

def settings():
    from dagster_celery.app import app, execute_job
    del sys.modules["dagster_celery.app"]
    return {
        "broker": app.conf.broker_url, "backend": app.conf.result_backend, "task_acks_late": execute_job.acks_late,
        "task_reject_on_worker_lost": execute_job.reject_on_worker_lost,
        "worker_prefetch_multiplier": app.conf.worker_prefetch_multiplier,
    }

with_file = settings()
sys.path.remove(os.environ["PYTHONPATH"])
del sys.modules["dagster_celery_config"]
print(json.dumps([with_file, settings()]))
"""
"""The settings that a Celery worker reads at its start, with the file of its PYTHONPATH and without."""


def test_celerys_workers_have_the_launchers_settings(tmp_path: Path) -> None:
    """Without its own file, a worker once kept its results from Dagster, which then failed every run as one without a worker."""
    addresses = {"CELERY_BROKER": "redis://redis:6379/1", "CELERY_BACKEND": "redis://redis:6379/2"}
    launcher = yaml.safe_load((HELM / "values.celery.yaml").read_text())["runLauncher"]["config"][
        "customRunLauncher"
    ]["config"]
    wanted = launcher["config_source"] | {
        name: addresses[launcher[name]["env"]] for name in ("broker", "backend")
    }
    documents = list(yaml.safe_load_all((HELM / "objects.celery.yaml").read_text()))
    for file, text in documents[0]["data"].items():
        (tmp_path / file).write_text(text)
    (worker,) = documents[1]["spec"]["template"]["spec"]["containers"]
    assert {"name": "PYTHONPATH", "value": "/etc/celery"} in worker["env"]
    done = subprocess.run(
        [sys.executable, "-c", CELERY_SETTINGS],
        env={**os.environ, **addresses, "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    with_file, without = json.loads(done.stdout)
    assert with_file == wanted
    assert without["backend"] == "rpc://"
