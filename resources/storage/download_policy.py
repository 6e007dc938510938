"""The limits of downloads, and their errors."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from resources.errors import ConfigurationError, DailiesError
from resources.network.way_out import Network

DEFAULT_PORTS = {"https": 443, "http": 80}


class DownloadError(DailiesError):
    """An output could not be fetched. The text never holds the query of its address, which may be a signature."""

    retryable = True
    """The same address may answer later. A failed download is downloaded again; it never causes another purchase."""
    expired = False
    """The address no longer works; the job is polled once more for a new address."""


class RefusedError(DownloadError):
    """The server refuses to send the output, and asking again changes nothing."""

    retryable = False


class OutputGoneError(RefusedError):
    """401, 403, 404 or 410: the address has expired or the output was deleted."""

    expired = True


class UnsafeAddressError(RefusedError):
    """The address leads where a download must not go: to this machine, a private network, or over plain http."""


class TooLargeError(RefusedError):
    """The output has more bytes than the limit."""


class ChangedError(DownloadError):
    """The file changed during one download, so that its parts do not belong together."""


class NotAVideoError(DownloadError):
    """The server sent an error page, JSON or nothing instead of an MP4. Such faults are often temporary."""


@dataclass(frozen=True)
class OutputKey:
    """A key for outputs on a provider's own hosts. No other host gets it, and no host before it answers 401 or 403."""

    header: str = field(repr=False)
    """The value of `Authorization`."""
    hosts: tuple[str, ...] = ()
    """Hosts that get it over https, with their subdomains."""
    origin: str | None = None
    """The one origin that gets it instead, for a sandbox."""

    def belongs_to(self, scheme: str, host: str, port: int) -> bool:
        """Whether an origin may get it."""
        if self.origin is not None:
            return f"{scheme}://{host}:{port}" == _as_origin(self.origin)
        below = any(host == known or host.endswith(f".{known}") for known in self.hosts)
        return below and (scheme, port) == ("https", 443)


@dataclass(frozen=True)
class DownloadPolicy:
    """The limits of a download."""

    allowed_origins: frozenset[str] = field(default_factory=frozenset)
    """Exact origins such as `http://127.0.0.1:8123` that are allowed although they are not on the internet or use plain http, for the
    sandbox."""
    network: Network = field(default_factory=Network)
    """The way out."""
    key: OutputKey | None = None
    """The key of the account whose output is fetched, if its provider's hosts may need one."""
    max_bytes: int = 2_000_000_000
    """The largest file that is fetched, in bytes."""
    connect_seconds: float = 10
    """For the connection to one address."""
    read_seconds: float = 30
    """Until the next bytes arrive."""
    total_seconds: float = 900
    """For the whole download."""
    max_redirects: int = 5
    max_resumes: int = 8
    """How often another request follows a cut, a timeout or a 5xx."""
    pause_seconds: float = 0.25
    """Before the first of those requests; it doubles each time, up to five seconds."""

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
