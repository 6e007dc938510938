"""The message about a retired endpoint, for the author of a file."""

import datetime as dt

from resources.catalogue import Endpoint
from resources.declared.problems import show


def retired(endpoint: Endpoint, today: dt.date) -> str | None:
    """The message about an endpoint that is retired on a day; None while it is not."""
    lifecycle = endpoint.lifecycle
    if not lifecycle.retired(today):
        return None
    since = f" since {lifecycle.sunset_at}" if lifecycle.sunset_at else ""
    instead = f"use {show(lifecycle.replacement)}, or " if lifecycle.replacement else ""
    return f"is retired by its provider{since}; {instead}set `allow_retired: true` if it can still be bought"
