"""The sandbox's admin routes: its books, faults and pace. Only this machine may use them."""

import ipaddress
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from resources.guard import Guard, Guarded
from resources.sandbox.books import Job
from resources.sandbox.faults import FaultScript
from resources.sandbox.front_registry import fronts
from resources.sandbox.settings import Pace
from resources.sandbox.workshop import Workshop


class Admin:
    """The routes under `/admin`."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def routes(self) -> list[BaseRoute]:
        """All routes, behind a guard that refuses requests from web pages in a browser on this machine."""
        routes = [
            Route("/books", _local(self._books), methods=["GET"]),
            Route("/faults", _local(self._faults), methods=["GET", "POST", "DELETE"]),
            Route("/settings", _local(self._settings), methods=["GET", "POST"]),
        ]
        guard = Guard(methods=frozenset({"GET", "HEAD", "POST", "DELETE"}))
        return [Mount("/admin", Guarded(Router(routes), guard))]

    async def _books(self, request: Request) -> Response:
        workshop, books = self._workshop, self._workshop.books
        jobs = [self._entry(job) for job in reversed(books.jobs(deleted=True))]
        body: dict[str, Any] = {
            "now": workshop.clock(),
            "counts": books.visit_counts(),
            "accounts": {
                name: {
                    "balance_micros": workshop.balance_micros(name),
                    "charged_micros": sum(job["charged_micros"] for job in jobs if job["account"] == name),
                    "refunded_micros": sum(job["refunded_micros"] for job in jobs if job["account"] == name),
                }
                for name in sorted({*fronts(), *(job["account"] for job in jobs)})
            },
            "jobs": jobs,
        }
        if request.query_params.get("requests") in {"1", "true"}:
            body["requests"] = [asdict(visit) for visit in books.visits()]
        return JSONResponse(body)

    def _entry(self, job: Job) -> dict[str, Any]:
        entry = asdict(job)
        # JSON has no infinity: the end of a stuck job is null
        for name in ("starts_at", "ends_at"):
            entry[name] = entry[name] if math.isfinite(entry[name]) else None
        entry["status"] = job.phase(self._workshop.clock()).value
        entry["charged_micros"] = self._workshop.charged_micros(job)
        entry["refunded_micros"] = self._workshop.refunded_micros(job)
        return entry

    async def _faults(self, request: Request) -> Response:
        faults, books = self._workshop.faults, self._workshop.books
        if request.method == "DELETE":
            faults.rules.clear()
            faults.tallies.clear()
            books.forget_tallies()
        elif request.method == "POST":
            faults.rules.extend(FaultScript.model_validate(await request.json()).faults)
        rules = [
            rule.model_dump(mode="json", exclude_none=True) | {"tally": asdict(faults.tally(rule))}
            for rule in faults.rules
        ]
        return JSONResponse({"faults": rules})

    async def _settings(self, request: Request) -> Response:
        if request.method == "POST":
            change = Pace.model_validate(await request.json()).model_dump(exclude_unset=True)
            self._workshop.pace = self._workshop.pace.model_copy(update=change)
        return JSONResponse(self._workshop.pace.model_dump(mode="json"))


def _local(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Refuse other machines."""

    async def answer(request: Request) -> Response:
        if not _loopback(request.client.host if request.client else ""):
            return JSONResponse({"error": "the sandbox's admin answers this machine only"}, status_code=403)
        try:
            return await handler(request)
        except ValidationError as error:
            return JSONResponse(
                {"error": error.errors(include_url=False, include_context=False)}, status_code=422
            )
        except ValueError:
            return JSONResponse({"error": "the body is not JSON"}, status_code=422)

    return answer


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
