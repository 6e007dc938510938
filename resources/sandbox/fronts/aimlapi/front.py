"""AI/ML API's video generations v2 as its pages describe them: submit, fetch, the request log, the balance, the models."""

import hashlib
import json
import math
import re
import secrets
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from resources.money import to_usd
from resources.sandbox.books import Job, Phase
from resources.sandbox.desk import Front, WireCall, moment, timestamp
from resources.sandbox.endpoints import InvalidParameter, SandboxEndpoint, load_endpoints
from resources.sandbox.faults import Backward, StatusWord

_WORDS = {
    Phase.WAITING: "queued",
    Phase.WORKING: "generating",
    Phase.DONE: "completed",
    Phase.FAILED: "error",
}
_CREDITS_PER_MICRO = 2  # 2,000,000 credits are one dollar
_CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LONGEST_WINDOW = 92 * 86400


class AimlApiFront(Front):
    """The routes under `/v1` and `/v2`."""

    name = "aimlapi"

    def routes(self) -> list[BaseRoute]:
        """Every route."""
        return [
            self.route("/v2/video/generations", "submit", self._submit, "POST"),
            self.route("/v2/video/generations", "poll", self._poll, "GET"),
            self.route("/v2/logs", "list", self._logs, "GET"),
            self.route("/v2/billing", "balance", self._balance, "GET"),
            self.route("/v1/models", "models", self._models, "GET", key=False),
        ]

    def wrong_key(self, call: WireCall) -> Response:
        """401 in the provider's error body."""
        return failure(call, 401, "Unauthorized: the API key is missing, invalid or expired.")

    def throttled(self, call: WireCall) -> Response:
        """429 in the provider's error body."""
        return failure(call, 429, "Too Many Requests")

    def identify(self, call: WireCall) -> None:
        """Read the model from the body of a submit, and the job from the query of a poll."""
        call.model = str(call.body.get("model", ""))
        if job_id := call.request.query_params.get("generation_id"):
            call.job = self.workshop.books.job(call.account, job_id)

    async def _submit(self, call: WireCall) -> Response:
        endpoint = None if call.broken else load_endpoints()[self.name].get(call.model)
        if endpoint is None:
            allowed = " | ".join(load_endpoints()[self.name])
            return failure(
                call,
                400,
                f"Body validation error: model: Expected {allowed}, received {call.model or 'nothing'}",
            )
        try:
            params = endpoint.read(call.body)
            pictures = endpoint.pictures(params, problem="parameter {name} holds no image")
            params = endpoint.look_at(params, pictures)
        except InvalidParameter as problem:
            return failure(call, 400, f"Body validation error: {problem.parameter}: {problem}")
        if self.workshop.too_many(call.account):
            return self.throttled(call)
        price = endpoint.cost(params)
        if price > self.workshop.available_micros(call.account):
            return failure(call, 403, "You've run out of credits. Please top up your balance to continue.")
        sent = call.request.headers.get("x-client-request-id", "")
        call.job = self.workshop.accept(
            account=call.account,
            model=call.model,
            job_id=_new_id(call.model),
            body=_without_pictures(call.body),
            params=_without_pictures(params),
            price_micros=price,
            rules=call.rules,
            base_url=call.base_url,
            submission_id=sent if _CLIENT_REQUEST_ID.fullmatch(sent) else None,
        )
        return self._with_ids(call, JSONResponse({"id": call.job.id, "status": "queued"}))

    async def _poll(self, call: WireCall) -> Response:
        if not call.request.query_params.get("generation_id"):
            return failure(call, 400, "Query validation error: generation_id: Required")
        if call.job is None:
            return failure(call, 404, "Generation not found")
        job = call.job
        self.workshop.books.count(job, "polls")
        phase = Phase.WAITING if call.effect(Backward) else job.phase(call.now)
        shows, error = job.shows(call.now), job.fate.error
        if shows == "gone":
            return failure(call, 404, "Generation not found")
        if shows == "failed":
            phase, error = Phase.FAILED, job.fate.taken_back_error
        word = call.effect(StatusWord)
        finished = phase is Phase.DONE and shows is None and (word is None or word.keep_outputs)
        body = {
            "id": job.id,
            "status": word.word if word else _WORDS[phase],
            "video": {"url": f"{call.base_url}/cdn/{job.media}.mp4"}
            if finished and not job.fate.empty
            else None,
            "error": {"name": "Error", "message": error} if phase is Phase.FAILED else None,
            "meta": {"usage": {"credits_used": job.price_micros * _CREDITS_PER_MICRO}} if finished else None,
        }
        response = JSONResponse(body)
        if finished:
            response.headers["x-aimlapi-usd-spent"] = f"{to_usd(job.price_micros):.9f}"
            response.headers["x-aimlapi-credits-used"] = str(job.price_micros * _CREDITS_PER_MICRO)
        return self._with_ids(call, response)

    def _with_ids(self, call: WireCall, response: Response) -> Response:
        if call.job:
            response.headers["x-inference-id"] = call.job.id
        sent = call.request.headers.get("x-client-request-id", "")
        if _CLIENT_REQUEST_ID.fullmatch(sent):
            response.headers["x-client-request-id"] = sent
        return response

    async def _logs(self, call: WireCall) -> Response:
        query = call.request.query_params
        try:
            after, before = _window(query.get("period"), query.get("start"), query.get("end"), call.now)
            limit, offset = _paging(query.get("limit", "50"), query.get("offset", "0"))
        except ValueError as error:
            return failure(call, 400, f"Query validation error: {error}")
        models, statuses = query.getlist("model"), query.getlist("status")
        if not set(statuses) <= {"succeeded", "failed"}:
            return failure(call, 400, "Query validation error: status must be succeeded or failed")
        rows = [
            row
            for job in self.workshop.books.jobs(call.account, after=after, before=before)
            if job.listed(call.now)
            and (row := self._log_row(job, call.now))
            # the log also accepts the model's bare name
            and (not models or {job.model, job.model.partition("/")[2]} & set(models))
            and (not statuses or row["status"] in statuses)
        ]
        page = rows[offset : offset + limit]
        more = offset + limit < len(rows)
        pagination = {"limit": limit, "offset": offset, "total": len(rows), "has_more": more}
        return JSONResponse({"data": page, "pagination": pagination})

    def _log_row(self, job: Job, now: float) -> dict[str, object] | None:
        phase = job.phase(now)
        ended = phase in {Phase.DONE, Phase.FAILED}
        if not ended and not self.workshop.settings.logs_show_running:
            return None
        cost = job.price_micros if phase is Phase.DONE else 0
        return {
            "created": timestamp(job.received_at),
            "status": "failed" if phase is Phase.FAILED else "succeeded",
            "origin": "api",
            "model": job.model,
            "cost": {"usd": float(to_usd(cost)), "credits": cost * _CREDITS_PER_MICRO},
            "tokens": {"input": 0, "output": 0, "total": 0},
            "request_id": f"req-{job.media[:16]}",
            "inference_id": job.id,
            "client_request_id": job.submission_id,
        }

    async def _balance(self, call: WireCall) -> Response:
        balance = float(to_usd(self.workshop.balance_micros(call.account)))
        return JSONResponse({"current_balance": balance, "currency": "USD"})

    async def _models(self, call: WireCall) -> Response:
        query = call.request.query_params
        ids = {part for value in query.getlist("id") for part in value.split(",")}
        include = {part for value in query.getlist("include") for part in value.split(",")}
        priced = bool(include & {"pricing", "all"}) or query.get("details") == "true"
        data = [
            _model(model, endpoint, priced=priced)
            for model, endpoint in load_endpoints()[self.name].items()
            if not ids or model in ids
        ]
        body = {"object": "list", "data": data}
        etag = f'W/"{hashlib.sha256(json.dumps(body).encode()).hexdigest()[:27]}"'
        if call.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"etag": etag})
        return JSONResponse(body, headers={"etag": etag})


