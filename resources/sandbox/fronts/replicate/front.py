"""Replicate's HTTP API as its pages describe it: predictions of official models, the list, collections, files, webhooks."""

import base64
import binascii
import functools
import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from resources.sandbox.books import Job, Phase
from resources.sandbox.cdn import Cdn
from resources.sandbox.desk import Front, WireCall, moment, timestamp
from resources.sandbox.endpoints import InvalidParameter, SandboxEndpoint, load_endpoints
from resources.sandbox.faults import Backward, StatusWord
from resources.sandbox.front_registry import CallbackReport
from resources.sandbox.fronts.replicate.errors import problem
from resources.sandbox.fronts.replicate.uploads import UploadedFiles
from resources.sandbox.workshop import Workshop

BASE = "/replicate"
KEPT_SECONDS = 3_600.0
"""How long after its end a prediction's input, output and file are kept (Replicate docs: data retention)."""
PAGE = 100

_WORDS = {
    Phase.WAITING: "starting",
    Phase.WORKING: "processing",
    Phase.DONE: "succeeded",
    Phase.FAILED: "failed",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_KNOWN = frozenset({"input", "webhook", "webhook_events_filter", "stream"})


class ReplicateFront(Front):
    """The routes under `/replicate`.

    Args:
        report: Called after a prediction with a webhook is accepted.
    """

    name = "replicate"

    def __init__(self, workshop: Workshop, report: Callable[[], None]) -> None:
        super().__init__(workshop)
        self._report = report
        self._cdn = Cdn(workshop)
        self._files = UploadedFiles(workshop.directory / "replicate-files", f"{BASE}/v1/files")

    def routes(self) -> list[BaseRoute]:
        """Every route. Files need the token, as on the pages."""
        api = f"{BASE}/v1"
        return [
            self.route(f"{api}/models/{{owner}}/{{model}}/predictions", "submit", self._submit, "POST"),
            self.route(f"{api}/predictions", "list", self._list, "GET"),
            self.route(f"{api}/predictions", "submit", self._submit_version, "POST"),
            self.route(f"{api}/predictions/{{id}}", "poll", self._poll, "GET"),
            self.route(f"{api}/predictions/{{id}}/cancel", "delete", self._poll, "POST"),
            self.route(f"{api}/files", "upload", self._files.post, "POST"),
            self.route(f"{api}/files/{{file}}", "upload", self._files.get, "GET"),
            self.route(f"{api}/account", "balance", self._account_answer, "GET"),
            self.route(f"{api}/collections/{{slug}}", "models", self._collection, "GET"),
            self.route(f"{api}/webhooks/default/secret", "secret", self._secret, "GET"),
            self.route(f"{BASE}/delivery/{{media}}.mp4", "cdn", self._file, "GET"),
        ]

    def wrong_key(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """401 with Replicate's problem."""
        return problem(401, "Unauthenticated", "You did not pass a valid authentication token")

    def throttled(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """429 with Replicate's detail."""
        detail = "Request was throttled. Your rate limit resets in ~30s."
        return JSONResponse({"detail": detail, "status": 429}, status_code=429)

    def identify(self, call: WireCall) -> None:
        """Read the model from the path or the version of a submit, and the prediction from the path of a poll."""
        path = call.request.path_params
        if "model" in path:
            call.model = f"{path['owner']}/{path['model']}"
        elif call.request.method == "POST" and "id" not in path:
            call.model = str(call.body.get("version", ""))
        if call.request.method == "POST" and isinstance(call.body.get("input"), dict):
            # faults are chosen by the prompt, which is in the input; the rest is read from the bytes
            call.body = call.body["input"]
        if "id" in path:
            call.job = self.workshop.books.job(call.account, path["id"])
        elif "media" in path:
            call.job = self.workshop.books.job_of_media(path["media"])

    async def _submit_version(self, call: WireCall) -> Response:
        return await self._submit(call, envelope=_KNOWN | {"version"})

    async def _submit(self, call: WireCall, envelope: frozenset[str] = _KNOWN) -> Response:
        endpoint = load_endpoints()[self.name].get(call.model)
        if endpoint is None:
            return problem(404, "Not found", f"The requested resource {call.model} could not be found.")
        sent = {} if call.broken else json.loads(call.raw or b"{}")
        parameters = sent.get("input")
        if not isinstance(parameters, dict) or not sent.keys() <= envelope:
            return problem(422, "Input validation failed", "input: input is required, and nothing unknown")
        try:
            params = endpoint.read(parameters)
            pictures = endpoint.pictures(
                params,
                find=functools.partial(self._files.find, call),
                problem="parameter {name} holds no image",
            )
            params = endpoint.look_at(params, pictures)
        except InvalidParameter as wrong:
            return problem(422, "Input validation failed", f"- input.{wrong.parameter}: {wrong}")
        if self.workshop.too_many(call.account):
            return self.throttled(call)
        price = endpoint.cost(params)
        if price > self.workshop.available_micros(call.account):
            return problem(402, "Insufficient credit", "You have insufficient credit to run this model.")
        webhook = sent.get("webhook")
        call.job = self.workshop.accept(
            account=call.account,
            model=call.model,
            job_id="".join(secrets.choice(_LETTERS) for _ in range(26)),
            body=_without_pictures(parameters),
            params=_without_pictures(params),
            price_micros=price,
            rules=call.rules,
            base_url=call.base_url,
            submission_id=call.request.headers.get("x-client-request-id"),
            webhook=webhook if isinstance(webhook, str) else None,
        )
        if call.job.webhook:
            self._report()
        return JSONResponse(prediction(call.job, Phase.WAITING, call.now), status_code=201)

    async def _poll(self, call: WireCall) -> Response:
        job = call.job
        shows = None if job is None else job.shows(call.now)
        if job is None or shows == "gone":
            return problem(404, "Not found", "The requested resource could not be found.")
        self.workshop.books.count(job, "polls")
        phase = Phase.WAITING if call.effect(Backward) else job.phase(call.now)
        if shows == "failed":
            phase = Phase.FAILED
        body = prediction(job, phase, call.now)
        if shows == "failed":
            body["error"] = job.fate.taken_back_error
        elif shows == "empty":
            body["output"] = None
        if word := call.effect(StatusWord):
            body["status"] = word.word
            body["output"] = body["output"] if word.keep_outputs else None
        return JSONResponse(body)

    async def _list(self, call: WireCall) -> Response:
        """Predictions from their creation on, newest first, a hundred a page."""
        query = call.request.query_params
        try:
            after = -math.inf if "created_after" not in query else moment(query["created_after"])
            before = math.inf if "created_before" not in query else moment(query["created_before"])
            page = int(base64.b64decode(query.get("cursor", "MA=="), validate=True))
        except (ValueError, binascii.Error):
            return problem(422, "Invalid query", "a date or a cursor cannot be read")
        jobs = [
            job
            for job in self.workshop.books.jobs(call.account, after=after, before=before)
            if job.listed(call.now)
        ]
        following = None
        if (page + 1) * PAGE < len(jobs):
            cursor = base64.b64encode(str(page + 1).encode()).decode()
            conditions = {**dict(query.items()), "cursor": cursor}
            following = f"{call.base_url}{BASE}/v1/predictions?{urlencode(conditions)}"
        rows = [
            prediction(job, job.phase(call.now), call.now) for job in jobs[page * PAGE : (page + 1) * PAGE]
        ]
        return JSONResponse({"next": following, "previous": None, "results": rows})

    async def _file(self, call: WireCall) -> Response:
        if call.job is not None and _is_removed(call.job, call.now):
            return Response("Not found", status_code=404)
        return await self._cdn.fetch(call)

    async def _account_answer(self, call: WireCall) -> Response:
        return JSONResponse({"type": "user", "username": call.account, "name": "Sandbox"})

    async def _collection(self, call: WireCall) -> Response:
        slug = call.request.path_params["slug"]
        models = [
            _model(name, endpoint)
            for name, endpoint in load_endpoints()[self.name].items()
            if endpoint.type == slug
        ]
        return JSONResponse({"name": slug, "slug": slug, "description": "", "models": models})

    async def _secret(self, call: WireCall) -> Response:
        return JSONResponse({"key": webhook_secret(self.workshop.key(call.account))})


def prediction(job: Job, phase: Phase, now: float) -> dict[str, Any]:
    """A job in Replicate's form."""
    removed = _is_removed(job, now)
    ended = phase in {Phase.DONE, Phase.FAILED}
    of = f"{job.base_url}{BASE}/v1/predictions/{job.id}"
    output = None
    if phase is Phase.DONE and not job.fate.empty and not removed:
        output = f"{job.base_url}{BASE}/delivery/{job.media}.mp4"
    return {
        "id": job.id,
        "model": job.model,
        "version": "hidden",
        "input": {} if removed else job.body,
        "logs": "",
        "output": output,
        "data_removed": removed,
        "error": job.fate.error if phase is Phase.FAILED else None,
        "source": "api",
        "status": _WORDS[phase],
        "created_at": timestamp(job.received_at, digits=6),
        "started_at": timestamp(job.starts_at, digits=6) if phase is not Phase.WAITING else None,
        "completed_at": timestamp(job.ends_at, digits=6) if ended else None,
        "metrics": {"predict_time": round(job.ends_at - job.starts_at, 3)} if ended else {},
        "urls": {"get": of, "cancel": f"{of}/cancel", "web": f"https://replicate.com/p/{job.id}"},
    }


def _is_removed(job: Job, now: float) -> bool:
    return now > job.ends_at + KEPT_SECONDS


def webhook_secret(key: str) -> str:
    """The secret that signs an account's webhooks, one per key."""
    return "whsec_" + base64.b64encode(hashlib.sha256(f"webhook:{key}".encode()).digest()[:24]).decode()


def report(job: Job, now: float, key: str) -> CallbackReport:
    """The webhook about an ended prediction (Replicate docs: webhooks, Standard Webhooks)."""
    body = json.dumps(prediction(job, job.phase(now), now)).encode()
    name, at = f"msg_{secrets.token_hex(12)}", str(int(now))
    secret = base64.b64decode(webhook_secret(key).removeprefix("whsec_"))
    signed = hmac.new(secret, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    return CallbackReport(body, headers)


def _without_pictures(fields: dict[str, Any]) -> dict[str, Any]:
    """The same input without megabytes of base64; the real list names a file's address instead."""
    return {
        name: f"https://replicate.delivery/inputs/{hashlib.sha256(value.encode()).hexdigest()}"
        if isinstance(value, str) and value.startswith("data:")
        else value
        for name, value in fields.items()
    }


def _model(name: str, endpoint: SandboxEndpoint) -> dict[str, Any]:
    owner, _, own = name.partition("/")
    schema = {
        "type": "object",
        "properties": {key: rule.as_json_schema() for key, rule in endpoint.parameters.items()},
        "required": [key for key, rule in endpoint.parameters.items() if rule.required],
    }
    document = {"openapi": "3.0.2", "components": {"schemas": {"Input": schema}}}
    return {"owner": owner, "name": own, "latest_version": {"id": "hidden", "openapi_schema": document}}
