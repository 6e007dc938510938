"""How fast files reach the bucket, compared with `curl | curl` and `rclone copyurl`: `make bench-transfer ARGS=--markdown`.

In every round, 20 files of 20 MB go from an HTTPS server on this machine to the embedded S3 server in all three ways, one and four at
a time. Then the same with connections limited to 20 MB/s to both servers, and the peak memory of a process that moves files of 1 to
200 MB. Takes about four minutes. After every way the stored files are compared with the served ones.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.machine import environment, machine
from bench.tables import origin, table
from bench.transfers.stage import TransferSite, staged
from bench.transfers.ways import Dailies, Files, Moved, curl, rclone, startup_seconds

MB = 1_000_000
CPU_TARGET, NETWORK_TARGET = 0.6, 0.95
MEMORY_MB = 64
LARGER = (1, 10, 50, 100, 200)
WAYS = ("dailies", "curl | curl", "rclone copyurl")

Way = Callable[[Files, int], Moved]


def compare(
    folder: Path, *, files: int, size_mb: int, rounds: int, rate_mb: float | None
) -> list[dict[str, Any]]:
    """Move the files in all three ways, one and four at a time."""
    sizes = {f"{number}.mp4": size_mb * MB for number in range(files)}
    found: dict[tuple[str, int], list[Moved]] = {}
    with (
        staged(folder, sizes, rate=None if rate_mb is None else rate_mb * MB) as stage,
        Dailies(stage) as own,
    ):
        ways: dict[str, Way] = dict(zip(WAYS, (own, curl(stage, folder), rclone(stage, folder)), strict=True))
        own([("0.mp4", "warm-up.mp4")], 1)
        _check_and_remove(stage, folder, [("0.mp4", "warm-up.mp4")])
        for number in range(rounds):
            for at_once in (1, 4):
                for name, way in ways.items():
                    keys = [(file, f"{name.split()[0]}-{number}-{at_once}-{file}") for file in sizes]
                    found.setdefault((name, at_once), []).append(way(keys, at_once))
                    _check_and_remove(stage, folder, keys)
    total = files * size_mb
    return [
        {
            "way": name,
            "at_once": at_once,
            "mb_per_s": round(statistics.median(total / one.seconds for one in moved)),
            "rounds": [round(total / one.seconds) for one in moved],
            "cpu_ms_per_mb": round(statistics.median(one.cpu_seconds * 1000 / total for one in moved), 2),
        }
        for (name, at_once), moved in found.items()
    ]


def _check_and_remove(stage: TransferSite, folder: Path, keys: Files) -> None:
    """Compare the bucket's files, which are plain files, with the served ones, and remove them to make room."""
    for name, key in keys:
        stored = stage.s3.folder / stage.s3.bucket / key
        if _digest(stored) != _digest(folder / "served" / name):
            raise RuntimeError(f"{key} differs from the served file")
        stored.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory(folder: Path) -> list[dict[str, Any]]:
    """The peak memory of one process that moves ever larger files, four at once."""
    rows = []
    sizes = {f"{size}-mb-{number}.mp4": size * MB for size in LARGER for number in range(4)}
    with staged(folder, sizes, rate=None) as stage, Dailies(stage) as own:
        for size in LARGER:
            keys = [(f"{size}-mb-{number}.mp4", f"memory-{size}-{number}.mp4") for number in range(4)]
            moved = own(keys, 4)
            _check_and_remove(stage, folder, keys)
            rows.append({"file_mb": size, "peak_mb": round(moved.peak_mb or 0, 1)})
    return rows


def ratios(rows: list[dict[str, Any]]) -> dict[int, float]:
    """Our throughput divided by rclone's, one and four at a time."""
    speed = {(row["way"], row["at_once"]): row["mb_per_s"] for row in rows}
    return {n: round(speed["dailies", n] / speed["rclone copyurl", n], 2) for n in (1, 4)}


def markdown(result: dict[str, Any]) -> str:
    """The result as tables."""
    rows = []
    for title, found in (("processor", result["processor"]), ("lines of 20 MB/s", result["network"])):
        for way in WAYS:
            one, four = (next(r for r in found if r["way"] == way and r["at_once"] == n) for n in (1, 4))
            name = f"{title}: {way.replace('|', chr(92) + '|')}"
            cpu = f"{one['cpu_ms_per_mb']} / {four['cpu_ms_per_mb']}"
            rows.append((name, one["mb_per_s"], four["mb_per_s"], cpu))
        by = ratios(found)
        rows.append(("**dailies by rclone**", f"**{by[1]:.2f}**", f"**{by[4]:.2f}**", ""))
    peaks = ", ".join(f"{row['peak_mb']:.0f}" for row in result["memory"])
    sizes = ", ".join(map(str, LARGER))
    rounds = f"medians of {result['rounds']} rounds"
    return "\n\n".join(
        [
            table(("MB/s", "1 at a time", "4 at a time", "CPU ms a MB, 1 / 4"), rows),
            f"Peak memory of the process, four files at once of {sizes} MB: {peaks} MB.",
            origin(result["command"], result["machine"], rounds),
        ]
    )


def misses(result: dict[str, Any]) -> list[str]:
    """Targets that were missed."""
    found = []
    for title, target in (("processor", CPU_TARGET), ("network", NETWORK_TARGET)):
        for at_once, ratio in ratios(result[title]).items():
            if ratio < target:
                found.append(f"{title}, {at_once} at a time: {ratio:.2f} of rclone, wanted are {target:.2f}")
    grown = result["memory"][-1]["peak_mb"] - result["memory"][0]["peak_mb"]
    if grown > MEMORY_MB:
        found.append(f"memory grows by {grown:.0f} MB, wanted are less than {MEMORY_MB}")
    return found


def main() -> None:
    """Measure, print the result, and name missed targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="files of a round")
    parser.add_argument("--size-mb", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-files", type=int, default=8, help="files of the round with slow lines")
    parser.add_argument("--markdown", action="store_true", help="print tables instead of the JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dailies-transfer-") as name, environment({}):
        folder = Path(name)
        result = {
            "machine": machine(),
            "command": "python -m bench.transfer --markdown",
            "rounds": options.rounds,
            "startup_seconds": round(startup_seconds(), 2),
            "processor": compare(
                folder, files=options.clips, size_mb=options.size_mb, rounds=options.rounds, rate_mb=None
            ),
            "network": compare(
                folder, files=options.slow_files, size_mb=options.size_mb, rounds=1, rate_mb=20
            ),
            "memory": memory(folder),
        }
    print(markdown(result) if options.markdown else json.dumps(result, indent=2))
    for line in misses(result):
        print(f"missed: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
