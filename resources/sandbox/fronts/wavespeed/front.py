"""WaveSpeed's REST API v3 as its pages describe it: envelopes, errors, predictions, the bill and the price endpoint."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from resources.money import to_usd
from resources.sandbox.books import Job, Phase
from resources.sandbox.desk import Front, WireCall, moment, timestamp
from resources.sandbox.endpoints import InvalidParameter, SandboxEndpoint, load_endpoints
from resources.sandbox.faults import Backward, OddRows, StatusWord
from resources.sandbox.front_registry import CallbackReport
from resources.sandbox.fronts.wavespeed.uploads import MediaUploads
from resources.sandbox.pictures import Measured, measure
from resources.sandbox.workshop import Workshop, endpoint_of

_WORDS = {
    Phase.WAITING: "created",
    Phase.WORKING: "processing",
    Phase.DONE: "completed",
    Phase.FAILED: "failed",
}


class _Refused(Exception):  # noqa: N818 - it is an answer, not a failure of the sandbox
    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class WaveSpeedFront(Front):
    """The routes under `/api/v3`.

    Args:
        report: Called after a job with a webhook is accepted.
    """

    name = "wavespeed"

    def __init__(self, workshop: Workshop, report: Callable[[], None]) -> None:
        super().__init__(workshop)
        self._report = report
        self._uploads = MediaUploads(workshop.directory / "uploads")

    def routes(self) -> list[BaseRoute]:
        """Every route; submit takes all other paths."""
        uploads = self._uploads
        api = "/api/v3"
        return [
            self.route(f"{api}/predictions/{{id}}/result", "poll", self._poll, "GET"),
            self.route(f"{api}/predictions/{{id}}", "poll", self._poll, "GET"),
            self.route(f"{api}/predictions", "list", _refusing(self._list), "POST"),
            self.route(f"{api}/predictions/delete", "delete", _refusing(self._delete), "POST"),
            self.route(f"{api}/balance", "balance", self._balance, "GET"),
            self.route(f"{api}/model/price", "price", _refusing(self._price), "POST"),
            self.route(f"{api}/billings/search", "billing", _refusing(self._billings), "POST"),
            self.route(f"{api}/models", "models", self._models, "GET"),
            self.route(f"{api}/webhook/secret", "secret", self._secret, "GET"),
            self.route(f"{api}/media/uploads", "upload", uploads.ticket, "POST"),
            self.route("/uploads/{token}/{filename}", "upload", uploads.put, "PUT", key=False),
            self.route("/uploads/{token}/{filename}", "upload", uploads.get, "GET", key=False),
            self.route(f"{api}/{{model:path}}", "submit", _refusing(self._submit), "POST"),
        ]

    def wrong_key(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """401 in the envelope."""
        return failure(401, "Invalid API key")

    def throttled(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """429 in the envelope."""
        return failure(429, "Too Many Requests")

    def identify(self, call: WireCall) -> None:
        """Read the model from the path of a submit, and the job from the path of a poll."""
        call.model = call.request.path_params.get("model", "")
        if job_id := call.request.path_params.get("id"):
            call.job = self._remembered(call.account, job_id)

    def _remembered(self, account: str, job_id: str) -> Job | None:
        job = self.workshop.books.job(account, job_id)
        oldest = self.workshop.clock() - self.workshop.settings.retention_seconds
        return job if job and job.received_at >= oldest else None

    async def _submit(self, call: WireCall) -> Response:
        endpoint = load_endpoints()[self.name].get(call.model)
        if endpoint is None:
            raise _Refused(404, f"model {call.model} not found")
        if call.broken:
            return JSONResponse({"error": "invalid request body"}, status_code=400)
        webhook = call.request.query_params.get("webhook")
        if webhook and call.body.get("enable_base64_output"):
            return JSONResponse({"error": "webhook callback does not support base64 output"}, status_code=400)
        if self.workshop.too_many(call.account):
            return self.throttled(call)
        params = self._checked(endpoint, call)
        price = endpoint.cost(params)
        if price > self.workshop.available_micros(call.account):
            raise _Refused(400, "The account does not have enough credits", 1407)
        call.job = self.workshop.accept(
            account=call.account,
            model=call.model,
            job_id=secrets.token_hex(16),
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
        data = prediction(call.job, call.base_url, Phase.WAITING)
        if call.body.get("enable_sync_mode"):
            # every video takes longer than the server's own limit
            data |= {"status": "processing", "code": 5004, "error": "Sync mode timed out"}
        return success(data)

    def _checked(self, endpoint: SandboxEndpoint, call: WireCall) -> dict[str, Any]:
        try:
            params = endpoint.read(call.body)
            params = endpoint.look_at(params, self._files(endpoint, params, call.base_url))
        except InvalidParameter as problem:
            raise _Refused(400, str(problem), 1400 if problem.missing else 1401) from None
        for character in params.get("characters", []):
            source = self._remembered(call.account, character.removeprefix("char_"))
            if source is None or source.phase(self.workshop.clock()) is not Phase.DONE:
                raise _Refused(400, f"character {character} does not exist in this account", 1401)
        return params

    def _files(self, endpoint: SandboxEndpoint, params: dict[str, Any], base_url: str) -> dict[str, Measured]:
        """The sizes of files uploaded here; addresses elsewhere are not fetched."""
        sizes = {}
        for name, rule in endpoint.parameters.items():
            if rule.type != "url" or name not in params:
                continue
            try:
                path = self._uploads.find(params[name], base_url)
            except ValueError:
                continue
            measured = measure(path) if path else None
            if measured is None:
                raise _Refused(400, f"the file of parameter {name} could not be accessed", 1402)
            sizes[name] = measured
        return sizes

    async def _poll(self, call: WireCall) -> Response:
        if call.job is None:
            return failure(404, "Prediction not found")
        self.workshop.books.count(call.job, "polls")
        phase = Phase.WAITING if call.effect(Backward) else call.job.phase(call.now)
        shows = call.job.shows(call.now)
        if shows == "gone":
            return failure(404, "Prediction not found")
        data = prediction(call.job, call.base_url, phase)
        if shows is not None:
            data |= {"outputs": [], "has_nsfw_contents": []}
        if shows == "failed":
            data |= {"status": _WORDS[Phase.FAILED], "error": call.job.fate.taken_back_error, "code": 1405}
        if word := call.effect(StatusWord):
            data["status"] = word.word
            if not word.keep_outputs:
                data |= {"outputs": [], "has_nsfw_contents": []}
        return success(data)

    async def _list(self, call: WireCall) -> Response:
        page, size = _page(call)
        conditions = call.body
        oldest = call.now - self.workshop.settings.retention_seconds
        jobs = [
            job
            for job in self.workshop.books.jobs(
                call.account,
                after=max(_time(conditions, "created_after", oldest), oldest),
                before=_time(conditions, "created_before", call.now),
            )
            if job.listed(call.now)
            and conditions.get("model") in (None, "", job.model)
            and conditions.get("status") in (None, "", _WORDS[job.phase(call.now)])
        ]
        items = []
        for job in jobs[(page - 1) * size : page * size]:
            item = prediction(job, call.base_url, job.phase(call.now))
            item["created_at"] = timestamp(job.received_at, digits=9)
            item["executionTime"] = item["timings"]["inference"]
            del item["has_nsfw_contents"]
            items.append(item)
        return success({"page": page, "items": items})

    async def _delete(self, call: WireCall) -> Response:
        ids = call.body.get("ids")
        if not isinstance(ids, list) or not all(isinstance(job_id, str) for job_id in ids):
            raise _Refused(400, "parameter ids is required", 1400)
        return success({"deleted_count": self.workshop.books.delete(call.account, ids)})

    async def _balance(self, call: WireCall) -> Response:
        return success({"balance": float(to_usd(self.workshop.balance_micros(call.account)))})

    async def _price(self, call: WireCall) -> Response:
        model, inputs = call.body.get("model_id"), call.body.get("inputs")
        endpoint = load_endpoints()[self.name].get(str(model))
        if endpoint is None:
            raise _Refused(404, f"model {model} not found")
        price = float(to_usd(endpoint.estimate(inputs if isinstance(inputs, dict) else {})))
        return success(
            {
                "model_id": model,
                "price": price,
                "discounted_price": price,
                "discount_rate": 100,
                "currency": "USD",
            }
        )

    async def _billings(self, call: WireCall) -> Response:
        page, size = _page(call)
        conditions = call.body
        after, before = _time(conditions, "start_time", 0), _time(conditions, "end_time", call.now)
        ids = [str(name) for name in conditions.get("prediction_uuids") or []]
        rows = []
        for job in self.workshop.books.jobs(call.account, deleted=True):
            if (ids and job.id not in ids) or conditions.get("model_uuid") not in (None, "", job.model):
                continue
            rows.append((job.received_at, "deduct", job))
            if self.workshop.refunded_micros(job):
                rows.append((job.ends_at + self.workshop.pace.refund_seconds, "refund", job))
        rows = [
            row
            for row in rows
            if after <= row[0] <= before
            and conditions.get("billing_type") in (None, "", row[1])
            and row[2].listed(call.now)
        ]
        rows.sort(key=lambda row: (row[0], row[2].number), reverse=conditions.get("sort") != "created_at ASC")
        items = [
            _bill(*row, job_phase=row[2].phase(call.now)) for row in rows[(page - 1) * size : page * size]
        ]
        if call.effect(OddRows):
            items += [odd for item in items for odd in _odd(item)]
        return success({"page": page, "total": len(rows), "items": items})

    async def _models(self, call: WireCall) -> Response:  # noqa: ARG002 - the handlers' interface
        return success([_model(model, endpoint) for model, endpoint in load_endpoints()[self.name].items()])

    async def _secret(self, call: WireCall) -> Response:
        return success({"secret": webhook_secret(self.workshop.key(call.account))})


def success(data: object) -> JSONResponse:
    """The envelope of a success."""
    return JSONResponse({"code": 200, "message": "success", "data": data})


def failure(status: int, message: str, code: int | None = None) -> JSONResponse:
    """The envelope of a failure; `code` is the task code in `data`."""
    body: dict[str, Any] = {"code": status, "message": message}
    if code is not None:
        body["data"] = {"code": code}
    return JSONResponse(body, status_code=status)


def prediction(job: Job, base_url: str, phase: Phase) -> dict[str, Any]:
    """A job in WaveSpeed's form."""
    outputs: list[Any] = []
    if phase is Phase.DONE and not job.fate.empty:
        if endpoint_of(job).output == "character":
            outputs = [{"id": f"char_{job.id}", "name": job.params["name"]}]
        else:
            outputs = [f"{base_url}/cdn/{job.media}.mp4"]
    failed = phase is Phase.FAILED
    ended = phase in {Phase.DONE, Phase.FAILED}
    return {
        "id": job.id,
        "model": job.model,
        "outputs": outputs,
        "urls": {"get": f"{base_url}/api/v3/predictions/{job.id}/result"},
        "has_nsfw_contents": [False] * len(outputs),
        "status": _WORDS[phase],
        "created_at": timestamp(job.received_at),
        "error": job.fate.error if failed else "",
        "code": job.fate.code if failed else 0,
        "timings": {"inference": round((job.ends_at - job.starts_at) * 1000) if ended else 0},
    }


