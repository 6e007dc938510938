"""Checks the files of deploy/ without Docker and without a cluster: `python deploy/check.py`. It needs no network.

| file | what checks it |
|---|---|
| Dockerfile | hadolint |
| compose.yaml | the schema of the compose specification, and our own rules: limits, health checks, start order, rights, secrets, time to stop |
| values of Helm | the values' schema of Dagster's chart (deploy/helm/schemas, Apache-2.0, copied 2026-06) |
| dagster.yaml, and the one that the chart makes of the values | Dagster's own schema of an instance's configuration |
| Kubernetes objects | kubernetes-validate, and the same rules |
| the systemd unit | systemd-analyze verify, where it is installed, and the same rules |
| the Grafana dashboard, the alarms of Prometheus | dailies exports every metric and label that they name, and the dashboard shows every metric |
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parent
BIN = Path(sys.executable).parent
KUBERNETES = "1.34"
METRIC = r"\b(dailies_[a-z_]+)"
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|LEDGER_URL|HEADER$")


def dockerfile(file: Path = DEPLOY / "image" / "Dockerfile") -> Iterator[str]:
    """The findings of hadolint."""
    yield from _findings_of(["hadolint", "--no-color", str(file)])


def compose(file: Path = DEPLOY / "compose" / "compose.yaml") -> Iterator[str]:
    """Violations of the compose specification, and of our own rules: limits, health checks, start order, rights, secrets, time to stop."""
    import jsonschema
    from check_jsonschema.builtin_schemas import get_builtin_schema

    document = yaml.safe_load(file.read_text())
    schema = get_builtin_schema("vendor.compose-spec")
    kind = jsonschema.validators.validator_for(schema)
    yield from (
        f"{file}: {error.json_path}: {error.message}"
        for error in kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(document)
    )
    services = document["services"]
    for name, service in services.items():
        once = name == "migrate"
        wanted_of_all = ["mem_limit", "restart", "logging", "healthcheck"]
        yield from (
            f"{file}: {name} has no {key}" for key in wanted_of_all[: 3 if once else 4] if key not in service
        )
        if "no-new-privileges:true" not in service.get("security_opt", ()):
            yield f"{file}: {name} may gain rights: no-new-privileges:true is missing in security_opt"
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable) and value and not str(value).startswith("${"):
                yield f"{file}: {name}: {variable} is written in the file"
        yield from _login_in_clear(service.get("environment", {}), f"{file}: {name}")
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] != (
                "service_completed_successfully" if other == "migrate" else "service_healthy"
            ):
                yield f"{file}: {name} starts before {other} is ready"
        if service.get("ports") and name != "proxy":
            yield f"{file}: {name} publishes a port; only the proxy does"
        if str(service.get("image", "")).startswith("${DAILIES_IMAGE"):
            if not once and "migrate" not in service["depends_on"]:
                yield f"{file}: {name} starts before the schemas are there"
            wanted = {"read_only": True, "init": True, "cap_drop": ["ALL"], "user": "10001:10001"}
            yield from (
                f"{file}: {name}: {key} is not {value}"
                for key, value in wanted.items()
                if service.get(key) != value
            )
    if (
        not services["web"]
        .get("environment", {})
        .get("DAILIES_DAGSTER_URL", "")
        .startswith("http://127.0.0.1")
    ):
        yield f"{file}: commands in web would ask its own Dagster through the proxy, without a login"
    grace = int(services["code"].get("stop_grace_period", "10s").removesuffix("s"))
    yield from _too_short(grace, f"{file}: code")


def _login_in_clear(environment: dict[str, Any], what: str) -> Iterator[str]:
    """A proxy's login that a service inherits although it reaches Dagster without TLS: its settings refuse that."""
    url = str(environment.get("DAILIES_DAGSTER_URL") or "")
    if url.startswith("http://") and not url.startswith("http://127.0.0.1"):
        logins = ("DAILIES_DAGSTER_TOKEN", "DAILIES_DAGSTER_HEADER")
        yield from (f"{what} does not start if {one} is set" for one in logins if environment.get(one) != "")


def _too_short(seconds: int, what: str) -> Iterator[str]:
    """A time to stop, in seconds, that is shorter than the hand-over of the service's runs."""
    from pipelines.cli.takeover import HANDOVER_SECONDS

    if seconds < HANDOVER_SECONDS + 30:
        yield f"{what} is killed after {seconds} s; its runs need {HANDOVER_SECONDS:.0f} s to hand over, and some to notice"


