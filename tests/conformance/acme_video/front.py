"""Acme at the sandbox."""

import json
import secrets
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from acme_video import signature
from resources.money import to_usd
from resources.sandbox.books import Job, Phase
from resources.sandbox.desk import Front, WireCall, moment, timestamp
from resources.sandbox.endpoints import InvalidParameter, load_endpoints
from resources.sandbox.faults import OddRows, StatusWord
from resources.sandbox.front_registry import CallbackReport, FrontSpec

PAGE = 20
ENDPOINTS = """
acme/hills:
  type: text-to-video
  base_price: "0.40"
  price: {per_second: "0.10"}
  frames: size
  parameters:
    prompt: {type: string, required: true}
    size: {type: string, default: "1280*720", values: ["1280*720"]}
    duration: {type: integer, default: 4, values: [4, 8]}
"""
STATES = {
    Phase.WAITING: "queued",
    Phase.WORKING: "running",
    Phase.DONE: "succeeded",
    Phase.FAILED: "failed",
}


class AcmeFront(Front):
    name = "acme"

    def routes(self) -> list[BaseRoute]:
        return [
            self.route("/acme/videos", "submit", self._submit, "POST"),
            self.route("/acme/videos", "list", self._videos, "GET"),
            self.route("/acme/videos/{id}", "poll", self._poll, "GET"),
            self.route("/acme/charges", "billing", self._charges, "GET"),
            self.route("/acme/account", "balance", self._account_of, "GET"),
            self.route("/acme/prices", "price", self._price, "POST"),
            self.route("/acme/models", "models", self._models, "GET"),
        ]

    def wrong_key(self, call: WireCall) -> Response:
        return failure(401, "unauthorized", "the key is wrong")

    def throttled(self, call: WireCall) -> Response:
        return failure(429, "too_many", "too many requests")

    def identify(self, call: WireCall) -> None:
        call.model = str(call.body.get("model", ""))
        if isinstance(call.body.get("input"), dict):
            # fault rules read the prompt
            call.body["prompt"] = call.body["input"].get("prompt")
        if named := call.request.path_params.get("id"):
            call.job = self.workshop.books.job(call.account, named)

    async def _submit(self, call: WireCall) -> Response:
        key = call.request.headers.get("idempotency-key")
        known = [job for job in self.workshop.books.jobs(call.account) if key and job.submission_id == key]
        if known:
            call.job = known[0]
            return JSONResponse(self._shown(call, known[0]), status_code=200)
        endpoint = load_endpoints()[self.name].get(call.model)
        inputs = call.body.get("input")
        if endpoint is None or not isinstance(inputs, dict):
            return failure(404, "invalid", "there is no such model")
        try:
            params = endpoint.read(inputs)
        except InvalidParameter as problem:
            return failure(422, "invalid", str(problem))
        price = endpoint.cost(params)
        if price > self.workshop.available_micros(call.account):
            return failure(402, "no_credit", "the account is empty")
        call.job = self.workshop.accept(
            account=call.account,
            model=call.model,
            job_id=f"vid_{secrets.token_hex(8)}",
            body=inputs,
            params=params,
            price_micros=price,
            rules=call.rules,
            base_url=call.base_url,
            submission_id=key,
            webhook=call.body.get("callback_url"),
        )
        return JSONResponse(self._shown(call, call.job), status_code=201)

    async def _poll(self, call: WireCall) -> Response:
        if call.job is None or call.job.shows(call.now) == "gone":
            return failure(404, "not_found", "there is no such video")
        return JSONResponse(self._shown(call, call.job))

    def _shown(self, call: WireCall, job: Job) -> dict[str, Any]:
        return shown(job, job.phase(call.now), call.base_url, call.effect(StatusWord))

    async def _videos(self, call: WireCall) -> Response:
        jobs = self._within(call)
        rows = [
            {
                "id": job.id,
                "model": job.model,
                "state": STATES[job.phase(call.now)],
                "created_at": timestamp(job.received_at),
                "idempotency_key": job.submission_id,
            }
            for job in jobs
            if job.listed(call.now)
        ]
        return self._page(call, "videos", rows)

    async def _charges(self, call: WireCall) -> Response:
        rows = []
        for job in self._within(call):
            for kind, micros in (
                ("charge", self.workshop.charged_micros(job)),
                ("refund", self.workshop.refunded_micros(job)),
            ):
                if micros:
                    row = {"id": f"{kind}-{job.number}", "video": job.id, "kind": kind}
                    rows.append({**row, "usd": float(to_usd(micros)), "at": timestamp(job.received_at)})
        if call.effect(OddRows):
            rows += [{**row, "id": f"odd-{row['id']}", "kind": "discount"} for row in rows]
        return self._page(call, "charges", rows)

    def _within(self, call: WireCall) -> list[Job]:
        query = call.request.query_params
        after, before = moment(query["after"]), moment(query["before"])
        return self.workshop.books.jobs(call.account, after=after, before=before)

    def _page(self, call: WireCall, name: str, rows: list[dict[str, Any]]) -> Response:
        first = int(call.request.query_params["page"]) * PAGE
        return JSONResponse({name: rows[first : first + PAGE], "more": len(rows) > first + PAGE})

    async def _account_of(self, call: WireCall) -> Response:
        return JSONResponse({"usd": float(to_usd(self.workshop.balance_micros(call.account)))})

    async def _price(self, call: WireCall) -> Response:
        endpoint = load_endpoints()[self.name][call.model]
        return JSONResponse({"usd": float(to_usd(endpoint.estimate(call.body["input"])))})

    async def _models(self, call: WireCall) -> Response:
        return JSONResponse({"models": [{"id": name} for name in load_endpoints()[self.name]]})


def shown(job: Job, phase: Phase, base_url: str, word: StatusWord | None = None) -> dict[str, Any]:
    done = phase is Phase.DONE and word is None
    return {
        "id": job.id,
        "model": job.model,
        "state": word.word if word else STATES[phase],
        "output": {"url": f"{base_url}/cdn/{job.media}.mp4"} if done and not job.fate.empty else None,
        "error": {"message": job.fate.error} if phase is Phase.FAILED else None,
        "usd": float(to_usd(job.price_micros)) if done else None,
    }


def failure(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def report(job: Job, now: float, key: str) -> CallbackReport:
    body, at = json.dumps(shown(job, job.phase(now), job.base_url)).encode(), str(int(now))
    headers = {
        "Acme-Delivery": secrets.token_hex(8),
        "Acme-Time": at,
        "Acme-Signature": signature(key, at, body),
    }
    return CallbackReport(body, headers)


FRONT = FrontSpec(
    name="acme",
    path="/acme",
    front=lambda workshop, _wake: AcmeFront(workshop),
    endpoints=ENDPOINTS,
    charges_at_once=True,
    report=report,
)