def _odd(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the bill that prove nothing about a job."""
    opposite = "deduct" if item["billing_type"] == "refund" else "refund"
    return [
        {**item, "uuid": f"o{item['uuid'][1:]}", "billing_type": opposite},
        {**item, "uuid": f"u{item['uuid'][1:]}", "price": f"${item['price']}"},
    ]


def report(job: Job, now: float, key: str) -> CallbackReport:
    """The webhook about an ended job, signed for an account's key (WaveSpeed docs: verify-webhooks)."""
    data = prediction(job, job.base_url, job.phase(now))
    data |= {"input": job.body, "executionTime": data["timings"]["inference"]}
    body = json.dumps(data).encode()
    name, at = f"msg_{secrets.token_hex(12)}", str(int(now))
    # the key is the text after the prefix, and not base64
    secret = webhook_secret(key).removeprefix("whsec_")
    signature = hmac.new(secret.encode(), f"{name}.{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": at,
        "webhook-signature": f"v3,{signature}",
    }
    return CallbackReport(body, headers)


def webhook_secret(key: str) -> str:
    """The secret that signs an account's webhooks, one per key."""
    return "whsec_" + hashlib.sha256(f"webhook:{key}".encode()).hexdigest()[:40]


def _refusing(handler: Any) -> Any:
    async def answer(call: WireCall) -> Response:
        try:
            response: Response = await handler(call)
        except _Refused as refusal:
            return failure(refusal.status, str(refusal), refusal.code)
        return response

    return answer


def _page(call: WireCall) -> tuple[int, int]:
    page, size = call.body.get("page"), call.body.get("page_size")
    for name, value, top in (("page", page, None), ("page_size", size, 100)):
        if value is None:
            raise _Refused(400, f"parameter {name} is required", 1400)
        if not isinstance(value, int) or value < 1 or (top and value > top):
            raise _Refused(
                400, f"parameter {name} must be a number from 1" + (f" to {top}" if top else ""), 1401
            )
    return int(page or 0), int(size or 0)


def _time(body: dict[str, Any], name: str, otherwise: float) -> float:
    if body.get(name) in (None, ""):
        return otherwise
    try:
        return moment(body[name])
    except ValueError:
        raise _Refused(400, f"parameter {name} is no time", 1401) from None


def _bill(at: float, kind: str, job: Job, *, job_phase: Phase) -> dict[str, Any]:
    price = float(to_usd(job.price_micros))
    name = f"{kind}:{job.id}"
    return {
        "uuid": hashlib.sha256(name.encode()).hexdigest()[:32],
        "billing_type": kind,
        "price": price,
        "created_at": timestamp(at),
        "updated_at": timestamp(at),
        "order": {
            "uuid": hashlib.sha256(f"order:{name}".encode()).hexdigest()[:32],
            "state": "done" if job_phase in {Phase.DONE, Phase.FAILED} else "pre",
            "price": price,
            "origin_price": price,
        },
        "prediction": {"uuid": job.id, "model_uuid": job.model, "status": _WORDS[job_phase]},
        "access_key_name": "sandbox",
    }


def _model(model: str, endpoint: SandboxEndpoint) -> dict[str, Any]:
    names = list(endpoint.parameters)
    schema = {
        "type": "object",
        "properties": {name: rule.as_json_schema() for name, rule in endpoint.parameters.items()},
        "required": [name for name, rule in endpoint.parameters.items() if rule.required],
        "x-order-properties": names,
    }
    return {
        "model_id": model,
        "name": model,
        "base_price": float(endpoint.base_price),
        "description": "A stand-in of the sandbox",
        "type": endpoint.type,
        "sort_order": 0,
        "formula": "",
        "api_schema": {
            "api_schemas": [
                {
                    "type": "model_run",
                    "method": "POST",
                    "server": "",
                    "api_path": f"/api/v3/{model}",
                    "request_schema": schema,
                }
            ]
        },
    }
