"""The environment of a round, without the person's own settings, and facts about the machine."""

import contextlib
import datetime as dt
import heapq
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from resources.providers.registry import registered
from resources.settings import names

OURS = ("DAILIES_", "DAGSTER_", "AWS_")


def is_ours(name: str) -> bool:
    """Whether a variable could change the result, or holds a provider's key."""
    return name.startswith(OURS) or name in names()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the block, and remove every variable that could change the result."""
    before = dict(os.environ)
    for name in before:
        if is_ours(name):
            del os.environ[name]
    # the project's .env holds the person's settings too
    os.environ.update({"DAILIES_ENV_FILE": "", **values})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def machine() -> dict[str, Any]:
    """Facts about the machine that the figures depend on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": model,
        "python": platform.python_version(),
        "dagster": version("dagster"),
        "load_before": os.getloadavg()[0],
    }


def read_books(sandbox_url: str) -> dict[str, Any]:
    """The sandbox's own record of every job and every request."""
    answer = httpx.get(f"{sandbox_url}/admin/books", timeout=60, trust_env=False)
    return dict(answer.raise_for_status().json())


def requests_of(books: Mapping[str, Any]) -> dict[str, int]:
    """Number of requests that the sandbox received, by provider and operation, e.g. `wavespeed poll` and `cdn cdn`."""
    return {
        f"{provider} {operation}": count
        for provider, counts in sorted(books["counts"].items())
        for operation, count in sorted(counts.items())
    }


def ideal_seconds(books: Mapping[str, Any], places: int | None, *, post_seconds: float = 0) -> float:
    """Seconds until the last job's end if each place is filled again the moment it is free: no pipeline can be faster.

    Args:
        books: The sandbox's record.
        places: Jobs that work at once; None if all do.
        post_seconds: Seconds of a POST to a provider that receives one at a time; 0 if all are sent at once.
    """
    jobs = sorted(books["jobs"], key=lambda job: float(job["starts_at"]))
    free_at = [0.0] * min(places or len(jobs), len(jobs))
    for number, job in enumerate(jobs, 1):
        began = max(free_at[0], number * post_seconds)
        heapq.heapreplace(free_at, began + float(job["ends_at"]) - float(job["starts_at"]))
    return max(free_at)


def places_variables(places: int | None) -> dict[str, str]:
    """The variables that give every provider's account this many places."""
    if places is None:
        return {}
    return {spec.variable("max_in_flight"): str(places) for spec in registered().values()}
