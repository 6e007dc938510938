"""Whether an endpoint may still be bought from, in the words a file's author needs."""

import datetime as dt

from resources.catalogue import Endpoint
from resources.declared.problems import show


def retired(endpoint: Endpoint, today: dt.date) -> str | None:
    """What is to be said about an endpoint that its provider has retired; None while it lives."""
    lifecycle = endpoint.lifecycle
    if not lifecycle.retired(today):
        return None
    since = f" since {lifecycle.sunset_at}" if lifecycle.sunset_at else ""
    instead = f"use {show(lifecycle.replacement)}, or " if lifecycle.replacement else ""
    return f"is retired by its provider{since}; {instead}say `allow_retired: true` if you know better"
