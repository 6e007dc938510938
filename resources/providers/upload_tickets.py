"""Uploads a file to the address of a provider's ticket, with the ticket's headers and without our key.

The address comes from an answer, so it is treated like every address from outside: it must be a global one, and the connection
goes to the address that was checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from resources.network.way_out import Network
from resources.providers import answers
from resources.providers.base import FailureKind, UploadFailed
from resources.storage.addresses import locate
from resources.storage.connections import NETWORK_ERRORS, Deadline, ProxyError, connect, send
from resources.storage.download_policy import DownloadError, DownloadPolicy, UnsafeAddressError

PUT_SECONDS = 300.0
CONNECT_SECONDS = 10.0

_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_SENT = re.compile(
    r"content-(?:type|md5|disposition|language)|cache-control|expires|if-none-match"
    r"|x-(?:amz|goog|ms|oss|cos|obs|tos|bz)-[a-z0-9-]{1,80}"
)
"""The headers of a ticket that are sent: those that describe the object, and those of storage hosts.

A ticket cannot set Host, Content-Length, Authorization or Cookie.
"""
_MOST_HEADERS = 50
_LONGEST_VALUE = 4_096
_PASSING = {408, 425, 429}


@dataclass(frozen=True)
class Ticket:
    """A provider's permission to upload a file."""

    put_url: str = field(repr=False)
    """The address for the upload. Everybody who knows it can write there, so it is shown nowhere."""
    headers: Mapping[str, str] = field(repr=False)
    """Headers to send unchanged, since the host compares them with the signature; see `_SENT` for which."""
    download_url: str = field(repr=False)
    """The address of the file, for the request."""

    @classmethod
    def read(cls, data: Mapping[str, object]) -> "Ticket | None":
        """The ticket in an answer, None if there is no usable one (WaveSpeed contract: uploads)."""
        upload = data.get("upload")
        fields = upload if isinstance(upload, dict) else {}
        urls = answers.media_urls([fields.get("url"), data.get("download_url")])
        headers = fields.get("headers") or {}
        method = fields.get("method", "PUT")
        if len(urls) != 2 or method != "PUT" or not isinstance(headers, dict):
            return None
        if len(headers) > _MOST_HEADERS or not all(_is_header(*header) for header in headers.items()):
            return None
        return cls(urls[0], headers, urls[1])


def _is_header(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and _HEADER.fullmatch(name) is not None
        and isinstance(value, str)
        and len(value) <= _LONGEST_VALUE
        and value.isprintable()
        and value.isascii()
    )


def put(ticket: Ticket, data: bytes, *, base_url: str, network: Network) -> UploadFailed | None:
    """Upload a file to the address of its ticket; returns None if the host accepted it. Blocks: run it in a thread.

    Args:
        base_url: The provider's own address, which may be this machine (the sandbox).
    """
    parts = urlsplit(base_url)
    policy = DownloadPolicy(allowed_origins=frozenset({f"{parts.scheme}://{parts.netloc}"}), network=network)
    try:
        target = locate(ticket.put_url, policy)
    except UnsafeAddressError:
        host = urlsplit(ticket.put_url).hostname
        return UploadFailed(
            f"the address for the upload, at {host}, is not https on the internet", FailureKind.INVALID
        )
    except DownloadError:
        return UploadFailed("the upload's host cannot be resolved now", FailureKind.PROVIDER)
    headers = {name: value for name, value in ticket.headers.items() if _SENT.fullmatch(name.lower())}
    try:
        with Deadline(PUT_SECONDS) as deadline:
            connection = connect(target, connect_seconds=CONNECT_SECONDS, deadline=deadline)
            try:
                # the body is never read: it may be endless, or expand without bounds
                status = send(
                    connection, target, "PUT", headers, data, seconds=PUT_SECONDS, deadline=deadline
                ).status
            finally:
                connection.close()
    except ProxyError as error:
        return UploadFailed(str(error), FailureKind.PROVIDER)
    except NETWORK_ERRORS as error:
        name = type(error).__name__
        return UploadFailed(f"the connection to the upload's host failed ({name})", FailureKind.PROVIDER)
    if 200 <= status < 300:
        return None
    passing = status >= 500 or status in _PASSING
    kind = FailureKind.PROVIDER if passing else FailureKind.INVALID
    kept = sorted(name for name in ticket.headers if name not in headers)
    unsent = f"; its ticket's headers {', '.join(kept)} were not sent" if kept else ""
    return UploadFailed(f"the upload's host answered HTTP {status}{unsent}", kind)
