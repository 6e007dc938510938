"""One round: real workers produce clips under faults, then the faults stop, then the judge applies the laws."""

import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from proof.clock import FastClock
from proof.faults.crew import Crew
from proof.faults.evidence import gather, gather_words
from proof.faults.judge import judge
from proof.faults.outages import World, small_disk
from proof.faults.storm import RoundOutcome, Storm, StormScale
from proof.stand_in.providers import KEY, NAMES, Providers
from proof.verdicts import judge_verdicts
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.sandbox.endpoints import SandboxEndpoint, load_endpoints
from resources.storage.embedded import EmbeddedS3

MAX_SECONDS = 600.0
"""Seconds after which the clips' jobs are overdue."""


def requests(
    clips: int, *, takes: int = 1, prefix: str = "clip", drafts: float = 0.0
) -> list[dict[str, Any]]:
    """Requests of clips, spread evenly over the providers and over each provider's models.

    Args:
        drafts: The share of drafts: their finish is the same model's, of another length.
    """
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
        bought = _bought(provider, model, sold[model], body)
        others = [value for value in lengths if value != body["duration"]]
        # every n-th clip of a provider
        is_draft = bool(others) and int((turn + 1) * drafts) > int(turn * drafts)
        finish = _bought(provider, model, sold[model], {**body, "duration": others[0]}) if is_draft else None
        made.append(
            {
                "clip": clip,
                "series": "faults",
                **bought,
                "max_attempts": 2,
                "takes": takes,
                **({"finish": {"choice": finish}, "review": {"by": "person"}} if finish else {}),
            }
        )
    return made


def _bought(provider: str, model: str, sold: SandboxEndpoint, body: dict[str, Any]) -> dict[str, Any]:
    """The order at one endpoint."""
    return {
        "provider": provider,
        "endpoint": model,
        "body": body,
        "price_micros": sold.cost(sold.read(body)),
        "expected": {"duration": _seconds(body["duration"])},
        "max_seconds": MAX_SECONDS,
        "seed": {"name": "seed"} if "seed" in sold.parameters else None,
    }


def _seconds(length: object) -> int:
    """A length as models write it: 5, `5` or `8s`; 0 for one that the model chooses."""
    digits = str(length).removesuffix("s")
    return int(digits) if digits.isdigit() else 0


def run_round(scale: StormScale, folder: Path, ledger_url: str | None = None) -> RoundOutcome:
    """Run one round.

    Args:
        scale: The size of the round and its faults.
        folder: A separate folder for all files.
        ledger_url: An empty database; None makes a SQLite file, on a separate small disk if one can be mounted.
    """
    with contextlib.ExitStack() as stack:
        ledger_folder = folder / "ledger"
        ledger_folder.mkdir()
        disk = None if ledger_url or not scale.troubles else stack.enter_context(small_disk(ledger_folder))
        url = ledger_url or f"sqlite:///{ledger_folder}/ledger.db"
        s3 = stack.enter_context(EmbeddedS3(folder / "s3"))
        pace = FastClock(time.time(), scale.pace)
        providers = stack.enter_context(Providers(folder, pace, scale.mischief))
        clips = requests(scale.clips, takes=scale.takes, drafts=scale.drafts)
        later = requests(max(scale.clips // 50, 8), prefix="later")
        place = folder / "place.json"
        document = _place(folder, url, providers, s3, pace, clips + later, dedicated=scale.dedicated)
        said = folder / "said.jsonl"
        document |= {
            "settle": scale.settle,
            "said": str(said) if scale.drafts else None,
            "forgets_finishes": scale.forgets_finishes,
        }
        place.write_text(json.dumps(document))
        if scale.forgets_finishes:
            _drop_the_index(url)
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
            # the small disk is unmounted after the round
            with (
                contextlib.closing(sqlite3.connect(ledger_folder / "ledger.db")) as kept,
                contextlib.closing(sqlite3.connect(folder / "ledger.db")) as copy,
            ):
                kept.backup(copy)
        outcome.verdict = judge(findings, providers.sha256, takes=scale.takes)
        if scale.drafts:
            words = gather_words(url, folder / "s3" / s3.bucket, said)
            outcome.verdict.violations += judge_verdicts(words)
            outcome.verdict.words = {
                "verdicts": len(words.verdicts),
                "circled_drafts": len(
                    {
                        v["attempt_id"]
                        for v in words.verdicts
                        if v["word"] == "circled" and v["way"] != "finish"
                    }
                ),
                "finishes": len(words.finishes),
                "delivered_finishes": sum(row["state"] == "delivered" for row in words.finishes),
                "waiting_finishes": len(words.waiting),
            }
        outcome.faults = dict(sorted(findings.books.faults.items()))
    return outcome


def _drop_the_index(url: str) -> None:
    """Make the ledger without its index of finishes, for the negative control."""
    with Ledger(url, budget=Budget()) as ledger, ledger.write() as connection:
        connection.execute(sa.text("DROP INDEX one_finish_per_draft"))


def _place(
    folder: Path,
    url: str,
    providers: Providers,
    s3: EmbeddedS3,
    pace: FastClock,
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
    """Print a line on standard error before and after the block."""
    began = time.monotonic()
    print(f"{what} ...", file=sys.stderr, flush=True)
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
