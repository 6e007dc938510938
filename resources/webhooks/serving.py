"""Serving the receiver with uvicorn on this machine; what is reached from the internet is a proxy of yours before it."""

import time

from resources.errors import ConfigurationError
from resources.providers.accounts import build_provider
from resources.providers.wavespeed import WaveSpeed
from resources.settings import Settings, open_ledger
from resources.webhooks.receiver import Caller, Receiver

HOST = "127.0.0.1"
PORT = 8790


def callers(settings: Settings) -> dict[str, Caller]:
    """The accounts whose provider calls back; AI/ML API has no webhooks for video.

    Raises:
        ConfigurationError: The key or the address cannot be used.
    """
    provider = build_provider(settings.account("wavespeed"), clock=time.time)
    if not isinstance(provider, WaveSpeed):
        raise ConfigurationError("webhooks need a WaveSpeed account")
    return {provider.name: Caller(provider, provider.webhook_secret)}


def serve(settings: Settings, *, port: int = PORT) -> None:
    """Serve until interrupted.

    Raises:
        ConfigurationError: `DAILIES_WEBHOOK_URL` is not set, or the account cannot be used.
    """
    import uvicorn

    if settings.webhook_url is None:
        raise ConfigurationError(
            "no webhook address is set: set DAILIES_WEBHOOK_URL to the https address at which a proxy of yours passes "
            f"requests on to {HOST}:{port}. Without it jobs are polled, which is enough."
        )
    with open_ledger(settings) as ledger:
        app = Receiver(ledger, callers(settings)).app()
        # addresses carry tokens: no access log
        uvicorn.run(app, host=HOST, port=port, access_log=False, log_level="warning", server_header=False)
