"""WaveSpeed's REST API v3 as its pages describe it (WaveSpeed contract, sections 1.1 to 1.9): everything in an envelope."""

from collections.abc import Callable
from typing import Any

from proof.faults.books import Job
from proof.faults.shop import PAGE, PROPAGATION_SECONDS, Shop
from proof.faults.wire import Answer, Request, document

API = "/api/v3/"
PRICES = {
    "openai/sora-2/text-to-video": 100_000,
    "openai/sora-2-pro/text-to-video": 300_000,
    "bytedance/seedance-2.0/text-to-video": 240_000,
    "bytedance/seedance-2.0-fast/text-to-video": 160_000,
    "kling/kling-3/text-to-video": 84_000,
}
"""Micro-dollars for a second of the duration asked for."""
SHARED = ("bytedance/seedance-2.0/text-to-video", "openai/sora-2/text-to-video")
"""What strangers buy with the same key."""
CODES = {"failed": 5000, "moderated": 1200}
ERRORS = {"failed": "internal error", "moderated": "Content flagged as potentially sensitive"}


class WaveSpeedShop(Shop):
    """The routes under `/api/v3`."""

    async def answer(self, request: Request) -> Answer:
        """The answer to one request."""
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return envelope(401, "Invalid API key")
        path = request.path.removeprefix(API)
        if path.startswith("predictions/"):
            return await self._poll(request, path.split("/")[1])
        if request.method == "POST" and path in PRICES:
            return await self._submit(request, path)
        match path:
            case "balance":
                answer = envelope(200, "success", {"balance": 9_999.5})
            case "predictions":
                answer = await self.befall(
                    self.dice.list("ws list"), request, lambda: self._list(request.document)
                )
            case "billings/search":
                answer = await self.befall(
                    self.dice.list("ws bill"), request, lambda: self._bill(request.document)
                )
            case _:
                answer = envelope(404, f"model {path} not found")
        return answer

    def job_id(self, digest: str, model: str) -> str:  # noqa: ARG002 - the shops have it in common
        """Hex, as its examples have it."""
        return digest[:32]

    def request_id(self, request: Request | None) -> str | None:  # noqa: ARG002 - the shops have it in common
        """It takes none."""
        return None

    def throttled(self, headers: dict[str, str]) -> Answer:
        """429 in the envelope."""
        return document(429, {"code": 429, "message": "Too Many Requests"}, headers)

    def broken_down(self) -> Answer:
        """500 in the envelope, or a gateway's 504."""
        if self.dice.between("ws 5xx", 0, 1) < 0.5:
            return Answer(504, PAGE, content_type="text/html")
        return envelope(500, "internal error")

    async def _submit(self, request: Request, model: str) -> Answer:
        body = request.document
        if not body.get("prompt"):
            return envelope(400, "parameter prompt is required", {"code": 1400})
        price = PRICES[model] * int(body.get("duration", 5))
        return await self.befall_post(
            request, model=model, price=price, deadline=60, accepted=lambda job: self._shown(job, "created")
        )

    async def _poll(self, request: Request, job_id: str) -> Answer:
        job = self.jobs.get(job_id)
        if job is None:
            return envelope(404, "Prediction not found")
        fault = self.dice.poll(job_id)
        if fault == "poll not yet known" and self.pace.clock() - job.at > PROPAGATION_SECONDS:
            fault = None

        def seen() -> Answer:
            match fault:
                case "poll not yet known":
                    return envelope(404, "Prediction not found")
                case "poll backward":
                    return self._shown(job, "created")
                case "poll odd word":
                    return self._shown(job, "postprocessing")
            return self._shown(job, self._word(job))

        return await self.befall(fault, request, seen)

    def _word(self, job: Job) -> str:
        if not self.has_ended(job):
            return "processing" if self.pace.clock() > job.at + 5 else "created"
        return "failed" if job.fate in CODES else "completed"

    def _shown(self, job: Job, word: str) -> Answer:
        return envelope(200, "success", self._prediction(job, word))

    def _prediction(self, job: Job, word: str) -> dict[str, Any]:
        done = word == "completed" and job.fate != "empty"
        return {
            "id": job.id,
            "model": job.model,
            "outputs": [f"{self.base_url}/cdn/{job.id}.mp4"] if done else [],
            "urls": {"get": f"{self.base_url}{API}predictions/{job.id}/result"},
            "has_nsfw_contents": [False] if done else [],
            "status": word,
            "created_at": self.shown(job.at),
            "error": ERRORS.get(job.fate, "") if word == "failed" else "",
            "code": CODES.get(job.fate, 0) if word == "failed" else 0,
            "timings": {"inference": round((job.ends_at - job.at) * 1000) if self.has_ended(job) else 0},
        }

    def _list(self, body: dict[str, Any]) -> Answer:
        rows = []
        for job in self._page(body, self.listed(), "created_after", "created_before", lambda job: job.at):
            row = self._prediction(job, self._word(job))
            row["created_at"] = self.shown(job.at, digits=9)
            del row["has_nsfw_contents"]
            rows.append(row)
        return envelope(200, "success", {"page": body.get("page"), "items": rows})

    def _bill(self, body: dict[str, Any]) -> Answer:
        refund = body.get("billing_type") == "refund"
        now = self.pace.clock()

        def booked(job: Job) -> float:
            return (job.refund_at or 0.0) if refund else job.at

        jobs = [
            job
            for job in self.listed()
            if not refund or (not job.succeeds and job.refund_at is not None and job.refund_at <= now)
        ]
        jobs.sort(key=booked, reverse=True)
        wanted = set(body.get("prediction_uuids") or [])
        jobs = [job for job in jobs if not wanted or job.id in wanted]
        rows = [
            {
                "uuid": f"{'r' if refund else 'd'}{job.id[:31]}",
                "billing_type": "refund" if refund else "deduct",
                "price": job.price / 1e6,
                "created_at": self.shown(booked(job)),
                "order": {"state": "done" if self.has_ended(job) else "pre", "price": job.price / 1e6},
                "prediction": {"uuid": job.id, "model_uuid": job.model, "status": self._word(job)},
            }
            for job in self._page(body, jobs, "start_time", "end_time", booked)
        ]
        rows += [odd for row in rows for odd in self._odd_rows(row)]
        return envelope(200, "success", {"page": body.get("page"), "total": len(jobs), "items": rows})

    def _odd_rows(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Rows beside one of the bill that prove nothing: its opposite, which was not asked for, and one that cannot be read."""
        if self.dice.row(row["uuid"]) is None:
            return []
        opposite = "deduct" if row["billing_type"] == "refund" else "refund"
        return [
            {**row, "uuid": f"o{row['uuid'][1:]}", "billing_type": opposite},
            {**row, "uuid": f"u{row['uuid'][1:]}", "price": f"${row['price']}"},
        ]

    def _page(
        self, body: dict[str, Any], jobs: list[Job], after: str, before: str, at: Callable[[Job], float]
    ) -> list[Job]:
        page, size = int(body["page"]), min(int(body["page_size"]), 100)
        if body.get(after):
            jobs = [job for job in jobs if at(job) >= self.asked(str(body[after]))]
        if body.get(before):
            jobs = [job for job in jobs if at(job) <= self.asked(str(body[before]))]
        return jobs[(page - 1) * size : page * size]


def envelope(status: int, message: str, data: object = None) -> Answer:
    """An answer in the envelope."""
    content: dict[str, Any] = {"code": status, "message": message}
    if data is not None:
        content["data"] = data
    return document(status, content)
