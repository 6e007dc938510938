"""What a key press costs in the room with many clips: CPU of the page's own thread, also as a ratio to a fixed piece of work.

python -m bench.room --clips 100

On a busy machine every step takes longer. The CPU seconds of the page's thread do not change with the load, and their ratio to a
fixed piece of work does not change with the machine. Needs Chromium.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.films.encoder import Film, make
from bench.tables import table
from resources.ledger import polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.deliveries import record_delivered
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.orders import ClipRequest, Expected
from resources.providers.base import Accepted, JobState, JobStatus
from resources.providers.provider import Capabilities
from resources.room.page_requests import RoomHouse
from resources.room.server import RoomServer
from resources.series.review_rules import ReviewRules
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore

TAKES = 3
TERMS = Capabilities(echoes_submission_id=True, output_seconds=None, settle_seconds=60)
WORK = """() => { let found = 0;
  for (let round = 0; round < 60; round += 1) found += JSON.stringify(JSON.parse(JSON.stringify([...Array(20000).keys()]))).length;
  return found; }"""
"""A fixed piece of work, about 100 ms of CPU on the machine of docs/performance.md."""
PATIENCE_MS = 120_000


def main() -> None:
    """Print the figures; exit with 1 if more than one step in twenty costs more than the fixed piece of work."""
    parser = argparse.ArgumentParser(description="CPU of each key in the room.")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _room(Path(folder), asked.clips) as url:
        work, steps = _judge(url, asked.clips)
    late = {key: statistics.quantiles(found, n=20)[-1] for key, found in steps.items()}
    if asked.json:
        print(json.dumps({"work_ms": work, "steps_ms": steps}))
    else:
        head = ["key", "times", "CPU ms, median", "one of twenty", "most", "one of twenty, of the fixed work"]
        rows = [
            (
                key,
                len(found),
                *(f"{ms:.0f}" for ms in (statistics.median(found), late[key], max(found))),
                f"{late[key] / work:.2f}",
            )
            for key, found in steps.items()
        ]
        print(table(head, rows))
        print(f"\nThe fixed work takes {work:.0f} ms of CPU in the same page.")
    raise SystemExit(max(late.values()) > work)


@contextlib.contextmanager
def _room(folder: Path, clips: int) -> Iterator[str]:
    """Start a room with this many clips; yields its address."""
    with EmbeddedS3(folder / "s3") as s3, Ledger(f"sqlite:///{folder}/ledger.db", budget=Budget()) as ledger:
        store = ObjectStore(s3.settings)
        _fill(ledger, store, folder, clips)
        with RoomServer(RoomHouse(ledger, store, ReviewRules, dict, None, folder)) as server:
            yield server.url


def _fill(ledger: Ledger, store: ObjectStore, folder: Path, clips: int) -> None:
    film = folder / "film.mp4"
    make(Film("film", ("testsrc2", "d=1"), seconds=1.0, size=(320, 180)), film)
    store.put_bytes("videos/bench/film.mp4", film.read_bytes(), content_type="video/mp4")
    words = "A quiet bay in the morning, seen from the pier, with boats that turn slowly on their lines. " * 6
    for number in range(clips * TAKES):
        request = ClipRequest(
            clip=f"bay-{number // TAKES:04}", series="bay", provider="wavespeed", endpoint="bytedance/seedance-2.0/text-to-video",
            body={"prompt": f"{words} Take {number}.", "seed": number}, price_micros=400_000, expected=Expected(),
        )  # fmt: skip
        decide(ledger, [request], Decision(f"take-{number}", regenerate=True))
        submission = claim_next(ledger, "wavespeed", PostTerms(Limits(), 30))
        assert isinstance(submission, Submission), submission
        job = f"job-{number}"
        attempt = record_outcome(ledger, submission, Accepted(job, None, {"id": job}))
        seen = JobState(JobStatus.SUCCEEDED, "completed", outputs=("https://cdn.example/clip.mp4",))
        attempt = polls.record_end(ledger, attempt, seen, TERMS)
        facts = {"width": 320, "height": 180, "duration": 1.0, "has_audio": False}
        delivery = {
            "key": "videos/bench/film.mp4",
            "video": facts,
            "checks": {"whole": "passed", "size": "passed"},
        }
        record_delivered(ledger, attempt.id, delivery)


def _judge(url: str, clips: int) -> tuple[float, dict[str, list[float]]]:
    """CPU milliseconds of the fixed work, and of each step by its key."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            found = session.send("Performance.getMetrics")["metrics"]
            return 1000 * float(next(one["value"] for one in found if one["name"] == "TaskDuration"))

        page.goto(url)
        page.locator(".take").first.wait_for(timeout=PATIENCE_MS)
        page.evaluate(WORK)
        before = spent()
        page.evaluate(WORK)
        work = spent() - before
        steps: dict[str, list[float]] = {}
        for _ in range(clips):
            for key in ("1", "x", "h", "2", "Enter"):
                before = spent()
                page.keyboard.press(key)
                # wait for the frame that shows the answer
                page.evaluate(
                    "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
                )
                steps.setdefault(key, []).append(spent() - before)
        page.wait_for_function("() => localStorage.length === 0", timeout=PATIENCE_MS)
        browser.close()
    return work, steps


if __name__ == "__main__":
    main()
