"""AI/ML API's video generations v2 as its pages describe them (AI/ML API contract, sections 2.1 to 2.5): no envelope."""

import re
from typing import Any

from proof.faults.books import Job
from proof.faults.shop import PAGE, PROPAGATION_SECONDS, Shop
from proof.faults.wire import Answer, Request, document

GENERATIONS = "/v2/video/generations"
PRICES = {"openai/sora-2-t2v": 100_000, "openai/sora-2-pro-t2v": 300_000, "bytedance/seedance-2-0": 200_000}
"""Micro-dollars for a second of the duration asked for."""
SHARED = ("openai/sora-2-t2v",)
"""What strangers buy with the same key."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CREDITS_PER_MICRO = 2


class AimlApiShop(Shop):
    """The routes under `/v2`."""

    async def answer(self, request: Request) -> Answer:
        """The answer to one request."""
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return problem(401, "Unauthorized", request.path)
        if request.path == "/v2/billing":
            return document(200, {"current_balance": 9_999.5})
        if request.path == "/v2/logs":
            return await self.befall(self.dice.list("ai logs"), request, lambda: self._logs(request.query))
        if request.path == GENERATIONS and request.method == "POST":
            return await self._submit(request)
        if request.path == GENERATIONS:
            return await self._poll(request, request.query.get("generation_id", ""))
        return problem(404, "Not found", request.path)

    def job_id(self, digest: str, model: str) -> str:
        """OpenAI's with the model in it, others short."""
        return f"video_{digest[:48]}:{model}" if model.startswith("openai/") else digest[:21]

    def request_id(self, request: Request | None) -> str | None:
        """`X-Client-Request-Id`, dropped in silence where it has another character; some strangers send one too."""
        if request is None:
            number = len(self.jobs)
            return f"somebody-else-{number}" if number % 2 else None
        sent = request.headers.get("x-client-request-id", "")
        return sent if _ID.fullmatch(sent) else None

    def throttled(self, headers: dict[str, str]) -> Answer:
        """429 in the provider's words."""
        return problem(429, "Too Many Requests", GENERATIONS, headers)

    def broken_down(self) -> Answer:
        """500 in the provider's words, or a gateway's 502."""
        if self.dice.between("ai 5xx", 0, 1) < 0.5:
            return Answer(502, PAGE, content_type="text/html")
        return problem(500, "Internal Server Error", GENERATIONS)

    async def _submit(self, request: Request) -> Answer:
        body = request.document
        model = str(body.get("model"))
        if model not in PRICES or not body.get("prompt"):
            return problem(400, "Body validation error", GENERATIONS)

        def accepted(job: Job) -> Answer:
            return document(200, {"id": job.id, "status": "queued"}, {"x-inference-id": job.id})

        price = PRICES[model] * int(body.get("duration", 5))
        return await self.befall_post(request, model=model, price=price, deadline=60, accepted=accepted)

    async def _poll(self, request: Request, job_id: str) -> Answer:
        job = self.jobs.get(job_id)
        if job is None:
            return problem(404, "Generation not found", GENERATIONS)
        fault = self.dice.poll(job_id)
        if fault == "poll not yet known" and self.pace.clock() - job.at > PROPAGATION_SECONDS:
            fault = None

        def seen() -> Answer:
            match fault:
                case "poll not yet known":
                    return problem(404, "Generation not found", GENERATIONS)
                case "poll backward":
                    return self._shown(job, "queued")
                case "poll odd word":
                    return self._shown(job, "warming-up")
            return self._shown(job, self._word(job))

        return await self.befall(fault, request, seen)

    def _word(self, job: Job) -> str:
        if not self.has_ended(job):
            return "generating" if self.pace.clock() > job.at + 5 else "queued"
        if job.fate in {"failed", "moderated"}:
            return "error"
        return "succeeded" if int(job.ends_at) % 3 == 0 else "completed"

    def _shown(self, job: Job, word: str) -> Answer:
        ended = word in {"completed", "succeeded"}
        done = ended and job.fate != "empty"
        error = {
            "failed": "Generation timeout",
            "moderated": "Your request was blocked by our moderation system.",
        }
        body: dict[str, Any] = {
            "id": job.id,
            "status": word,
            "video": {"url": f"{self.base_url}/cdn/{job.id}.mp4"} if done else None,
            "error": {"name": "Error", "message": error[job.fate]} if word == "error" else None,
            "meta": {"usage": {"credits_used": job.price * _CREDITS_PER_MICRO}} if done else None,
        }
        return document(200, body, {"x-inference-id": job.id})

    def _logs(self, query: dict[str, str]) -> Answer:
        after, before = self.asked(query["start"]), self.asked(query["end"])
        limit, offset = min(int(query.get("limit", "50")), 100), int(query.get("offset", "0"))
        # whether running jobs are shown is not documented, so they are not
        rows = [self._row(job) for job in self.listed() if after <= job.at <= before and self.has_ended(job)]
        page = rows[offset : offset + limit]
        more = offset + limit < len(rows)
        return document(
            200,
            {
                "data": page,
                "pagination": {"limit": limit, "offset": offset, "total": len(rows), "has_more": more},
            },
        )

    def _row(self, job: Job) -> dict[str, Any]:
        return {
            "created": self.shown(job.at),
            "status": "succeeded" if job.succeeds else "failed",
            "model": job.model,
            "cost": {
                "usd": job.price / 1e6 if job.succeeds else 0,
                "credits": job.price * _CREDITS_PER_MICRO if job.succeeds else 0,
            },
            "request_id": f"req-{abs(hash(job.id)):x}",
            "inference_id": job.id,
            "client_request_id": job.request_id,
        }


def problem(status: int, message: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    """An error as the API writes it."""
    content = {
        "message": message,
        "path": path,
        "requestId": "req-0",
        "statusCode": status,
        "timestamp": "2026-01-02T03:04:05.678Z",
    }
    return document(status, content, headers)
