"""Error rates and cost of the checks of a clip: `python -m bench.checks --markdown`.

Good and bad clips are made from FFmpeg's test sources (about eight minutes), inspected in the guarded process and judged with the
default settings. There are two sets of sources; no threshold was chosen by the second. Its clips are also made with a key frame every
second, because the inspection then skips frames. A false alarm is a good clip that fails a check; a miss is a bad clip that passes it.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.films.encoder import Film, Filter, make
from bench.films.samples import COPIES, OTHERS, SOURCES, Shot, bad, good
from bench.machine import machine
from bench.processes import read_process
from bench.tables import origin, table
from resources.checks import Checks
from resources.orders import ClipRequest, Expected
from resources.video.facts import Inspection
from resources.video.inspector import VideoInspector
from resources.video.judge import judge
from resources.video.perceptual_hash import colour_distance, distance, same

BITS = Checks().duplicate_bits
SHORTEST = Checks().shortest_stretch_seconds
CLOSE = {"g": "24", "keyint_min": "24"}
"""Encoder options: a key frame every second in films of 24 frames a second."""


def asked_for(shot: Shot) -> ClipRequest:
    """The request that a shot answers; a good shot is what the request asks for."""
    film = shot.film if shot.wrong not in {"size", "duration", "frame_rate"} else Film("", ("", ""))
    expected = Expected(
        width=film.size[0], height=film.size[1], duration=film.seconds, audio=True, fps=film.fps
    )
    return ClipRequest(
        clip="a-clip",
        series="a-series",
        provider="wavespeed",
        endpoint="model",
        body={},
        price_micros=0,
        expected=expected,
    )


def look(shots: list[Shot], folder: Path) -> list[Inspection]:
    """Make and inspect every shot."""
    with VideoInspector(workers=2) as inspector, ThreadPoolExecutor(2) as pool:

        def one(numbered: tuple[int, Shot]) -> Inspection:
            path = make(numbered[1].film, folder / f"{numbered[0]}.mp4")
            found = inspector.inspect(path, shortest_seconds=SHORTEST)
            path.unlink()
            return found

        return list(pool.map(one, enumerate(shots)))


def wrong_verdicts(folder: Path, sources: dict[str, Filter], options: dict[str, str]) -> dict[str, Any]:
    """False alarms on good clips and misses on bad clips, by check."""
    shots = [encoded(shot, options) for shot in (*good(sources), *bad(sources))]
    alarms, misses, asked = Counter[str](), Counter[str](), Counter[str]()
    said = []
    for shot, found in zip(shots, look(shots, folder), strict=True):
        minded = {c.name: c for c in judge(found, asked_for(shot)) if c.outcome in {"warned", "failed"}}
        if shot.wrong is None:
            asked.update(c.name for c in judge(found, asked_for(shot)) if c.outcome != "skipped")
            alarms.update(minded.keys())
            said += [f"false alarm: {shot.film.name}: {c.detail}" for c in minded.values()]
            continue
        asked[f"bad {shot.wrong}"] += 1
        if shot.wrong not in minded:
            misses[shot.wrong] += 1
            said.append(f"miss: {shot.film.name}: {shot.wrong}")
        others = minded.keys() - {shot.wrong}
        alarms.update(others)
        said += [f"besides {shot.wrong}: {shot.film.name}: {minded[name].detail}" for name in others]
    names = ("size", "duration", "frame_rate", "codecs", "audio", "coverage", "silence", "black", "frozen")
    return {
        "checks": {
            name: {
                "good": asked[name],
                "false_alarms": alarms[name],
                "bad": asked[f"bad {name}"],
                "missed": misses[name],
            }
            for name in names
        },
        "said": said,
    }


def encoded(shot: Shot, options: dict[str, str]) -> Shot:
    """The shot with further options of the encoder; its own options win."""
    if shot.film.codec != "libx264":
        return shot
    return replace(shot, film=replace(shot.film, options=options | shot.film.options))


def duplicates(folder: Path, sources: dict[str, Filter], options: dict[str, str]) -> dict[str, Any]:
    """Count missed copies, and different clips that were taken for copies.

    Args:
        options: Options of the encoder for the copies: a copy's key frames may be elsewhere than its original's.
    """
    originals = [Film(name, source) for name, source in sources.items()]
    originals += [
        Film(f"gradient {seed}", ("gradients", f"s=480x270:r=24:n=4:speed=0.06:seed={seed}"))
        for seed in range(20, 32)
    ]
    copied = originals[: len(sources)]
    copies = [replace(film, **change) for film in copied for change in COPIES.values()]  # type: ignore[arg-type]
    found = look([*map(Shot, originals), *(encoded(Shot(film), options) for film in copies)], folder)
    looks = [one.looked.look if one.looked else None for one in found]
    missed, pairs, alarms, nearest = 0, 0, 0, 64.0
    said = []
    for number, film in enumerate(copies):
        mine, original = looks[len(originals) + number], looks[number // len(COPIES)]
        if mine is None or original is None or not same(mine, original, bits=BITS):
            missed += 1
            how = list(COPIES)[number % len(COPIES)]
            said.append(f"copy missed: {film.name}, {how}: {_apart(mine, original)}")
    for (one, mine), (two, theirs) in combinations(zip(originals, looks[: len(originals)], strict=True), 2):
        if mine is None or theirs is None:
            continue
        pairs += 1
        nearest = min(nearest, distance(mine, theirs))
        if same(mine, theirs, bits=BITS):
            alarms += 1
            said.append(f"taken for copies: {one.name} and {two.name}: {_apart(mine, theirs)}")
    return {
        "copies": len(copies),
        "missed": missed,
        "pairs": pairs,
        "false_alarms": alarms,
        "nearest_bits": nearest,
        "said": said,
    }


def _apart(one: str | None, other: str | None) -> str:
    if one is None or other is None:
        return "a clip without shapes"
    return f"{distance(one, other):.1f} bits, {colour_distance(one, other):.1f} levels of colour"


def costs(folder: Path) -> list[dict[str, Any]]:
    """CPU seconds of the guarded process for each second of video, without the process's start."""
    rows = []
    for name, size, codec, options in (
        ("720p H.264", (1280, 720), "libx264", {}),
        ("720p H.264, a key frame a second", (1280, 720), "libx264", CLOSE),
        ("1080p H.264", (1920, 1080), "libx264", {}),
        ("1080p H.264, a key frame a second", (1920, 1080), "libx264", CLOSE),
        ("1080p HEVC", (1920, 1080), "libx265", {}),
        ("1080p AV1", (1920, 1080), "libsvtav1", {}),
    ):
        quality = 40 if codec == "libsvtav1" else 20
        film = Film(
            name,
            SOURCES["zoom"],
            (("noise", "alls=6:allf=t"),),
            size=size,
            codec=codec,
            quality=quality,
            options=options,
        )
        path = make(film, folder / "cost.mp4")
        with VideoInspector() as inspector:
            inspector.inspect(path, shortest_seconds=SHORTEST)
            before = _seconds(inspector)
            rounds = 3
            for _ in range(rounds):
                inspector.inspect(path, shortest_seconds=SHORTEST)
            spent = (_seconds(inspector) - before) / rounds
        rows.append({"clip": name, "cpu_seconds_per_second": round(spent / film.seconds, 3)})
    return rows


