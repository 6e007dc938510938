"""The ASGI application: all providers, the CDN and the admin under one address."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resources.sandbox.admin import Admin
from resources.sandbox.cdn import Cdn
from resources.sandbox.faults import Faults
from resources.sandbox.front_registry import fronts
from resources.sandbox.settings import SandboxSettings
from resources.sandbox.webhooks import Courier
from resources.sandbox.workshop import Workshop


def create_app(
    settings: SandboxSettings | None = None,
    *,
    clock: Callable[[], float] = time.time,
    faults: Faults | None = None,
    wait: Callable[[str, float, int], Awaitable[None]] | None = None,
) -> Starlette:
    """Build a sandbox.

    All providers have the same base URL, the address of the app, and different paths. The lifespan closes `app.state.workshop`. Without a lifespan (an in-process transport) the caller must call
    `app.state.workshop.close()`.

    Args:
        settings: None for the defaults.
        clock: Seconds since the epoch; tests pass a fake one.
        faults: See `Workshop`.
        wait: See `Workshop`.

    Raises:
        resources.errors.ConfigurationError: The fault script is wrong, or the state directory cannot be used.
    """
    workshop = Workshop(settings or SandboxSettings(), clock, faults, wait)
    courier = Courier(workshop)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 - Starlette's interface
        courier.wake()
        yield
        await courier.stop()
        workshop.close()

    app = Starlette(
        routes=[
            Route("/", _welcome),
            *Admin(workshop).routes(),
            *Cdn(workshop).routes(),
            *(route for front in fronts().values() for route in front.front(workshop, courier.wake).routes()),
        ],
        lifespan=lifespan,
    )
    app.state.workshop = workshop
    return app


async def _welcome(request: Request) -> Response:  # noqa: ARG001 - Starlette's interface
    return JSONResponse(
        {
            "service": "dailies sandbox",
            **{front.name: front.path for front in fronts().values()},
            "admin": ["/admin/books", "/admin/faults", "/admin/settings"],
        }
    )
