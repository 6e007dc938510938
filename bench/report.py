"""What the rounds showed together: medians, targets, and the table of docs/performance.md."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.flow import Round
from bench.tables import origin, table

TARGETS: dict[str, dict[str, float]] = {
    "leave": {
        "wall_seconds": 75,
        "runs": 4,
        "requests_per_clip": 6,
        "cpu_per_clip": 0.5,
        "run_worker_mb": 250,
    },
    "wait": {
        "wall_seconds": 55,
        "runs": 4,
        "requests_per_clip": 6,
        "cpu_per_clip": 0.5,
        "run_worker_mb": 250,
    },
}
"""For 100 clips whose jobs take 20 s, on two cores with nothing else to do."""


@dataclass(frozen=True)
class Line:
    """One figure: its name in the JSON, its title, and how to read it from a round."""

    name: str
    title: str
    of: Callable[[Round], float]
    digits: int
    worst: bool = False


LINES = (
    Line("wall_seconds", "wall, s: from the request to the last delivered clip", lambda r: r.wall_seconds, 1),
    Line("ideal_seconds", "ideal wall, s: the longest job", lambda r: r.ideal_seconds, 1),
    Line("runs", "runs started", lambda r: r.runs, 0),
    Line("requests_per_clip", "requests a clip, CDN included", lambda r: r.requests_per_clip, 2),
    Line(
        "cpu_per_clip", "CPU-s a clip: Dagster, run workers, checks and posters", lambda r: r.cpu_per_clip, 2
    ),
    Line("sandbox_cpu_per_clip", "CPU-s a clip: the sandbox", lambda r: r.sandbox_cpu_per_clip, 2),
    Line("s3_cpu_per_clip", "CPU-s a clip: the S3 server", lambda r: r.s3_cpu_per_clip, 2),
    Line(
        "run_worker_mb",
        "run worker, peak MB (largest)",
        lambda r: r.peak_mb["worker"],
        0,
        worst=True,
    ),
    Line(
        "video_worker_mb",
        "video worker or step worker, peak MB (largest)",
        lambda r: r.peak_mb["child"],
        0,
        worst=True,
    ),
)


def summary(rounds: Sequence[Round], targets: dict[str, float]) -> dict[str, Any]:
    """Each figure's median over the rounds (the peak's largest), whether it meets its target, and the rounds."""
    figures = {}
    for line in LINES:
        values = [line.of(r) for r in rounds]
        figures[line.name] = round(max(values) if line.worst else statistics.median(values), 3)
    return {
        "median": figures,
        "targets": targets,
        "met": {name: figures[name] <= limit for name, limit in targets.items()},
        "rounds": [asdict(r) for r in rounds],
    }


def markdown(document: dict[str, Any]) -> str:
    """The table, with the command and the machine it comes from."""
    ways: dict[str, Any] = document["ways"]
    titles = {
        "leave": f"submit and leave, {document['clips']} clips",
        "wait": f"wait, {document['clips']} clips",
        "naive": f"a run a clip that polls, {document['naive_clips']} clips",
    }
    targets = _targets(ways)
    head = ["", *(titles[way] for way in ways), *(["target"] if targets else [])]
    rows = []
    for line in LINES:
        cells = [f"{ways[way]['median'][line.name]:.{line.digits}f}" for way in ways]
        rows.append([line.title, *cells, *([targets.get(line.name, "")] if targets else [])])
    rounds = f"medians of {document['rounds']} rounds, the naive pipeline once"
    return f"{table(head, rows)}\n\n{origin(document['command'], document['machine'], rounds)}"


def _targets(ways: dict[str, Any]) -> dict[str, str]:
    """Each target as one cell; where the ways have their own, both in their order."""
    cells: dict[str, str] = {}
    for line in LINES:
        limits = [way["targets"][line.name] for way in ways.values() if line.name in way["targets"]]
        if limits:
            cells[line.name] = " / ".join(f"≤ {limit:g}" for limit in dict.fromkeys(limits))
    return cells