def _seconds(inspector: VideoInspector) -> float:
    process = read_process(inspector.pids[0])
    if process is None:
        raise RuntimeError("the guarded process has ended")
    return process.own


def markdown(result: dict[str, Any]) -> str:
    """The result as tables."""
    rows: list[tuple[object, ...]] = []
    for of, one in result["sets"].items():
        for name, found in one["verdicts"]["checks"].items():
            rows.append(
                (f"{of}: {name}", found["good"], found["false_alarms"], found["bad"], found["missed"])
            )
        twins = one["duplicates"]
        pairs, copies = f"{twins['pairs']} pairs", f"{twins['copies']} copies"
        rows.append((f"{of}: duplicate", pairs, twins["false_alarms"], copies, twins["missed"]))
    costs = [(row["clip"], row["cpu_seconds_per_second"]) for row in result["costs"]]
    return "\n\n".join(
        [
            table(("check", "good clips", "false alarms", "bad clips", "missed"), rows),
            table(("clip", "CPU-s a second of video"), costs),
            origin("python -m bench.checks --markdown", result["machine"]),
        ]
    )


def main() -> None:
    """Make the clips, judge them, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print tables instead of the JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dailies-checks-") as name:
        folder = Path(name)
        result = {
            "machine": machine(),
            "sets": {
                name: {
                    "verdicts": wrong_verdicts(folder, sources, encoding),
                    "duplicates": duplicates(folder, sources, encoding),
                }
                for name, sources, encoding in (
                    ("first", SOURCES, {}),
                    ("others", OTHERS, {}),
                    ("others, key frames", OTHERS, CLOSE),
                )
            },
            "costs": costs(folder),
        }
    print(markdown(result) if options.markdown else json.dumps(result, indent=2))
    for name, one in result["sets"].items():  # type: ignore[attr-defined]
        for line in one["verdicts"]["said"] + one["duplicates"]["said"]:
            print(f"{name}: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
