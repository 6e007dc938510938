"""The summary of all rounds: medians, targets, and the table of docs/performance.md."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.flow import Round
from bench.tables import origin, table

TARGETS: dict[str, dict[str, float]] = {
    "leave": {
        "wall_by_ideal": 1.8,
        "runs": 4,
        "requests_per_clip": 6,
        "cpu_by_plain": 2,
        "run_worker_mb": 250,
    },
    "wait": {
        "wall_by_ideal": 1.4,
        "runs": 4,
        "requests_per_clip": 6,
        "cpu_by_plain": 2,
        "run_worker_mb": 250,
    },
}
"""Targets for 100 clips whose jobs take 20 s. Machines differ by a factor of two, so figures that depend on the machine are ratios."""
TARGETS_WITH_PLACES = {"leave": {"wall_by_ideal": 1.15}}
"""Targets for 1,000 clips of 141 s on 300 places, with POSTs of one second."""


@dataclass(frozen=True)
class Figure:
    """One figure: its name in the JSON, its title, and a function of a round and the plain script's median CPU per clip."""

    name: str
    title: str
    of: Callable[[Round, float], float]
    digits: int
    worst: bool = False


LINES = (
    Figure(
        "wall_seconds",
        "wall, s: from the request to the last delivered clip",
        lambda r, _: r.wall_seconds,
        1,
    ),
    Figure(
        "ideal_seconds",
        "ideal wall, s: the last job's end, with POSTs as the provider takes them",
        lambda r, _: r.ideal_seconds,
        1,
    ),
    Figure("longest_job_seconds", "the longest job, s", lambda r, _: r.longest_job_seconds, 1),
    Figure("wall_by_ideal", "wall by the ideal", lambda r, _: r.wall_seconds / r.ideal_seconds, 2),
    Figure("runs", "runs started", lambda r, _: r.runs, 0),
    Figure("requests_per_clip", "requests a clip, CDN included", lambda r, _: r.requests_per_clip, 2),
    Figure("cpu_per_clip", "CPU-s a clip: processes, checks and posters", lambda r, _: r.cpu_per_clip, 2),
    Figure("cpu_by_plain", "CPU by the plain script's", lambda r, plain: r.cpu_per_clip / plain, 2),
    Figure("sandbox_cpu_per_clip", "CPU-s a clip: the sandbox", lambda r, _: r.sandbox_cpu_per_clip, 2),
    Figure("s3_cpu_per_clip", "CPU-s a clip: the S3 server", lambda r, _: r.s3_cpu_per_clip, 2),
    Figure(
        "run_worker_mb",
        "run worker or script, peak MB (largest)",
        lambda r, _: r.peak_mb["worker"],
        0,
        worst=True,
    ),
    Figure(
        "video_worker_mb",
        "video worker, peak MB (largest)",
        lambda r, _: r.peak_mb["child"],
        0,
        worst=True,
    ),
)


def summary(rounds: Sequence[Round], plain: Sequence[Round], targets: dict[str, float]) -> dict[str, Any]:
    """The median of each figure over the rounds (of peaks the largest), whether it meets its target, and the rounds.

    Args:
        plain: Rounds of the plain script.
    """
    figures = {}
    plain_cpu = statistics.median(r.cpu_per_clip for r in plain)
    for line in LINES:
        values = [line.of(r, plain_cpu) for r in rounds]
        figures[line.name] = round(max(values) if line.worst else statistics.median(values), 3)
    return {
        "median": figures,
        "targets": targets,
        "met": {name: figures[name] <= limit for name, limit in targets.items()},
        "rounds": [asdict(r) for r in rounds],
    }


def markdown(document: dict[str, Any]) -> str:
    """The table, with its command and machine."""
    ways: dict[str, Any] = document["ways"]
    titles = {
        "leave": f"submit and leave, {document['clips']} clips",
        "wait": f"wait, {document['clips']} clips",
        "plain": f"a plain script, {document['clips']} clips",
    }
    targets = _targets(ways)
    head = ["", *(titles[way] for way in ways), *(["target"] if targets else [])]
    rows = []
    for line in LINES:
        cells = [f"{ways[way]['median'][line.name]:.{line.digits}f}" for way in ways]
        rows.append([line.title, *cells, *([targets.get(line.name, "")] if targets else [])])
    rounds = f"medians of {document['rounds']} rounds"
    return f"{table(head, rows)}\n\n{origin(document['command'], document['machine'], rounds)}"


def _targets(ways: dict[str, Any]) -> dict[str, str]:
    """The targets of a figure as one cell; if the ways differ, both targets in the ways' order."""
    cells: dict[str, str] = {}
    for line in LINES:
        limits = [way["targets"][line.name] for way in ways.values() if line.name in way["targets"]]
        if limits:
            cells[line.name] = " / ".join(f"≤ {limit:g}" for limit in dict.fromkeys(limits))
    return cells
