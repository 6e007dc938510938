"""What both providers have in common: who ordered what, when it ends, what it costs, and what befalls each request."""

import asyncio
import hashlib
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from proof.faults.books import Job, Writer
from proof.faults.clock import Pace
from proof.faults.mischief import Dice
from proof.faults.wire import SILENCE, Answer, Request

CLIP = re.compile(r"\[([a-z0-9][a-z0-9-]{2,79})\]")
"""Where a prompt names its clip."""
TAG = "x-bench-submission"
"""A header of the bench's own worker, for the books and never for an answer."""
PROPAGATION_SECONDS = 20.0
KILL_SECONDS = 0.4
"""Real seconds between the word that a client is at a chosen moment and what happens to its request."""
STUCK_SECONDS = 1800.0
GARBAGE = b'{"code":200,"message":"success","data":{"id'
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


class Shop(ABC):
    """One provider's accounts.

    Args:
        name: `wavespeed` or `aimlapi`.
        pace: The clock.
        dice: What goes wrong.
        books: Where jobs are written down before they are answered.
        announce: Tells the bench that a client is at a chosen moment: the moment, the client's port.
        key: The only accepted API key.
    """

    def __init__(
        self,
        name: str,
        pace: Pace,
        dice: Dice,
        books: Writer,
        announce: Callable[[str, int], None],
        key: str,
    ) -> None:
        self.name = name
        self.pace = pace
        self.dice = dice
        self.books = books
        self.key = key
        self.jobs: dict[str, Job] = {}
        self.base_url = ""
        self._announce = announce

    # The clock it shows

    @property
    def off(self) -> float:
        """By how many seconds its clock is wrong."""
        return self.dice.mischief.clock_off.get(self.name, 0.0)

    def shown(self, at: float, *, digits: int = 3) -> str:
        """A time as its answers have it."""
        moment = datetime.fromtimestamp(at + self.off, UTC)
        fraction = f"{moment.microsecond * 1000:09}"[:digits]
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z"

    def date(self) -> str:
        """Its Date header."""
        return format_datetime(datetime.fromtimestamp(self.pace.clock() + self.off, UTC), usegmt=True)

    def asked(self, text: str) -> float:
        """A time of a question, as it really is."""
        if re.fullmatch(r"\d{10,}", text):
            return int(text) / 1000 - self.off
        return datetime.fromisoformat(text).timestamp() - self.off

    # Jobs

    def create(self, request: Request | None, *, model: str, prompt: str, price: int, told: bool) -> Job:
        """Make a job and write it down; None is a stranger's."""
        now = self.pace.clock()
        named = CLIP.search(prompt)
        clip = named[1] if named and request is not None else None
        fate = self.dice.fate(f"{self.name}:{clip}") if clip else "done"
        if fate == "stuck" and not told and self.name == "aimlapi":
            # its logs show what has ended, and its contract lets nothing be proved about a job that runs for ever
            fate = "done"
        low, high = self.dice.mischief.job_seconds
        lasts = STUCK_SECONDS if fate == "stuck" else self.dice.between(f"{self.name} job", low, high)
        number = len(self.jobs)
        digest = hashlib.sha256(f"{self.dice.mischief.seed}:{self.name}:{number}".encode()).hexdigest()
        lag = self.dice.between(f"{self.name} lag", 0.0, self.dice.mischief.list_lag)
        refund = self.dice.between(f"{self.name} refund", 0.0, self.dice.mischief.refund_lag)
        job = Job(
            id=self.job_id(digest, model),
            provider=self.name,
            model=model,
            clip=clip,
            tag=None if request is None else request.headers.get(TAG),
            request_id=self.request_id(request),
            price=price,
            at=now,
            ends_at=now + lasts,
            listed_at=now + (0.0 if self.dice.calm else lag),
            fate=fate,
            refund_at=None if self.name == "aimlapi" else now + lasts + refund,
            told=told,
        )
        self.books.job(job)
        self.jobs[job.id] = job
        return job

    @abstractmethod
    def job_id(self, digest: str, model: str) -> str:
        """A new job's id."""

    @abstractmethod
    def request_id(self, request: Request | None) -> str | None:
        """Our id of a POST where the provider takes it."""

    def has_ended(self, job: Job) -> bool:
        """Whether a job is over."""
        return self.pace.clock() >= self.ends_at(job)

    def ends_at(self, job: Job) -> float:
        """When a job ends; a stuck one when the faults stop at the latest."""
        return job.ends_at

    def listed(self) -> list[Job]:
        """What lists and bills show now, newest first."""
        now = self.pace.clock()
        return sorted((j for j in self.jobs.values() if j.listed_at <= now), key=lambda j: j.at, reverse=True)

    # What befalls requests

    async def befall_post(
        self, request: Request, *, model: str, price: int, deadline: float, accepted: Callable[[Job], Answer]
    ) -> Answer:
        """A POST that is in order, and what is done to it.

        Args:
            request: The POST.
            model: The model asked for.
            price: What it costs.
            deadline: After how many seconds its client has surely given up.
            accepted: The answer when all goes well.
        """
        prompt = str(request.document.get("prompt", ""))
        fault = self.dice.post(f"{self.name}:{prompt}")
        self.books.post(
            at=self.pace.clock(),
            provider=self.name,
            model=model,
            tag=request.headers.get(TAG),
            clip=(found[1] if (found := CLIP.search(prompt)) else None),
            fault=fault,
        )
        if fault:
            self.books.fault(fault, self.pace.clock())
        refusal = await self._before_the_job(fault, request, deadline)
        if refusal is not None:
            return refusal
        told = fault in {None, "slow", "kill before", "kill after"}
        job = self.create(request, model=model, prompt=prompt, price=price, told=told)
        return await self._after_the_job(fault, request, accepted(job))

    async def _before_the_job(self, fault: str | None, request: Request, deadline: float) -> Answer | None:
        """What happens to a POST before its job is created; an answer when none is."""
        match fault:
            case "dropped":
                return SILENCE
            case "error before":
                return Answer(502, PAGE, content_type="text/html")
            case "throttled":
                wait = self.dice.between("retry-after", 3, 12)
                return self.throttled({"Retry-After": f"{wait:.0f}"} if wait > 6 else {})
            case "throttled bare":
                return Answer(429, b"<html>Too Many Requests</html>", content_type="text/html")
            case "late":
                await self.pace.sleep(deadline + self.dice.between("late", 1, 15))
            case "slow":
                await self.pace.sleep(self.dice.between("slow", 2, 10))
            case "kill before":
                await self.expose(fault, request)
        return None

    async def _after_the_job(self, fault: str | None, request: Request, answer: Answer) -> Answer:
        """What becomes of the answer to a POST whose job exists."""
        match fault:
            case "lost" | "late":
                return SILENCE
            case "cut":
                return Answer(answer.status, answer.body, cut_at=8)
            case "error after":
                return self.broken_down()
            case "garbage after":
                return Answer(200, GARBAGE)
            case "kill after":
                await self.expose(fault, request)
        return answer

    async def befall(
        self, fault: str | None, request: Request, answer: Callable[[], Answer | Awaitable[Answer]]
    ) -> Answer:
        """A request that changes nothing, and what is done to it; faults that only bend the answer are the caller's."""
        if fault:
            self.books.fault(fault, self.pace.clock())
            kind = fault.split(maxsplit=1)[1]
            instead = {
                "dropped": SILENCE,
                "error": Answer(503, PAGE, content_type="text/html"),
                "throttled": self.throttled({}),
                "garbage": Answer(200, GARBAGE),
            }
            if kind in instead:
                return instead[kind]
            if fault.startswith("kill"):
                await self.expose(fault, request)
            elif kind == "slow":
                await self.pace.sleep(self.dice.between("slow", 2, 10))
        made = answer()
        found = made if isinstance(made, Answer) else await made
        if fault and fault.endswith(" cut"):
            return Answer(
                found.status, found.body, found.headers, found.content_type, cut_at=len(found.body) // 2
            )
        return found

    async def expose(self, moment: str, request: Request) -> None:
        """Let the client of a request be killed now."""
        self._announce(moment, request.port)
        await asyncio.sleep(KILL_SECONDS)

    @abstractmethod
    def throttled(self, headers: dict[str, str]) -> Answer:
        """429 in the provider's own words."""

    @abstractmethod
    def broken_down(self) -> Answer:
        """5xx in the provider's own words."""


class Films:
    """The files: one small MP4, with a box in it that is each job's own.

    Args:
        template: A valid MP4.
    """

    def __init__(self, template: bytes) -> None:
        self._template = template

    def of(self, job_id: str) -> bytes:
        """A job's file, the same bytes each time."""
        stamp = hashlib.sha256(job_id.encode()).hexdigest().encode()
        return self._template + struct.pack(">I4s", 8 + len(stamp), b"free") + stamp

    def sha256(self, job_id: str) -> str:
        """Its SHA-256 in hex."""
        return hashlib.sha256(self.of(job_id)).hexdigest()

    def served(self, job_id: str, request: Request) -> Answer:
        """The file, or the part of it that was asked for."""
        data = self.of(job_id)
        headers = {"etag": f'"{hashlib.sha256(job_id.encode()).hexdigest()[:32]}"', "accept-ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if part and int(part[1]) < len(data):
            start = int(part[1])
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Answer(206, data[start:], headers, "video/mp4")
        return Answer(200, data, headers, "video/mp4")
