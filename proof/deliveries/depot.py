"""Finished generations that wait to be fetched, a host that serves them slowly and cuts some, and a bucket."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from bench.films.encoder import Film, make
from bench.films.samples import SOURCES
from proof.deliveries.worker import CAPABILITIES
from resources.ledger import polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import claim_next
from resources.ledger.records import Attempt, Submission
from resources.orders import ClipRequest, Expected
from resources.providers.base import Accepted, JobState, JobStatus
from resources.storage.embedded import EmbeddedS3

FILM = Film("clip", SOURCES["card"], size=(320, 180), seconds=2.0)


@dataclass
class Depot:
    """What is to be brought home, and where to.

    Attributes:
        ledger: Its URL.
        s3: The bucket's server.
        scratch: Where workers keep files on their way.
        origin: Of the host.
        digests: SHA-256 of each clip's output, by its key.
        place: The file that tells a worker all this.
        fetches: How often each path was asked for.
    """

    ledger: str
    s3: EmbeddedS3
    scratch: Path
    origin: str
    place: Path
    digests: dict[str, str] = field(default_factory=dict)
    fetches: dict[str, int] = field(default_factory=dict)


class _Host(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, cuts: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.outputs: dict[str, bytes] = {}
        self.fetches: dict[str, int] = {}
        self.cuts, self.chance, self.lock = cuts, Random(seed), threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A worker that is killed hangs up; that is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Host

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve a file in pieces, from where it is asked for, and now and then only a part of it."""
        server = self.server
        data = server.outputs[self.path]
        with server.lock:
            server.fetches[self.path] = server.fetches.get(self.path, 0) + 1
            cut = server.chance.random() < server.cuts
            end = server.chance.randrange(len(data)) if cut else len(data)
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        start = 0
        if self.headers.get("If-Range") == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.close_connection = cut
        with contextlib.suppress(OSError):
            for at in range(start, max(start, end), 32_768):
                self.wfile.write(data[at : min(at + 32_768, end)])
                time.sleep(0.002)


@contextlib.contextmanager
def filled(
    folder: Path, *, clips: int, lease_seconds: float, seed: int, cuts: float = 0.1
) -> Iterator[Depot]:
    """A depot with so many finished generations.

    Args:
        folder: For everything.
        clips: How many.
        lease_seconds: How long a killed worker's claims last.
        seed: Of what is cut where.
        cuts: Share of the requests whose answer is cut.
    """
    host = _Host(cuts, seed)
    threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    origin = f"http://127.0.0.1:{host.server_port}"
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    url = f"sqlite:///{folder / 'ledger.db'}"
    try:
        with EmbeddedS3(folder / "s3") as s3:
            depot = Depot(url, s3, scratch, origin, folder / "place.json", fetches=host.fetches)
            depot.place.write_text(json.dumps(_place(depot, lease_seconds)))
            film = make(FILM, folder / "film.mp4").read_bytes()
            with Ledger(url, budget=Budget()) as ledger:
                for number in range(clips):
                    attempt = _finished(ledger, f"clip-{number:04}", origin)
                    data = film + _box(attempt.clip)
                    host.outputs[f"/{attempt.job_id}.mp4"] = data
                    depot.digests[attempt.clip] = hashlib.sha256(data).hexdigest()
            yield depot
    finally:
        host.shutdown()
        host.server_close()


def _box(clip: str) -> bytes:
    """A box that players skip, so that no two files are the same and each is large enough to be killed in."""
    body = clip.encode() + hashlib.sha256(clip.encode()).digest() * 8_000
    return (8 + len(body)).to_bytes(4, "big") + b"free" + body


def _place(depot: Depot, lease_seconds: float) -> dict[str, Any]:
    settings = depot.s3.settings
    return {
        "ledger": depot.ledger,
        "bucket": settings.bucket,
        "endpoint": settings.endpoint_url,
        "key_id": settings.access_key_id,
        "secret": settings.secret_access_key.get_secret_value() if settings.secret_access_key else "",
        "origin": depot.origin,
        "scratch": str(depot.scratch),
        "lease_seconds": lease_seconds,
    }


def _finished(ledger: Ledger, clip: str, origin: str) -> Attempt:
    width, height = FILM.size
    request = ClipRequest(
        clip=clip,
        series="bench",
        provider="wavespeed",
        endpoint="model",
        body={"prompt": clip},
        price_micros=400_000,
        expected=Expected(width=width, height=height, duration=FILM.seconds, audio=True),
    )
    decide(ledger, [request], decision="bench")
    submission = claim_next(ledger, "wavespeed", limits=Limits(), deadline_seconds=30)
    if not isinstance(submission, Submission):
        raise TypeError(f"nothing could be claimed: {submission}")
    job = f"job-{clip}"
    attempt = record_outcome(ledger, submission, Accepted(job, None, {"id": job}))
    seen = JobState(JobStatus.SUCCEEDED, "completed", outputs=(f"{origin}/{job}.mp4",))
    return polls.record_end(ledger, attempt, seen, CAPABILITIES)
