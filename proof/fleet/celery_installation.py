"""The same Dagster with its runs on Celery workers, configured by the files of `deploy/helm`; the broker is a database of the same PostgreSQL."""

import sys
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
import yaml

from proof.children import ROOT
from proof.fleet.fleet import WORKERS
from proof.fleet.hosts import Host
from proof.fleet.installation import Installation
from resources.storage.embedded import EmbeddedS3

HELM = ROOT / "deploy" / "helm"
RUNS_A_WORKER = "2"
"""Instead of the ten of the shipped file: the hosts of a proof share one machine."""


class CeleryInstallation(Installation):
    """Celery workers execute the runs that the daemon queues; the code servers only answer Dagster."""

    def __enter__(self) -> Self:
        self._celery_database = sa.make_url(self.database.empty_database()).database
        super().__enter__()
        try:
            _, worker = _objects()
            (container,) = worker["spec"]["template"]["spec"]["containers"]
            arguments = [*container["args"], "-c", RUNS_A_WORKER]
            for name in WORKERS:
                self._add(name, "celery", sys.executable, "-m", *arguments)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _prepare(self, host: Host, s3: EmbeddedS3, dagster_url: str) -> None:
        super()._prepare(host, s3, dagster_url)
        variables = self.variables[host.name]
        url = sa.make_url(variables["DAGSTER_PG_URL"]).set(database=self._celery_database)
        variables["CELERY_BROKER"] = f"sqla+{url}"
        variables["CELERY_BACKEND"] = f"db+{url}"
        settings, _ = _objects()
        for file, text in settings["data"].items():
            (self.folder / host.name / "site" / file).write_text(text)

    def _dagster_yaml(self, place: Path) -> dict[str, Any]:
        values = yaml.safe_load((HELM / "values.celery.yaml").read_text())
        launcher = values["runLauncher"]["config"]["customRunLauncher"]
        return super()._dagster_yaml(place) | {"run_launcher": launcher}


def _objects() -> list[dict[str, Any]]:
    """Kubernetes objects of the workers and their settings."""
    return list(yaml.safe_load_all((HELM / "objects.celery.yaml").read_text()))
