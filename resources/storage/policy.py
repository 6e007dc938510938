"""What a download may do, and the ways it can fail."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from resources.errors import ConfigurationError, DailiesError
from resources.network.way_out import Network

DEFAULT_PORTS = {"https": 443, "http": 80}


class DownloadError(DailiesError):
    """An output could not be fetched. The text never holds the query of its address, which may be a signature.

    Attributes:
        retryable: The same address may answer later. What was paid for is fetched: the clip is never made again for it.
        expired: The address no longer works; the job's answer is read once more for a fresh one.
    """

    retryable = True
    expired = False


class RefusedError(DownloadError):
    """The server answers that it will not send this, and asking again changes nothing."""

    retryable = False


class OutputGoneError(RefusedError):
    """401, 403, 404 or 410: the address has expired or the output was deleted."""

    expired = True


class UnsafeAddressError(RefusedError):
    """The address leads somewhere a download must not go: this machine, a private network, plain http."""


class TooLargeError(RefusedError):
    """The output has more bytes than are fetched."""


class ChangedError(DownloadError):
    """The file changed between two parts of one download, so that the parts do not belong together."""


class NotAVideoError(DownloadError):
    """Something else than an MP4 was sent: an error page, JSON, nothing. Often a fault of the moment."""


@dataclass(frozen=True)
class DownloadPolicy:
    """The limits of a download.

    Attributes:
        allowed_origins: Exact origins such as `http://127.0.0.1:8123` that may be fetched from although they are not on
            the internet or speak plain http: the sandbox.
        network: The way out.
        max_bytes: The largest file that is fetched.
        connect_seconds: For connecting to one address.
        read_seconds: For the next bytes to arrive.
        total_seconds: For everything.
        max_redirects: Hops that are followed.
        max_resumes: How often a cut, a timeout or a 5xx is followed by another request.
        pause_seconds: Before the first of those; it doubles each time, up to five seconds.
    """

    allowed_origins: frozenset[str] = field(default_factory=frozenset)
    network: Network = field(default_factory=Network)
    max_bytes: int = 2_000_000_000
    connect_seconds: float = 10
    read_seconds: float = 30
    total_seconds: float = 900
    max_redirects: int = 5
    max_resumes: int = 8
    pause_seconds: float = 0.25

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed_origins", frozenset(map(_as_origin, self.allowed_origins)))

    def allows(self, scheme: str, host: str, port: int) -> bool:
        """Whether an origin is one of the exceptions."""
        return f"{scheme}://{host}:{port}" in self.allowed_origins


def _as_origin(text: str) -> str:
    if "*" in text:
        raise ConfigurationError(
            f"{text!r}: origins have no wildcards, since any host that a stranger names would be one of them. Name each, e.g. "
            "https://cdn.example.com"
        )
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        parts = urlsplit("")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username is not None:
        raise ConfigurationError(f"{text!r} is not an origin; write it like http://127.0.0.1:8123")
    return f"{parts.scheme}://{parts.hostname}:{port}"
