"""The product's transfers in a separate process: `python -m bench.transfers.mover`.

It reads one JSON object per line, `{"files": [[url, key], ...], "at_once": 4, "endpoint": ..., ...}`, moves the files, and
answers with seconds, CPU seconds and its peak memory. The other parts of a delivery (decoding, manifests) are left out.
"""

import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from resources.network.way_out import Network
from resources.storage.download import DownloadPolicy
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings
from resources.storage.transfer import Destination, transfer


def move(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Move the files of one order."""
    store = ObjectStore(
        S3Settings(
            bucket=order["bucket"],
            endpoint_url=order["endpoint"],
            access_key_id=order["key_id"],
            secret_access_key=SecretStr(order["secret"]),
        )
    )
    store.check()
    parts = urlsplit(order["files"][0][0])
    policy = DownloadPolicy(
        allowed_origins=frozenset({f"{parts.scheme}://{parts.netloc}"}), network=Network.of(os.environ)
    )
    streamed = 0

    def one(numbered: tuple[int, tuple[str, str]]) -> bool:
        number, (url, key) = numbered
        path = folder / f"{number}.mp4"
        done = transfer(url, path, Destination(store, key, lambda _: key), policy=policy)
        path.unlink()
        return done.streamed

    began, before = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(order["at_once"]) as pool:
        streamed = sum(pool.map(one, enumerate(order["files"])))
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - before,
        "peak_mb": _peak_bytes() / 1e6,
        "streamed": streamed,
    }


def _peak_bytes() -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Move the files of each order until the pipe is closed."""
    with tempfile.TemporaryDirectory(prefix="dailies-mover-") as name:
        for line in sys.stdin:
            print(json.dumps(move(json.loads(line), Path(name))), flush=True)


if __name__ == "__main__":
    main()