def failure(call: WireCall, status: int, message: str) -> JSONResponse:
    """The provider's error body."""
    body = {
        "message": message,
        "path": call.request.url.path,
        "requestId": secrets.token_hex(16),
        "statusCode": status,
        "timestamp": timestamp(call.now),
    }
    return JSONResponse(body, status_code=status)


def _without_pictures(fields: dict[str, Any]) -> dict[str, Any]:
    """The same parameters for the books, without megabytes of base64."""
    return {
        name: f"{value.partition(',')[0]}, {len(value)} characters"
        if str(value).startswith("data:")
        else value
        for name, value in fields.items()
    }


def _new_id(model: str) -> str:
    """A job id of either kind on the provider's pages: OpenAI's with the model in it, or the newer short one."""
    if model.startswith("openai/"):
        return f"video_{secrets.token_hex(24)}:{model}"
    return secrets.token_urlsafe(16)[:21]


def _paging(limit: str, offset: str) -> tuple[int, int]:
    if not 1 <= int(limit) <= 100 or int(offset) < 0:
        raise ValueError("limit must be 1-100 and offset at least 0")
    return int(limit), int(offset)


def _window(period: str | None, start: str | None, end: str | None, now: float) -> tuple[float, float]:
    if bool(period) == bool(start or end):
        raise ValueError("give either period or both start and end")
    if period:
        match = re.fullmatch(r"([1-9][0-9]{0,6})([hd])", period)
        if not match:
            raise ValueError("period must be a number followed by h or d")
        after, before = now - int(match[1]) * (3600 if match[2] == "h" else 86400), math.inf
        length = now - after
    else:
        if not (start and end):
            raise ValueError("start and end belong together")
        after, before = moment(start), moment(end)
        length = before - after
    if not 0 <= length <= _LONGEST_WINDOW:
        raise ValueError("the window must not end before it starts nor exceed 92 days")
    return after, before


def _model(model: str, endpoint: SandboxEndpoint, *, priced: bool) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": model,
        "aliases": [],
        "type": "video",
        "info": {"name": model.partition("/")[2], "developer": model.partition("/")[0]},
        "tags": ["playground:video"],
    }
    if priced:
        rate = endpoint.price.per_second
        if isinstance(rate, dict):
            allowed = endpoint.parameters[str(endpoint.price.by)].values
            entry["pricing"] = {
                "kind": "variants",
                "dimensions": [endpoint.price.by],
                "variants": [
                    {"when": {endpoint.price.by: value}, "price": float(price), "unit": "second", "per": 1}
                    for value, price in rate.items()
                    if value in allowed
                ],
            }
        else:
            entry["pricing"] = {
                "kind": "fixed",
                "units": [{"price": float(rate or 0), "unit": "second", "per": 1}],
            }
    return entry