def values(*files: Path) -> Iterator[str]:
    """Violations of the chart's schema by the files' values, merged as Helm merges them."""
    import jsonschema

    merged: dict[str, Any] = {}
    for file in files or (DEPLOY / "helm" / "values.yaml",):
        merged = _merge(merged, yaml.safe_load(file.read_text()))
    schema = json.loads((DEPLOY / "helm" / "schemas" / "dagster-values.schema.json").read_text())
    for error in jsonschema.Draft202012Validator(_partial(schema)).iter_errors(merged):
        yield f"{[file.name for file in files]}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
    yield from _pods_of(merged)
    yield from instance(rendered(merged), " + ".join(file.name for file in files) or "values.yaml")


def _pods_of(merged: dict[str, Any]) -> Iterator[str]:
    """Rules that the pods break which the chart makes of our values."""
    launcher = merged["runLauncher"]["config"].get("k8sRunLauncher", {})
    pods = {
        "dagsterDaemon": merged["dagsterDaemon"],
        **{one["name"]: one for one in merged["dagster-user-deployments"]["deployments"]},
        "k8sRunLauncher": launcher,
    }
    for name, pod in pods.items():
        yield from _insecure(
            {"securityContext": pod.get("securityContext", {}), "resources": pod.get("resources", {})}, name
        )
    job = launcher.get("runK8sConfig", {}).get("podSpecConfig", {})
    yield from _too_short(job.get("terminationGracePeriodSeconds", 30), "a run's pod")
    written_by = merged["dagster-user-deployments"]["deployments"]
    forms = {
        *(one.get("env", {}).get("DAILIES_LOG_FORMAT", "text") for one in written_by),
        *("json" if "json" in one["codeServerArgs"] else "text" for one in written_by),
        merged["dagsterDaemon"].get("logFormat", "text"),
    }
    if len(forms) > 1:
        yield f"log lines have several forms: {sorted(forms)}"


def _insecure(container: dict[str, Any], name: str) -> Iterator[str]:
    """A container that may write, become root, or take all memory."""
    context = container.get("securityContext", {})
    if not (context.get("readOnlyRootFilesystem") and context.get("allowPrivilegeEscalation") is False):
        yield f"{name}: its container may write or become root"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{name}: its container keeps capabilities"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield f"{name}: its container has no limit of memory"


def rendered(merged: dict[str, Any]) -> dict[str, Any]:
    """The parts of dagster.yaml that the chart makes of our values, as its templates do."""
    daemon, launcher = merged["dagsterDaemon"], merged["runLauncher"]
    logs = merged["computeLogManager"]["config"]["s3ComputeLogManager"]
    coordinator = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    found: dict[str, Any] = {
        "run_monitoring": _snake(daemon["runMonitoring"]),
        "run_retries": _snake(daemon["runRetries"]),
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": _snake(coordinator),
        },
        "compute_logs": {
            "module": "dagster_aws.s3.compute_log_manager",
            "class": "S3ComputeLogManager",
            "config": _snake(logs),
        },
    }
    if launcher["type"] == "CustomRunLauncher":
        found["run_launcher"] = launcher["config"]["customRunLauncher"]
    return found


def instance(document: dict[str, Any], name: str) -> Iterator[str]:
    """Dagster's errors about a dagster.yaml, and about the configuration of each class that it names."""
    from dagster._config import process_config, resolve_to_config_type
    from dagster._core.instance.config import dagster_instance_config_schema
    from dagster._serdes import ConfigurableClassData

    document = _without_environment(document)
    result = process_config(resolve_to_config_type(dagster_instance_config_schema()), document)
    yield from (f"{name}: {error.message}" for error in result.errors or ())
    for part in document.values():
        if isinstance(part, dict) and {"module", "class"} <= part.keys():
            data = ConfigurableClassData(
                part["module"], part["class"], yaml.safe_dump(part.get("config", {}))
            )
            wanted = getattr(
                __import__(data.module_name, fromlist=[data.class_name]), data.class_name
            ).config_type()
            checked = process_config(resolve_to_config_type(wanted), part.get("config", {}))
            yield from (f"{name}: {part['class']}: {error.message}" for error in checked.errors or ())


def objects(file: Path) -> Iterator[str]:
    """Violations of Kubernetes' own schemas, and of our rules for pods."""
    import kubernetes_validate

    for document in yaml.safe_load_all(file.read_text()):
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{file.name}: {document['metadata']['name']}: {error.message}"
        pod = (document.get("spec") or {}).get("template", {}).get("spec")
        if pod is None:
            continue
        name = f"{file.name}: {document['metadata']['name']}"
        if pod.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: its pod has no seccomp profile"
        if "serviceAccountName" not in pod and pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: its pod has a token of the cluster that it does not need"
        for container in pod["containers"]:
            yield from _insecure(container, name)
            if container.get("ports") and not {"readinessProbe", "livenessProbe"} <= container.keys():
                yield f"{name}: its container has no probe"
            for variable in container.get("env", ()):
                if SECRET.search(variable["name"]) and variable.get("value"):
                    yield f"{name}: {variable['name']} is written in the file"
            yield from _login_in_clear(
                {one["name"]: one.get("value") for one in container.get("env", ())}, name
            )


