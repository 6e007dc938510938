"""One round of the plain script, with its own sandbox and S3 server."""

import datetime as dt
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.flow import Round, RoundScale
from bench.machine import environment, ideal_seconds, read_books, requests_of
from bench.module_process import line_of, module_process
from bench.processes import ending_all_children
from bench.series_files import SERIES, RoundFiles, declare
from bench.usage import Meter, settle, tree_seconds
from pipelines.cli.declared import clips_of, declarations_of
from pipelines.rendered_clips import render
from resources.settings import load_settings
from resources.storage.embedded import EmbeddedS3


def run_plain(scale: RoundScale) -> Round:
    """Run the script, and wait for its end.

    Raises:
        resources.errors.DailiesError: A process does not start.
    """
    with tempfile.TemporaryDirectory(prefix="plain-bench-") as place, ending_all_children():
        folder = Path(place)
        declared = declare(folder, provider=scale.provider, clips=scale.clips, fail=scale.fail)
        options = scale.sandbox_options(declared.faults)
        variables = {"DAILIES_HOME": str(folder / "home"), "DAILIES_DATA": str(declared.data)}
        with (
            environment(variables),
            module_process("resources.sandbox", options, folder / "sandbox.log") as sandbox,
            EmbeddedS3(folder / "s3", bucket="plain") as s3,
        ):
            url = line_of(sandbox, folder / "sandbox.log")["url"]
            roots = {"sandbox": sandbox.pid, "s3": s3.pid or 0}
            with Meter(roots) as meter:
                settle()
                meter.mark()
                return _measure(meter, declared, s3, url, scale, folder)


def _measure(
    meter: Meter, declared: RoundFiles, s3: EmbeddedS3, url: str, scale: RoundScale, folder: Path
) -> Round:
    order = json.dumps({**_order(s3, url), "wire": scale.provider})
    asked_at = time.time()
    with module_process("bench.plain", [], folder / "plain.log") as script:
        if script.stdin is not None:
            script.stdin.write(order.encode())
            script.stdin.close()
        ends = line_of(script, folder / "plain.log")
        # the CPU time of the script and of its children can be read until the script is waited for
        os.waitid(os.P_PID, script.pid, os.WEXITED | os.WNOWAIT)
        used = tree_seconds(script.pid)
    delivered = [end for end in ends if end is not None]
    seconds, books = meter.seconds(), read_books(url)
    requests = requests_of(books)
    expected = scale.clips - declared.doomed
    return Round(
        wall_seconds=round(max(delivered, default=asked_at) - asked_at, 1),
        # the script sends its POSTs at once, whatever the provider
        ideal_seconds=round(ideal_seconds(books, None), 1),
        longest_job_seconds=round(ideal_seconds(books, None), 1),
        runs=0,
        requests_per_clip=round(sum(requests.values()) / scale.clips, 2),
        cpu_per_clip=round(used / scale.clips, 3),
        sandbox_cpu_per_clip=round(seconds["sandbox"] / scale.clips, 3),
        s3_cpu_per_clip=round(seconds["s3"] / scale.clips, 3),
        peak_mb=meter.peaks,
        details={"requests": requests},
        problems=[] if len(delivered) == expected else [f"{len(delivered)} clips instead of {expected}"],
    )


def _order(s3: EmbeddedS3, url: str) -> dict[str, Any]:
    """The script's order: the requests that dailies renders, and the addresses of provider and bucket."""
    declarations = declarations_of(load_settings())
    keys = clips_of(declarations, SERIES, dt.datetime.now(dt.UTC).date(), ())
    settings = s3.settings
    return {
        "requests": [
            request.model_dump(mode="json") for request in render(declarations, keys).requests.values()
        ],
        "provider": url,
        "endpoint": s3.endpoint_url,
        "bucket": s3.bucket,
        "key_id": settings.access_key_id,
        "secret": settings.secret_access_key.get_secret_value() if settings.secret_access_key else "",
    }
