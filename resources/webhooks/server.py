"""The receiver's server on this machine, behind the user's own proxy to the internet.

The receiver is public, so connections are bounded before the application sees a request: bytes of the head, seconds until
the head is complete, and their number.
"""

import contextlib
import time
from typing import TYPE_CHECKING, Any

from resources.errors import ConfigurationError
from resources.health import WithProbes
from resources.providers.accounts import build_provider
from resources.providers.registry import registered, spec_of
from resources.settings import Settings, open_ledger
from resources.webhooks.receiver import Caller, Receiver

if TYPE_CHECKING:
    import asyncio

    import uvicorn

    from resources.guard import App

HOST = "127.0.0.1"
PORT = 8790
HEAD_LIMIT = 32_768
"""Most bytes of a request's first line and headers; WaveSpeed's callbacks have about 1 kB."""
HEAD_SECONDS = 10.0
"""Seconds after which a connection without a complete head is closed."""
MOST_CONNECTIONS = 200
"""Most connections; others are answered with 503."""


def callers(settings: Settings) -> dict[str, Caller]:
    """The accounts with a key whose provider sends webhooks.

    Raises:
        ConfigurationError: There is none, or a key or an address cannot be used.
    """
    by_account = {}
    able = {spec.name: spec.callbacks for spec in registered().values() if spec.callbacks is not None}
    for account in map(settings.account, settings.account_names):
        read = able.get(account.provider)
        if read is not None and account.api_key is not None and account.unusable is None:
            client = build_provider(account, clock=time.time)
            by_account[account.name] = Caller(client, read(client))
    if not by_account:
        variables = ", ".join(spec_of(name).key_variable for name in able)
        raise ConfigurationError(f"no account whose provider sends webhooks has a key: set {variables}")
    return by_account


def serve(settings: Settings, *, port: int = PORT, host: str = HOST) -> None:
    """Serve until interrupted.

    Args:
        port: Its port.
        host: The IP address to listen at. Clients need no login: each callback carries a token and a signature.

    Raises:
        ConfigurationError: `DAILIES_WEBHOOK_URL` is not set, or the account cannot be used.
    """
    import uvicorn

    if settings.webhook_url is None:
        raise ConfigurationError(
            "no webhook address is set: set DAILIES_WEBHOOK_URL to the https address at which a proxy of yours passes "
            f"requests on to {host}:{port}. Without it jobs are polled, which is enough."
        )
    with open_ledger(settings) as ledger:
        received = Receiver(ledger, callers(settings)).app()
        app = WithProbes(received, lambda: contextlib.nullcontext(ledger))
        uvicorn.Server(bounded(app, port=port, host=host)).run()


def bounded(
    app: "App", *, port: int = PORT, host: str = HOST, head_seconds: float = HEAD_SECONDS
) -> "uvicorn.Config":
    """The configuration of the server: every bound of uvicorn, and one that it lacks."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class WebhookProtocol(H11Protocol):
        """HTTP by h11, which bounds the head (httptools accepted one of 60 MB), on connections that must not be idle."""

        _patience: "asyncio.TimerHandle | None" = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._set_head_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._patience is not None:
                self._patience.cancel()
            super().connection_lost(exc)

        def _set_head_timer(self) -> None:
            self._patience = self.loop.call_later(head_seconds, self._close_if_idle)

        def _close_if_idle(self) -> None:
            # h11 makes a `cycle` when a head is complete
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()
            else:
                self._set_head_timer()

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=WebhookProtocol,
        h11_max_incomplete_event_size=HEAD_LIMIT,
        limit_concurrency=MOST_CONNECTIONS,
        access_log=False,  # addresses carry tokens
        log_level="warning",
        server_header=False,
    )
