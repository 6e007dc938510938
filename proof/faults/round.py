"""One round: clips go through real workers while the world breaks, then the faults stop, then the judge speaks."""

import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proof.clock import Pace
from proof.faults.crew import Crew
from proof.faults.evidence import gather
from proof.faults.judge import judge
from proof.faults.outages import World, small_disk
from proof.faults.storm import Outcome, Scale, Storm
from proof.stand_in.providers import KEY, NAMES, Providers
from resources.sandbox.endpoints import load_endpoints
from resources.storage.embedded import EmbeddedS3

MAX_SECONDS = 600.0
"""When the clips' jobs are overdue."""


def requests(clips: int, *, takes: int = 1, prefix: str = "clip") -> list[dict[str, Any]]:
    """Requests of clips, spread evenly over the providers and over each provider's models."""
    made = []
    for number in range(clips):
        provider = NAMES[number % len(NAMES)]
        sold = {
            name: e
            for name, e in load_endpoints()[provider].items()
            if e.type == "text-to-video" and "duration" in e.parameters
        }
        turn = number // len(NAMES)
        model = list(sold)[turn % len(sold)]
        lengths = [v for v in sold[model].parameters["duration"].values or (4, 8) if _seconds(v) > 0]
        clip = f"{prefix}-{number:04}"
        body = {"prompt": f"A lighthouse in a storm [{clip}]", "duration": lengths[turn % 2 % len(lengths)]}
        made.append(
            {
                "clip": clip,
                "series": "faults",
                "provider": provider,
                "endpoint": model,
                "body": body,
                "price_micros": sold[model].cost(sold[model].read(body)),
                "expected": {"duration": _seconds(body["duration"])},
                "max_seconds": MAX_SECONDS,
                "max_attempts": 2,
                "takes": takes,
                "seed": {"name": "seed"} if "seed" in sold[model].parameters else None,
            }
        )
    return made


def _seconds(length: object) -> int:
    """A length as models write it: 5, `5` or `8s`; 0 for one that the model chooses."""
    digits = str(length).removesuffix("s")
    return int(digits) if digits.isdigit() else 0


def run_round(scale: Scale, folder: Path, ledger_url: str | None = None) -> Outcome:
    """Run one round.

    Args:
        scale: How large and how hard.
        folder: Of its own, for everything.
        ledger_url: An empty database; None makes a SQLite file, on a small disk of its own where one can be mounted.
    """
    with contextlib.ExitStack() as stack:
        ledger_folder = folder / "ledger"
        ledger_folder.mkdir()
        disk = None if ledger_url or not scale.troubles else stack.enter_context(small_disk(ledger_folder))
        url = ledger_url or f"sqlite:///{ledger_folder}/ledger.db"
        s3 = stack.enter_context(EmbeddedS3(folder / "s3"))
        pace = Pace(time.time(), scale.pace)
        providers = stack.enter_context(Providers(folder, pace, scale.mischief))
        clips = requests(scale.clips, takes=scale.takes)
        later = requests(max(scale.clips // 50, 8), prefix="later")
        place = folder / "place.json"
        document = _place(folder, url, providers, s3, pace, clips + later, dedicated=scale.dedicated)
        place.write_text(json.dumps({**document, "settle": scale.settle}))
        crew = stack.enter_context(Crew(place, folder / "logs"))
        world = World(url, s3, providers.pids, pace=pace, small_disk=disk)
        storm = Storm(scale, pace, providers, crew, world, url)
        try:
            storm.blow([c["clip"] for c in clips])
            outcome = storm.calm([c["clip"] for c in later])
        finally:
            storm.reaper.wake(everybody=True)
        findings = gather(
            providers.books(),
            url,
            folder / "s3" / s3.bucket,
            clips={c["clip"] for c in clips + later},
            skews=crew.skews,
            now=pace.clock(),
        )
        findings.settle.update(scale.settle)
        findings.max_seconds = MAX_SECONDS
        findings.dedicated = scale.dedicated
        if ledger_url is None:
            # the small disk goes with the round
            with (
                contextlib.closing(sqlite3.connect(ledger_folder / "ledger.db")) as kept,
                contextlib.closing(sqlite3.connect(folder / "ledger.db")) as copy,
            ):
                kept.backup(copy)
        outcome.verdict = judge(findings, providers.sha256, takes=scale.takes)
        outcome.faults = dict(sorted(findings.books.faults.items()))
    return outcome


def _place(
    folder: Path,
    url: str,
    providers: Providers,
    s3: EmbeddedS3,
    pace: Pace,
    clips: list[dict[str, Any]],
    *,
    dedicated: bool,
) -> dict[str, Any]:
    scratch = folder / "scratch"
    scratch.mkdir()
    secret = s3.settings.secret_access_key
    return {
        "ledger_url": url,
        "urls": providers.urls,
        "key": KEY,
        "s3": {
            **s3.settings.model_dump(exclude={"secret_access_key"}),
            "secret_access_key": secret.get_secret_value() if secret else "",
            "ride_out_seconds": 60 / pace.factor,
        },
        "scratch": str(scratch),
        "clips": clips,
        "origin": pace.origin,
        "factor": pace.factor,
        "in_flight": None,
        "dedicated": dedicated,
    }


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """A line on standard error before and after."""
    began = time.monotonic()
    print(f"{what} ...", file=sys.stderr, flush=True)
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
