"""The `sitecustomize` of each host: every program loads it, and the fleet's judge depends on it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proof.children import ROOT
from proof.fleet import host_site

PROGRAM = """
import asyncio, json, time, httpx
from resources.providers.wavespeed.client import WaveSpeed

class Sends(WaveSpeed):
    def __init__(self):
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200, json=dict(request.headers))))

async def main():
    client = Sends()
    async def submit(self, *, submission_id):
        return (await self.http.post("http://provider/")).json()
    import sitecustomize
    Sends.submit = submit
    sitecustomize.label_posts(Sends)
    labelled = (await client.submit(submission_id="post-1")).get("x-client-request-id")
    outside = (await client.http.post("http://provider/")).json().get("x-client-request-id")
    grpc = eval("time.time()", {"__name__": "grpc._server", "time": time})
    print(json.dumps({"hook": WaveSpeed.submit.__name__, "labelled": labelled, "outside": outside, "now": time.time(), "grpc": grpc}))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0, 300])
def test_posts_carry_the_id_of_their_submission_and_the_clock_is_wrong_for_all_but_grpc(
    tmp_path: Path, ahead: int
) -> None:
    shutil.copyfile(host_site.__file__, tmp_path / "sitecustomize.py")
    variables = {**os.environ, "PYTHONPATH": str(tmp_path), host_site.AHEAD: str(ahead or "")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=variables, check=True, capture_output=True, text=True
    )
    seen = json.loads(done.stdout)
    assert seen["hook"] == "submit_labelled"
    assert (seen["labelled"], seen["outside"]) == ("post-1", None)
    assert seen["now"] == pytest.approx(time.time() + ahead, abs=60)
    assert seen["grpc"] == pytest.approx(time.time(), abs=60)
