"""The yardstick: a plain script for the same clips, `python -m bench.plain`, with its order as JSON on standard input.

One process with a thread for each clip buys, polls, fetches, checks and stores with dailies' own modules, without Dagster and
without a ledger. If the script dies, its purchases are lost.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from resources.network.way_out import Network
from resources.orders import ClipRequest
from resources.production.delivery import INSPECTORS
from resources.storage.download_policy import DownloadPolicy
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings
from resources.storage.transfer import Destination, transfer
from resources.video.inspector import VideoInspector
from resources.video.judge import judge

POLL_SECONDS = 5


@dataclass(frozen=True)
class PlainWire:
    """How the script talks to a provider."""

    submit: Callable[[ClipRequest], tuple[str, dict[str, Any]]]
    """Path and body of the POST."""
    poll: Callable[[str], str]
    """Path of a job, by its id."""
    output: Callable[[dict[str, Any]], str]
    """Address of a finished job's clip."""
    failed: str
    """Status of a failed job."""


WIRES = {
    "aimlapi": PlainWire(
        submit=lambda request: ("v2/video/generations", {"model": request.endpoint, **request.body}),
        poll=lambda job: f"v2/video/generations?generation_id={job}",
        output=lambda seen: str(seen["video"]["url"]),
        failed="error",
    ),
    "wavespeed": PlainWire(
        submit=lambda request: (f"api/v3/{request.endpoint}", request.body),
        poll=lambda job: f"api/v3/predictions/{job}/result",
        output=lambda seen: str(seen["outputs"][0]),
        failed="failed",
    ),
}


class Script:
    """Produces clips.

    Args:
        wire: How to talk to the provider.
        provider: Address of the provider.
        folder: Folder for the files.
    """

    def __init__(
        self, wire: PlainWire, provider: str, store: ObjectStore, inspector: VideoInspector, folder: Path
    ) -> None:
        self._wire = wire
        headers = {"Authorization": "Bearer sandbox"}
        self._client = httpx.Client(base_url=provider, headers=headers, timeout=60)
        self._policy = DownloadPolicy(allowed_origins=frozenset({provider}), network=Network.of(os.environ))
        self._store, self._inspector, self._folder = store, inspector, folder

    def produce(self, request: ClipRequest) -> float | None:
        """Buy one clip, wait for it, check it and store it; returns the time of its storage, or None if its job failed."""
        job = self._ask("POST", *self._wire.submit(request))["id"]
        while True:
            time.sleep(POLL_SECONDS)
            seen = self._ask("GET", self._wire.poll(job))
            if seen["status"] == self._wire.failed:
                return None
            if seen["status"] == "completed":
                break
        self._keep(request, self._wire.output(seen))
        return time.time()

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._client.request(method, path, json=body).raise_for_status().json()
        # WaveSpeed puts its answers into an envelope
        return dict(answer.get("data", answer))

    def _keep(self, request: ClipRequest, url: str) -> None:
        name = f"videos/{request.clip}"
        said: dict[str, Any] = {"prompt": request.prompt}
        pictures: dict[str, bytes | None] = {}

        def decide(path: Path) -> str:
            found = self._inspector.inspect(path, shortest_seconds=request.checks.shortest_stretch_seconds)
            pictures.update({"poster": found.poster_webp, "strip": found.strip_webp})
            said["checks"] = [check.model_dump() for check in judge(found, request)]
            return f"{name}.mp4"

        path = self._folder / f"{request.clip}.mp4"
        done = transfer(url, path, Destination(self._store, f"{name}.mp4", decide), policy=self._policy)
        path.unlink()
        for which, data in pictures.items():
            self._store.put_bytes(f"{name}.{which}.webp", data or b"", content_type="image/webp")
        text = json.dumps(said | {"sha256": done.sha256})
        self._store.put_bytes(f"{name}.json", text.encode(), content_type="application/json")


def main() -> None:
    """Produce the ordered clips; prints the time at which each was stored."""
    order = json.load(sys.stdin)
    requests = [ClipRequest.model_validate(one) for one in order["requests"]]
    secret = SecretStr(order["secret"])
    store = ObjectStore(
        S3Settings(
            bucket=order["bucket"],
            endpoint_url=order["endpoint"],
            access_key_id=order["key_id"],
            secret_access_key=secret,
        )
    )
    with (
        tempfile.TemporaryDirectory(prefix="dailies-plain-") as folder,
        VideoInspector(workers=INSPECTORS) as inspector,
        ThreadPoolExecutor(len(requests)) as pool,
    ):
        script = Script(WIRES[order["wire"]], order["provider"], store, inspector, Path(folder))
        print(json.dumps(list(pool.map(script.produce, requests))), flush=True)


if __name__ == "__main__":
    main()
