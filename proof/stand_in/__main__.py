"""One provider's stand-in as a process: `python -m proof.stand_in --provider wavespeed ...`.

It prints its address as a line of JSON, then a line whenever a client is at a moment where it may be killed. `POST /proof/calm`
stops the faults; `POST /proof/strangers/on` and `off` let a stranger use the same key.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proof.clock import Pace
from proof.stand_in.mischief import STRANGER, Dice, Mischief
from resources.sandbox import SandboxSettings, create_app
from resources.sandbox.server import address, bind, build_server

if TYPE_CHECKING:
    from starlette.applications import Starlette

CALM_SECONDS = 80.0
"""How long after the faults have stopped a stuck job ends; every other ends sooner."""
KILL_SECONDS = 0.4
"""Real seconds between the announcement of a chosen moment and the request's fate."""
STRANGERS_BUY = {
    "wavespeed": ("/api/v3/bytedance/seedance-2.0/text-to-video", "/api/v3/openai/sora-2/text-to-video"),
    "aimlapi": ("/v2/video/generations",),
}


class StandIn:
    """The sandbox with dice, a stranger who uses its key, and a wrong clock."""

    def __init__(self, options: argparse.Namespace, mischief: Mischief) -> None:
        self.provider: str = options.provider
        self.pace = Pace(options.origin, options.factor)
        self.dice = Dice(mischief)
        self.key: str = options.key
        self.strangers_about = False
        off = mischief.clock_off.get(self.provider, 0.0)
        settings = SandboxSettings(
            key=SecretStr(self.key),
            seed=mischief.seed,
            job_seconds=mischief.job_seconds,
            spread=0.45,
            balance_usd="1000000",
            refund_seconds=mischief.refund_seconds,
            state_path=options.folder,
        )
        self.app: Starlette = create_app(
            settings, clock=lambda: self.pace.clock() + off, faults=self.dice, wait=self.wait
        )
        self.app.router.routes.insert(0, Route("/proof/{what:path}", self.order, methods=["POST"]))

    async def run(self) -> None:
        """Serve until a signal."""
        listener = bind(0)
        url = address(listener)
        server = build_server(self.app, lambda: print(json.dumps({"url": url}), flush=True))
        strangers = asyncio.create_task(self.strangers(url))
        await server.serve(sockets=[listener])
        strangers.cancel()

    async def wait(self, rule: str, seconds: float, port: int) -> None:
        """Let a delay pass by the proof's clock; at a chosen moment, say that the client may be killed."""
        if rule.startswith("kill"):
            print(json.dumps({"moment": rule, "port": port}), flush=True)
            await asyncio.sleep(KILL_SECONDS)
        else:
            await self.pace.sleep(seconds)

    async def order(self, request: Request) -> Response:
        """Take an order of the storm."""
        match request.path_params["what"]:
            case "calm":
                self.dice.calm, self.strangers_about = True, False
                workshop = self.app.state.workshop
                workshop.books.end_by(workshop.clock() + CALM_SECONDS)
            case "strangers/on":
                self.strangers_about = True
            case "strangers/off":
                self.strangers_about = False
        return JSONResponse({})

    async def strangers(self, url: str) -> None:
        """Buy with the same key now and then, as a stranger does; some requests carry an id."""
        paths, mean = STRANGERS_BUY[self.provider], self.dice.mischief.strangers
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            for number in range(sys.maxsize):
                await self.pace.sleep(self.dice.between("stranger", 0.3 * mean, 1.7 * mean))
                if not self.strangers_about:
                    continue
                headers = {"Authorization": f"Bearer {self.key}"}
                if number % 2 and self.provider == "aimlapi":
                    headers["X-Client-Request-Id"] = f"somebody-else-{number}"
                body = {"prompt": STRANGER, "model": "openai/sora-2-t2v", "duration": 4}
                answer = await client.post(paths[number % len(paths)], json=body, headers=headers)
                answer.raise_for_status()


def main() -> None:
    """Serve one provider until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", choices=list(STRANGERS_BUY), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for its books and clips")
    parser.add_argument("--mischief", type=Path, required=True)
    parser.add_argument("--origin", type=float, required=True)
    parser.add_argument("--factor", type=float, required=True)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    mischief = Mischief.of(json.loads(options.mischief.read_text()))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(StandIn(options, mischief).run())


if __name__ == "__main__":
    main()
