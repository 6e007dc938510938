"""The cost of a poll: its CPU, and the number of jobs that one process can keep in flight.

    python -m bench.polls --clips 2000

The product's engine, ledger (SQLite) and client poll a server on this machine, which is a separate process. The jobs are written into
the ledger in bulk. Each is polled once while it runs and once after its end. Only this process's CPU counts (user and system, all
threads), so that neither the machine's load nor the server's work changes the result.
"""

import argparse
import asyncio
import json
import multiprocessing
import multiprocessing.connection
import resource
import tempfile
from pathlib import Path

import sqlalchemy as sa

from bench.machine import machine
from bench.sold_series import SERIES, a_request
from bench.tables import origin, table
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState, MoneyState
from resources.production.account import Account
from resources.production.engine import Engine
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed

BOUGHT = SERIES[1]


class _Answers(asyncio.Protocol):
    """Answers every GET of a prediction with the same state; a request with `/end` in its path ends all jobs."""

    ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, self._read = self._read.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1].decode()
            _Answers.ended = _Answers.ended or path == "/end"
            body = json.dumps(_prediction(path.split("/")[-2], ended=_Answers.ended)).encode()
            lines = ["HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {len(body)}"]
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write("\r\n".join([*lines, "", ""]).encode() + body)


def _prediction(job: str, *, ended: bool) -> dict[str, object]:
    """A prediction in WaveSpeed's form."""
    data = {
        "id": job,
        "model": BOUGHT.endpoint,
        "outputs": [f"https://cdn.example.com/{job}.mp4"] if ended else [],
        "urls": {"get": f"https://api.example.com/api/v3/predictions/{job}/result"},
        "has_nsfw_contents": [False] if ended else [],
        "status": "completed" if ended else "processing",
        "created_at": "2026-11-20T12:00:00.000Z",
        "error": "",
        "timings": {"inference": 141_000 if ended else 0},
    }
    return {"code": 200, "message": "success", "data": data}


def _serve(port: multiprocessing.connection.Connection) -> None:
    async def answer() -> None:
        server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(answer())


def _write_jobs(ledger: Ledger, count: int) -> None:
    """Write running jobs whose poll is due."""
    now = ledger.clock()
    request = a_request(BOUGHT, "clip", 1)
    rows = [
        {
            "id": f"attempt-{number}",
            "subject_kind": "clip",
            "subject_key": f"clip-{number:06}",
            "series": request.series,
            "fingerprint": request.fingerprint,
            "provider": request.provider,
            "account": BOUGHT.account,
            "endpoint": request.endpoint,
            "request": {**request.model_dump(mode="json"), "clip": f"clip-{number:06}"},
            "decision": "bench",
            "state": AttemptState.SUBMITTED.value,
            "version": 3,
            "money_state": MoneyState.RESERVED.value,
            "quoted_micros": BOUGHT.price_micros,
            "counted_on": "2026-11-20",
            "created_at": now - 60,
            "submitted_at": now - 50,
            "next_poll_at": now - 1,
            "overdue_at": now + 3600,
            "job_id": f"{number:032x}",
        }
        for number in range(count)
    ]
    with ledger.write() as connection:
        connection.execute(sa.insert(attempts), rows)


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _measure(url: str, port: int, count: int) -> dict[str, float]:
    """CPU milliseconds of a poll, by the state that it reads."""
    found = {}
    with Ledger(url, budget=Budget()) as ledger:
        _write_jobs(ledger, count)
        provider = WaveSpeed(Connection("wavespeed", f"http://127.0.0.1:{port}", "a-key-of-the-bench"))
        engine = Engine(ledger, {BOUGHT.account: Account(provider)})
        for what in ("running", "ended"):
            if what == "ended":
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /end HTTP/1.1\r\n\r\n")
                await _reader.readuntil(b"}")
                writer.close()
                with ledger.write() as connection:
                    connection.execute(sa.update(attempts).values(next_poll_at=ledger.clock() - 1))
            began, polled = _used(), 0
            while polled < count and (some := await engine.poll_due(BOUGHT.account)):
                polled += some
            found[what] = (_used() - began) / polled * 1000
        await engine.aclose()
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=2000, metavar="N", help="jobs in flight")
    asked = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'ledger.db'}"
            found = asyncio.run(_measure(url, ours.recv(), asked.clips))
    finally:
        server.terminate()
        server.join()
    rows = [(f"a poll that sees a job {what}", f"{ms:.2f}", f"{1000 / ms:.0f}") for what, ms in found.items()]
    print(table(("", "CPU, ms", "polls a CPU-second"), rows))
    print(origin(f"python -m bench.polls --clips {asked.clips}", machine()))


if __name__ == "__main__":
    main()
