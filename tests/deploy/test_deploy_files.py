"""The files of deploy/ are right, and each of their checks finds what it is there for."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import yaml

from resources.metrics import METRICS

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


def test_every_file_is_right(check: ModuleType) -> None:
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


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"dailies_[a-z_]+", text))


def test_the_dashboard_and_the_alarms_ask_for_metrics_that_exist_and_leave_none_out() -> None:
    board = json.loads((DEPLOY / "grafana" / "dailies.json").read_text())
    shown = metrics_in(" ".join(target["expr"] for panel in board["panels"] for target in panel["targets"]))
    rules = yaml.safe_load((DEPLOY / "grafana" / "alarms.yaml").read_text())["groups"][0]["rules"]
    asked = metrics_in(" ".join(rule["expr"] for rule in rules))
    ours = {metric.name for metric in METRICS} - {"dailies"}
    assert shown == ours
    assert asked <= ours
    labels = {metric.name: set(metric.labels) for metric in METRICS}
    for expression in [target["expr"] for panel in board["panels"] for target in panel["targets"]]:
        for name, chosen in re.findall(r"(dailies_[a-z_]+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", chosen)) <= labels[name]


def test_the_compose_proxy_replaces_the_header_that_names_people() -> None:
    caddy = (DEPLOY / "compose" / "Caddyfile").read_text()
    settings = (DEPLOY / "compose" / "dailies.env.example").read_text()
    header = re.search(r"^DAILIES_ROOM_USER_HEADER=(.+)$", settings, re.MULTILINE)
    assert header is not None
    assert f"header_up {header[1]} " in caddy
