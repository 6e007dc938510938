"""One provider's stand-in as a process: `python -m proof.stand_in --provider wavespeed ...`.

It prints its address as a line of JSON, then a line whenever a client is at a moment where it may be killed. `POST /proof/calm`
stops the faults; `POST /proof/strangers/on` and `off` let a stranger use the same key.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proof.clock import FastClock
from proof.stand_in.books import SOMEBODY_ELSE
from proof.stand_in.mischief import Dice, Mischief
from resources.sandbox import SandboxSettings, create_app
from resources.sandbox.books import Job
from resources.sandbox.front_registry import fronts
from resources.sandbox.server import address, bind, build_server

if TYPE_CHECKING:
    from starlette.applications import Starlette

CALM_SECONDS = 80.0
"""Seconds after the end of the faults at which a stuck job ends; every other job ends sooner."""
LOOK_SECONDS = 1.0
"""Seconds between two looks of a stranger at our orders."""
SAME_MOMENT_SECONDS = 5.0
"""The highest age, in seconds, of an order of ours that a stranger repeats."""
KILL_SECONDS = 0.4
"""Real seconds between the announcement of a chosen moment and the handling of the request."""


class StandIn:
    """The sandbox with random faults, a stranger who uses its key, and a wrong clock."""

    def __init__(self, options: argparse.Namespace, mischief: Mischief) -> None:
        self.provider: str = options.provider
        self.pace = FastClock(options.origin, options.factor)
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
        strangers = asyncio.create_task(self.strangers())
        await server.serve(sockets=[listener])
        strangers.cancel()

    async def wait(self, rule: str, seconds: float, port: int) -> None:
        """Wait by the proof's clock; at a chosen moment, announce that the client may be killed."""
        if rule.startswith("kill"):
            print(json.dumps({"moment": rule, "port": port}), flush=True)
            await asyncio.sleep(KILL_SECONDS)
        else:
            await self.pace.sleep(seconds)

    async def order(self, request: Request) -> Response:
        """Accept an order of the storm."""
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

    async def strangers(self) -> None:
        """Order as a stranger with the same key: now and then, and at the time of an order of ours, the same request with another seed."""
        workshop, mean = self.app.state.workshop, self.dice.mischief.strangers
        ordered = 0
        while True:
            await self.pace.sleep(LOOK_SECONDS)
            newest = workshop.books.jobs(self.provider, after=workshop.clock() - SAME_MOMENT_SECONDS)[:1]
            if not self.strangers_about or not newest or _is_strangers(newest[0]):
                continue
            self._order_the_same(newest[0], ordered)
            ordered += 1
            await self.pace.sleep(self.dice.between("stranger", 0.3 * mean, 1.7 * mean))

    def _order_the_same(self, job: Job, number: int) -> None:
        """A stranger's order, equal to one of ours. Every second one carries an id."""
        seed = {"seed": secrets.randbelow(2**31)} if "seed" in job.body else {}
        # AI/ML API writes the model behind its ids, and models have slashes too
        own, colon, model = job.id.partition(":")
        before, slash, _ = own.rpartition("/")
        self.app.state.workshop.accept(
            account=job.account,
            model=job.endpoint,
            job_id=f"{before}{slash}{uuid.uuid4()}{colon}{model}",
            body=job.body | seed,
            params=job.params | seed,
            price_micros=job.price_micros,
            rules=self.dice.usual(self.provider),
            base_url=job.base_url,
            submission_id=f"{SOMEBODY_ELSE}-{number}" if number % 2 else None,
        )


def _is_strangers(job: Job) -> bool:
    return job.submission_id is None or job.submission_id.startswith(SOMEBODY_ELSE)


def main() -> None:
    """Serve one provider until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", choices=sorted(fronts()), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="folder for its books and clips")
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
