"""The provider that is not in this repository's product: both APIs, their CDN, and books of its own, in another process.

It imports nothing of dailies. It prints its address first, then a line whenever a client is at a moment where it may be
killed. `POST /bench/calm` stops the faults, `POST /bench/strangers/on` and `off` let somebody else use the same keys.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from proof.faults import aimlapi_wire, wavespeed_wire
from proof.faults.aimlapi_wire import AimlApiShop
from proof.faults.books import Writer
from proof.faults.clock import Pace
from proof.faults.mischief import Dice, Mischief
from proof.faults.shop import PAGE, Films, Shop
from proof.faults.wavespeed_wire import WaveSpeedShop
from proof.faults.wire import Answer, Request, Server, document

CALM_SECONDS = 20.0
"""When a stuck job ends after the faults have stopped."""


class Oracle:
    """Both providers behind one address.

    Args:
        folder: Of the books.
        film: A small MP4.
        pace: The clock.
        mischief: What goes wrong.
        key: The accepted API key.
    """

    def __init__(self, folder: Path, film: bytes, pace: Pace, mischief: Mischief, key: str) -> None:
        self.pace = pace
        self.dice = Dice(mischief)
        self.books = Writer(folder / "books.jsonl")
        self.films = Films(film)
        self.wavespeed = WaveSpeedShop("wavespeed", pace, self.dice, self.books, self.announce, key)
        self.aimlapi = AimlApiShop("aimlapi", pace, self.dice, self.books, self.announce, key)
        self.shops: tuple[Shop, ...] = (self.wavespeed, self.aimlapi)
        self.strangers_about = False

    def announce(self, moment: str, port: int) -> None:
        """Say on standard output that a client is at a chosen moment."""
        print(json.dumps({"moment": moment, "port": port}), flush=True)

    async def run(self) -> None:
        """Serve until told to end."""
        servers = (
            Server(self.wavespeed_answers, self.wavespeed.date),
            Server(self.aimlapi_answers, self.aimlapi.date),
        )
        urls = {}
        for shop, server in zip(self.shops, servers, strict=True):
            shop.base_url = urls[shop.name] = f"http://127.0.0.1:{await server.listen()}"
        print(json.dumps(urls), flush=True)
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        strangers = asyncio.create_task(self.strangers())
        await stop.wait()
        strangers.cancel()

    async def wavespeed_answers(self, request: Request) -> Answer:
        """Everything asked of WaveSpeed's address."""
        return await self._common(request, self.wavespeed) or await self.wavespeed.answer(request)

    async def aimlapi_answers(self, request: Request) -> Answer:
        """Everything asked of AI/ML API's address."""
        return await self._common(request, self.aimlapi) or await self.aimlapi.answer(request)

    async def _common(self, request: Request, shop: Shop) -> Answer | None:
        if request.path.startswith("/cdn/"):
            return await self._fetch(request, shop, request.path.removeprefix("/cdn/").removesuffix(".mp4"))
        match request.path:
            case "/bench/calm":
                self.calm()
            case "/bench/strangers/on":
                self.strangers_about = True
            case "/bench/strangers/off":
                self.strangers_about = False
            case _:
                return None
        return document(200, {"at": self.pace.clock()})

    async def _fetch(self, request: Request, shop: Shop, job_id: str) -> Answer:
        job = shop.jobs.get(job_id)
        if job is None or not shop.has_ended(job) or not job.succeeds:
            return Answer(404, PAGE, content_type="text/html")
        fault = self.dice.fetch(job_id)
        if fault in {"fetch page", "fetch expired"}:
            self.books.fault(fault, self.pace.clock())
            return Answer(200 if fault == "fetch page" else 403, PAGE, content_type="text/html")
        return await shop.befall(fault, request, lambda: self.films.served(job_id, request))

    def calm(self) -> None:
        """Stop the faults; what is stuck ends soon."""
        now = self.pace.clock()
        self.dice.calm = True
        self.strangers_about = False
        self.books.calm(now)
        for shop in self.shops:
            for job in list(shop.jobs.values()):
                if job.fate == "stuck" and job.ends_at > now + CALM_SECONDS:
                    shop.jobs[job.id] = replace(job, ends_at=now + CALM_SECONDS)
                    self.books.ends(job.id, now + CALM_SECONDS)

    async def strangers(self) -> None:
        """Somebody else who buys with the same keys now and then."""
        for number in range(sys.maxsize):
            mean = self.dice.mischief.strangers
            await self.pace.sleep(self.dice.between("stranger", 0.3 * mean, 1.7 * mean))
            if not self.strangers_about:
                continue
            for shop, wire in ((self.wavespeed, wavespeed_wire), (self.aimlapi, aimlapi_wire)):
                model = wire.SHARED[number % len(wire.SHARED)]
                shop.create(
                    None, model=model, prompt="a stranger's", price=5 * wire.PRICES[model], told=False
                )
                self.books.fault("stranger's job", self.pace.clock())


def main() -> None:
    """Run until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--film", type=Path, required=True)
    parser.add_argument("--mischief", type=Path, required=True)
    parser.add_argument("--origin", type=float, required=True)
    parser.add_argument("--factor", type=float, required=True)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    mischief = Mischief.of(json.loads(options.mischief.read_text()))
    pace = Pace(options.origin, options.factor)
    oracle = Oracle(options.folder, options.film.read_bytes(), pace, mischief, options.key)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(oracle.run())


if __name__ == "__main__":
    main()