def unit(file: Path = DEPLOY / "systemd" / "dailies.service") -> Iterator[str]:
    """Missing settings, and systemd's errors except that the unit's command and user are not on this machine."""
    text = file.read_text()
    yield from (
        f"{file.name}: {key} is missing"
        for key in ("MemoryMax=", "OOMPolicy=continue")
        if f"\n{key}" not in text
    )
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    yield from _too_short(int(stop[1]) if stop else 90, file.name)
    if shutil.which("systemd-analyze") is None:
        return
    absent = re.compile(r"is not executable|not installed|Unknown user|Unknown group|No such file")
    yield from (
        line
        for line in _findings_of(["systemd-analyze", "verify", str(file)])
        if not absent.search(line) and str(file.name) in line
    )


def dashboard(file: Path = DEPLOY / "grafana" / "dailies.json") -> Iterator[str]:
    """Metrics of the Grafana dashboard that dailies does not export, and exported ones that it does not show."""
    expressions = [
        target["expr"] for panel in json.loads(file.read_text())["panels"] for target in panel["targets"]
    ]
    yield from _unknown(file, expressions)
    named = set(re.findall(METRIC, " ".join(expressions)))
    yield from (f"{file.name}: does not show {name}" for name in sorted(_metrics().keys() - named))


def alarms(file: Path = DEPLOY / "grafana" / "alarms.yaml") -> Iterator[str]:
    """Rules that Prometheus cannot use, and metrics that dailies does not export: such an alarm never rings."""
    for group in yaml.safe_load(file.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("alert", "?")
            if not {"alert", "expr", "annotations"} <= rule.keys() or not rule["annotations"].get("summary"):
                yield f"{file.name}: {name}: an alarm has a name, an expression and a summary"
            if not re.fullmatch(r"\d+[smhd]", str(rule.get("for", "0s"))):
                yield f"{file.name}: {name}: {rule['for']!r} is no duration"
            if rule["expr"].count("(") != rule["expr"].count(")"):
                yield f"{file.name}: {name}: a bracket is missing"
            yield from _unknown(file, [rule["expr"]])


def _unknown(file: Path, expressions: list[str]) -> Iterator[str]:
    ours = _metrics()
    for expression in expressions:
        for name, chosen in re.findall(METRIC + r"(?:\{([^}]*)\})?", expression):
            if name not in ours:
                yield f"{file.name}: {name} is no metric of ours: {expression}"
            elif wrong := set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", chosen)) - ours[name]:
                yield f"{file.name}: {name} has no label {', '.join(sorted(wrong))}: {expression}"


def _metrics() -> dict[str, set[str]]:
    """The labels of each metric, without the version, which no dashboard draws."""
    from resources.metrics import METRICS, VERSION

    return {metric.name: set(metric.labels) for metric in METRICS if metric is not VERSION}


def everything() -> list[str]:
    """All mistakes."""
    helm = DEPLOY / "helm"
    found = [
        *dockerfile(),
        *compose(),
        *values(helm / "values.yaml"),
        *values(helm / "values.yaml", helm / "values.celery.yaml"),
    ]
    for file in sorted(helm.glob("objects*.yaml")):
        found += objects(file)
    for file in (DEPLOY / "compose" / "dagster.yaml", DEPLOY.parent / "dagster.yaml"):
        found += instance(yaml.safe_load(file.read_text()), str(file))
    return [*found, *dashboard(), *alarms(), *unit()]


def _findings_of(command: list[str]) -> list[str]:
    """The lines that a failed check prints."""
    program = shutil.which(command[0], path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        return [f"{command[0]} is not installed: make install-dev"]
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)
    return (
        [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] if done.returncode else []
    )


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _partial(schema: Any) -> Any:
    """The schema for a part of the values: nothing is required, since the chart has defaults, and no other file is looked up."""
    if isinstance(schema, list):
        return [_partial(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    outside = not str(schema.get("$ref", "#")).startswith("#")
    dropped = {"required"} if isinstance(schema.get("required"), list) else set()
    return {
        key: _partial(value)
        for key, value in schema.items()
        if key not in dropped | ({"$ref"} if outside else set())
    }


def _without_environment(value: Any) -> Any:
    """The document with a placeholder for each environment variable."""
    if isinstance(value, list):
        return [_without_environment(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"env"}:
        return "word"
    return {key: _without_environment(one) for key, one in value.items()}


def _snake(value: Any) -> Any:
    if isinstance(value, list):
        return [_snake(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower(): _snake(one) for key, one in value.items()}


if __name__ == "__main__":
    mistakes = everything()
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    sys.exit(1 if mistakes else 0)
