"""fal's queue and platform API as its pages describe them: requests, the listing by endpoint, billing events, prices, models."""

import base64
import binascii
import math
import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from resources.money import to_usd
from resources.sandbox.books import Job, Phase
from resources.sandbox.desk import Front, WireCall, moment, timestamp
from resources.sandbox.endpoints import InvalidParameter, SandboxEndpoint, load_endpoints
from resources.sandbox.faults import Backward, OddRows, StatusWord
from resources.sandbox.fronts.fal.callbacks import key_set
from resources.sandbox.fronts.fal.wire import BASE, addresses, failure_of, request_id, result
from resources.sandbox.uploads import Uploads
from resources.sandbox.workshop import Workshop

_WORDS = {
    Phase.WAITING: "IN_QUEUE",
    Phase.WORKING: "IN_PROGRESS",
    Phase.DONE: "COMPLETED",
    Phase.FAILED: "COMPLETED",
}
_ADMIN = ":admin"
_DAY = 86_400.0
DRAFT_DAYS = 7
"""How long a draft can be finished (fal model page)."""


class FalFront(Front):
    """The routes under `/fal`: `queue.fal.run`, `api.fal.ai` and `rest.fal.ai` in one place.

    Args:
        report: Called after a request with a webhook is accepted.
    """

    name = "fal"
    scheme = "Key"

    def __init__(self, workshop: Workshop, report: Callable[[], None]) -> None:
        super().__init__(workshop)
        self._report = report
        self._uploads = Uploads(workshop.directory / "fal-files", f"{BASE}/files")

    def routes(self) -> list[BaseRoute]:
        """Every route; submit takes all other paths."""
        platform, request = f"{BASE}/v1/models", f"{BASE}/{{app:path}}/requests/{{id}}"
        return [
            self.route(f"{platform}/requests/by-endpoint", "list", self._list, "GET"),
            self.route(f"{platform}/billing-events", "billing", self._bill, "GET"),
            self.route(f"{platform}/pricing", "price", self._prices, "GET"),
            self.route(platform, "models", self._models, "GET", key=False),
            self.route(f"{BASE}/.well-known/jwks.json", "secret", self._keys, "GET", key=False),
            self.route(f"{BASE}/storage/upload/initiate", "upload", self._ticket, "POST"),
            self.route(f"{BASE}/files/{{token}}/{{filename}}", "upload", self._uploads.put, "PUT", key=False),
            self.route(f"{BASE}/files/{{token}}/{{filename}}", "upload", self._uploads.get, "GET", key=False),
            self.route(f"{request}/status", "poll", self._status, "GET"),
            self.route(f"{request}/cancel", "delete", self._cancel, "PUT"),
            self.route(request, "poll", self._result, "GET"),
            self.route(f"{BASE}/{{model:path}}", "submit", self._submit, "POST"),
        ]

    def wrong_key(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """401 with fal's detail."""
        return failure(
            401, "Cannot access application. Authentication is required to access this application."
        )

    def throttled(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """429 with fal's detail."""
        return failure(429, "Too many requests")

    def identify(self, call: WireCall) -> None:
        """Read the model from the path of a submit, and the request from the path of a poll."""
        path = call.request.path_params
        call.model = path.get("model", "")
        if "id" in path:
            call.job = self.workshop.books.job(call.account, f"{path['app']}/requests/{path['id']}")

    def _account(self, request: Request) -> str | None:
        """The account of a key; an admin key is its account's key with a suffix."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        known = self.workshop.account(self.name, key.removesuffix(_ADMIN))
        return known if scheme == self.scheme else None

    async def _submit(self, call: WireCall) -> Response:
        endpoint = load_endpoints()[self.name].get(call.model)
        if endpoint is None:
            return failure(404, f"Application '{call.model}' not found")
        if call.broken:
            return invalid(InvalidParameter("", "Input should be a valid dictionary"))
        try:
            params = endpoint.read(call.body)
            pictures = endpoint.pictures(
                params,
                find=lambda url: self._uploads.find(url, call.base_url),
                problem="Failed to download the file",
            )
            params = endpoint.look_at(params, pictures)
            if endpoint.finishes_drafts:
                params = self._draft_parameters(call, params)
        except InvalidParameter as problem:
            return invalid(problem)
        if self.workshop.too_many(call.account):
            return self.throttled(call)
        price = endpoint.cost(params)
        if price > self.workshop.available_micros(call.account):
            return failure(403, "User is locked. Reason: Exhausted balance. Top up your balance.")
        webhook = call.request.query_params.get("fal_webhook")
        app = "/".join(call.model.split("/")[:2])
        call.job = self.workshop.accept(
            account=call.account,
            model=call.model,
            job_id=f"{app}/requests/{uuid.uuid4()}",
            body=call.body,
            params=params,
            price_micros=price,
            rules=call.rules,
            base_url=call.base_url,
            submission_id=call.request.headers.get("x-client-request-id"),
            webhook=webhook,
        )
        if webhook:
            self._report()
        return _request_answer(call.job, 200, self._queued(call.job, call.base_url))

    def _draft_parameters(self, call: WireCall, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a finish, completed by those of its draft, which the same account made in the last seven days."""
        draft = self.workshop.books.job_of_media(str(params["draft_id"]))
        known = (
            draft is not None
            and draft.account == call.account
            and draft.params.get("draft") is True
            and draft.phase(call.now) is Phase.DONE
            and call.now - draft.ends_at <= DRAFT_DAYS * _DAY
        )
        if draft is None or not known:
            raise InvalidParameter("draft_id", "Draft not found or expired", missing=False)
        of_draft = {name: value for name, value in draft.params.items() if name != "draft"}
        return {**of_draft, **params, "shot": draft.id}

    @staticmethod
    def _queued(job: Job, base_url: str) -> dict[str, Any]:
        own = {"status": "IN_QUEUE", "request_id": request_id(job), "queue_position": 0}
        return {**own, **addresses(job, base_url)}

    async def _status(self, call: WireCall) -> Response:
        job = call.job
        if job is None:
            return failure(404, "Request not found")
        self.workshop.books.count(job, "polls")
        phase, shows = Phase.WAITING if call.effect(Backward) else job.phase(call.now), job.shows(call.now)
        if shows == "gone":
            return failure(404, "Request not found")
        word = call.effect(StatusWord)
        status = word.word if word else _WORDS[phase]
        body: dict[str, Any] = {**self._queued(job, call.base_url), "status": status}
        if phase is not Phase.WAITING:
            del body["queue_position"]
            body["logs"] = None
        ended = phase in {Phase.DONE, Phase.FAILED} and not word
        if ended:
            body["metrics"] = {"inference_time": round(job.ends_at - job.starts_at, 3)}
        if ended and (phase is Phase.FAILED or shows == "failed"):
            text = job.fate.taken_back_error if shows == "failed" else job.fate.error or ""
            _, failed = failure_of(text)
            body |= {"error": text, "error_type": failed.get("error_type", "client_error")}
        return _request_answer(job, 200 if ended else 202, body)

    async def _result(self, call: WireCall) -> Response:
        job = call.job
        if job is None or job.shows(call.now) == "gone":
            return failure(404, "Request not found")
        phase, shows = job.phase(call.now), job.shows(call.now)
        if phase not in {Phase.DONE, Phase.FAILED}:
            return _request_answer(job, 400, {"detail": "Request is still in progress"})
        status, document = result(job, phase)
        if shows == "failed":
            status, document = failure_of(job.fate.taken_back_error)
        elif shows == "empty":
            document = {"seed": 0}
        response = _request_answer(job, status, document)
        if status >= 500:
            response.headers["X-Fal-Error-Type"] = str(document.get("error_type"))
        return response

    async def _cancel(self, call: WireCall) -> Response:
        if call.job is None:
            return JSONResponse({"status": "NOT_FOUND"}, status_code=404)
        if call.job.phase(call.now) in {Phase.DONE, Phase.FAILED}:
            return JSONResponse({"status": "ALREADY_COMPLETED"}, status_code=400)
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, status_code=202)

    async def _list(self, call: WireCall) -> Response:
        """Ended requests only, by their end; the last 24 hours unless a start is given."""
        query = call.request.query_params
        endpoints = {name for value in query.getlist("endpoint_id") for name in value.split(",") if name}
        if not 1 <= len(endpoints) <= 50:
            return failure(422, "endpoint_id: 1 to 50 are required")
        try:
            page, limit = _page(query.get("cursor"), int(query.get("limit", "50")))
            after, before = _window(query.get("start"), query.get("end"), call.now)
        except ValueError as error:
            return failure(422, str(error))
        jobs = [
            job
            for job in self.workshop.books.jobs(call.account)
            if job.ends_at <= call.now
            and after <= job.ends_at < before
            and job.listed(call.now)
            and job.model in endpoints
            and query.get("request_id") in {None, request_id(job)}
        ]
        jobs.sort(key=lambda job: (job.ends_at, job.number), reverse=True)
        payloads = "payloads" in query.get("expand", "")
        items = [_row(job, call.now, payloads=payloads) for job in jobs[page * limit : (page + 1) * limit]]
        return JSONResponse({"items": items, **_following(page, limit, len(jobs))})

    async def _bill(self, call: WireCall) -> Response:
        """Requests that were charged, by the time of the charge; an ordinary key is refused."""
        if not call.request.headers["authorization"].endswith(_ADMIN):
            return failure(403, "This endpoint requires an API key with the scope ADMIN")
        query = call.request.query_params
        try:
            page, limit = _page(query.get("cursor"), int(query.get("limit", "1000")))
            after, before = _window(query.get("start"), query.get("end"), call.now)
        except ValueError as error:
            return failure(422, str(error))
        jobs = [
            job
            for job in self.workshop.books.jobs(call.account, deleted=True)
            if self.workshop.charged_micros(job) and after <= job.ends_at < before and job.listed(call.now)
        ]
        rows: list[dict[str, Any]] = []
        for job in jobs[page * limit : (page + 1) * limit]:
            row = _event(job, self.workshop.charged_micros(job))
            rows.append(row)
            if call.effect(OddRows):
                rows += [
                    {**row, "cost_total": "much", "cost_estimate_nano_usd": None},
                    {"timestamp": "today"},
                ]
        return JSONResponse({"billing_events": rows, **_following(page, limit, len(jobs))})

    async def _prices(self, call: WireCall) -> Response:
        """One price of each model, in its unit."""
        endpoints = [
            name for value in call.request.query_params.getlist("endpoint_id") for name in value.split(",")
        ]
        known = load_endpoints()[self.name]
        if any(name not in known for name in endpoints):
            return failure(404, "Endpoint not found")
        rows = []
        for name in endpoints:
            price = known[name].price
            rate = price.per_second if price.flat is None else price.flat
            unit = "second" if price.flat is None else "video"
            if isinstance(rate, dict):
                # a price that depends on a parameter does not fit into one number
                rate, unit = next(iter(rate.values())), "1000 tokens"
            row = {"endpoint_id": name, "unit_price": float(rate or 0), "unit": unit, "currency": "USD"}
            rows.append(row)
        return JSONResponse({"prices": rows})

    async def _models(self, call: WireCall) -> Response:  # noqa: ARG002 - the handlers' interface
        models = [_model(name, endpoint) for name, endpoint in load_endpoints()[self.name].items()]
        return JSONResponse({"models": models, "next_cursor": None, "has_more": False})

    async def _keys(self, call: WireCall) -> Response:  # noqa: ARG002 - the handlers' interface
        return JSONResponse(key_set())

    async def _ticket(self, call: WireCall) -> Response:
        name, kind = call.body.get("file_name"), call.body.get("content_type")
        if not isinstance(name, str) or not isinstance(kind, str):
            return failure(422, "file_name and content_type are required")
        address, _ = self._uploads.issue(call, name, None, {"Content-Type": kind})
        return JSONResponse({"upload_url": address, "file_url": address})


def failure(status: int, message: str) -> JSONResponse:
    """Fal's error body."""
    return JSONResponse({"detail": message}, status_code=status)


def invalid(problem: InvalidParameter) -> JSONResponse:
    """A 422 that names the part of the request."""
    kind = "missing" if problem.missing else "value_error"
    detail = {"loc": ["body", problem.parameter], "msg": str(problem), "type": kind}
    return JSONResponse({"detail": [detail]}, status_code=422)


def _request_answer(job: Job, status: int, document: dict[str, Any]) -> JSONResponse:
    return JSONResponse(document, status_code=status, headers={"x-fal-request-id": request_id(job)})


def _row(job: Job, now: float, *, payloads: bool) -> dict[str, Any]:
    status, document = result(job, job.phase(now))
    row: dict[str, Any] = {
        "request_id": request_id(job),
        "endpoint_id": job.model,
        "started_at": timestamp(job.starts_at),
        "sent_at": timestamp(job.received_at),
        "ended_at": timestamp(job.ends_at),
        "status_code": status,
        "duration": round(job.ends_at - job.starts_at, 3),
    }
    return row | {"json_input": job.body, "json_output": document} if payloads else row


def _event(job: Job, micros: int) -> dict[str, Any]:
    price = float(to_usd(micros))
    return {
        "request_id": request_id(job),
        "timestamp": timestamp(job.ends_at),
        "endpoint_id": job.model,
        "output_units": 1,
        "unit_price": price,
        "percent_discount": 0,
        "cost_subtotal": price,
        "cost_discount": 0,
        "cost_total": price,
        "cost_estimate_nano_usd": micros * 1000,
    }


def _page(cursor: str | None, limit: int) -> tuple[int, int]:
    if not 1 <= limit <= 10_000:
        raise ValueError("limit: out of range")
    if cursor is None:
        return 0, limit
    try:
        return int(base64.b64decode(cursor, validate=True)), limit
    except binascii.Error:
        raise ValueError("cursor: invalid") from None


def _following(page: int, limit: int, total: int) -> dict[str, Any]:
    more = (page + 1) * limit < total
    return {
        "next_cursor": base64.b64encode(str(page + 1).encode()).decode() if more else None,
        "has_more": more,
    }


def _window(start: str | None, end: str | None, now: float) -> tuple[float, float]:
    after = now - _DAY if start is None else moment(start)
    before = math.inf if end is None else moment(end)
    if before - after > 90 * _DAY and end is not None:
        raise ValueError("a window has 90 days at most")
    return after, before


def _model(name: str, endpoint: SandboxEndpoint) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {key: rule.as_json_schema() for key, rule in endpoint.parameters.items()},
        "required": [key for key, rule in endpoint.parameters.items() if rule.required],
        "x-order-properties": list(endpoint.parameters),
    }
    return {
        "endpoint_id": name,
        "metadata": {"display_name": name, "category": endpoint.type, "status": "active"},
        "openapi": {"openapi": "3.0.4", "components": {"schemas": {"ModelInput": schema}}},
    }
