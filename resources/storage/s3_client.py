"""The bucket's settings, and the one client that a process has for it."""

import ipaddress
import os
import re
import threading
from typing import TYPE_CHECKING, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from resources.network.proxies import Proxy
from resources.network.way_out import Network

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

Addressing = Literal["path", "virtual"]
"""The addressing style: the bucket is in the path (`host/bucket/key`) or in the host's name (`bucket.host/key`)."""

_AWS = (".amazonaws.com", ".amazonaws.com.cn")

_clients: dict[tuple[int, "S3Settings", Addressing | None, bool], "S3Client"] = {}
_clients_lock = threading.Lock()


class S3Settings(BaseModel):
    """The address of the bucket, and the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bucket: str
    """Its name. Old buckets of AWS have names of up to 255 characters, with capitals and underscores."""
    endpoint_url: str | None = None
    """The address of an S3-compatible server, with its path if any; None is AWS, or the server in boto3's own settings."""
    region: str = "us-east-1"
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """The addressing style; `auto` finds it out."""
    access_key_id: str | None = None
    """None leaves the credentials to boto3's own chain (environment, profile, instance role)."""
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    """The session token of temporary credentials."""
    ride_out_seconds: float = Field(default=60, ge=0)
    """How long a request is repeated while S3 does not answer or answers 5xx, in seconds."""
    connections: int = Field(default=16, ge=1)
    """How many requests of this process may run in parallel."""
    network: Network = Field(default=Network(), exclude=True, repr=False)
    """The way out."""

    @field_validator("bucket")
    @classmethod
    def _name_of_a_bucket(cls, value: str) -> str:
        # AWS, "Bucket naming rules": before March 2018 us-east-1 took these; "." and ".." would change the path
        if not re.fullmatch(r"[A-Za-z0-9._-]{3,255}", value, re.ASCII) or not value.strip("."):
            raise ValueError(
                "a bucket's name has 3 to 255 letters (a-z, A-Z), digits, dots, hyphens or underscores"
            )
        return value

    @field_validator("endpoint_url")
    @classmethod
    def _address_of_a_server(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.match("https?://", value):
            # no part of the value is repeated: it may hold a password
            raise ValueError("begin the address with https:// (or http://), e.g. https://s3.example.com")
        parts = _parsed(value)
        if parts is None or not parts.hostname:
            raise ValueError("not an address like https://s3.example.com or http://[::1]:9000")
        if parts.username is not None or parts.password is not None:
            raise ValueError("leave the key out of the address; it has settings of its own")
        if parts.query or parts.fragment or re.search(r"[\s\\]", value):
            raise ValueError("leave out white space, backslashes, and what follows ? or #")
        return value.rstrip("/")

    @field_validator("access_key_id", "secret_access_key", "session_token")
    @classmethod
    def _fits_into_a_header(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        # http.client refuses such a header with an error that quotes it: key, signature and token were in the log
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and not re.fullmatch("[!-~]+", text):
            raise ValueError(
                "it is empty, or holds a space, a line break or a character that no key has (often from copying, or from `echo` into "
                "a secret file); paste it again. Nothing was sent"
            )
        return value

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> "S3Settings":
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: give both or neither"
            )
        return self

    @model_validator(mode="after")
    def _host_can_name_the_bucket(self) -> "S3Settings":
        # botocore would silently use the path
        if self.addressing == "virtual" and not self.can_be_virtual:
            raise ValueError(
                f"DAILIES_S3_ADDRESSING=virtual: the bucket {self.bucket} cannot be part of the host's name. That takes a server "
                "with a name (not an IP address), and a bucket of small letters, digits and hyphens. Use path or auto"
            )
        return self

    @property
    def can_be_virtual(self) -> bool:
        """Whether the host's name can name the bucket: no certificate covers a dot in it, and an IP address has no subdomains."""
        parts = urlsplit(self.endpoint_url or "https://s3.amazonaws.com")
        dot = "." if parts.scheme == "http" else ""
        if not re.fullmatch(rf"[a-z0-9][a-z0-9{dot}-]{{1,61}}[a-z0-9]", self.bucket) or ".." in self.bucket:
            return False
        try:
            ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            return True
        return False


def client_for(
    settings: S3Settings, *, addressing: Addressing | None = None, signed_bodies: bool = False
) -> "S3Client":
    """The process's client for these settings; threads may share it. Making one takes 70 to 220 ms.

    Args:
        addressing: The addressing style; None for the usual one: the host's name at AWS, the path elsewhere. The settings' own
            style has priority.
        signed_bodies: Whether bodies are signed, for servers that refuse UNSIGNED-PAYLOAD. Signed bodies are read twice.
    """
    if settings.addressing != "auto":
        addressing = settings.addressing
    # a client serves every bucket of its server, and retries are the caller's; a forked child must not share its parent's connections
    of_server = settings.model_copy(update={"bucket": "", "ride_out_seconds": 0})
    name = (os.getpid(), of_server, addressing, signed_bodies)
    client = _clients.get(name)
    if client is None:
        with _clients_lock:
            client = _clients.get(name) or _clients.setdefault(
                name, _connect(settings, addressing, signed_bodies)
            )
    return client


def is_aws(client: "S3Client") -> bool:
    """Whether the client talks to AWS itself, which performs the checks that it is asked for; other servers may not."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith(_AWS)


def _connect(
    settings: S3Settings, addressing: Addressing | None, signed_bodies: bool, server: str | None = None
) -> "S3Client":
    """Create a client; `server` is the address from boto3's own settings, if they name one."""
    import boto3
    import botocore.session

    from resources.storage.answer_bounds import bound_answers

    # the host of AWS is this one or a subdomain of its end, whatever the region
    server = server or settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com"
    proxy = settings.network.proxy_to(server)
    style: Literal["auto", "path", "virtual"] = addressing or ("path" if settings.endpoint_url else "auto")
    core = botocore.session.get_session()
    client = boto3.session.Session(botocore_session=core).client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=_revealed(settings.secret_access_key),
        aws_session_token=_revealed(settings.session_token),
        config=_client_config(settings, style, signed_bodies, proxy),
        verify=core.get_scoped_config().get("ca_bundle") or settings.network.trust.file(),
    )
    if style == "auto" and not is_aws(client):
        # boto3's own settings (AWS_ENDPOINT_URL_S3, a profile) name another server
        return _connect(settings, "path", signed_bodies, client.meta.endpoint_url)
    bound_answers(client)
    return client


def _client_config(
    settings: S3Settings,
    addressing_style: Literal["auto", "path", "virtual"],
    signed_bodies: bool,
    proxy: Proxy | None,
) -> "Config":
    """The client's configuration."""
    from botocore.config import Config

    is_tls = proxy is not None and proxy.scheme == "https"
    # A checksum is sent as a signed header, so that the payload needs no separate signature: the file is read once, and sent
    # with a plain Content-Length, which servers that refuse chunked trailers accept too (rclone: 411).
    return Config(
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},
        # botocore would compose a name of twenty parts twice a request, 3 % of a worker's processor time
        user_agent="dailies",
        s3={"payload_signing_enabled": signed_bodies, "addressing_style": addressing_style},
        max_pool_connections=settings.connections,
        connect_timeout=10,
        read_timeout=60,
        # without proxies here, botocore would read the environment by its own rules
        proxies={} if proxy is None else {"http": proxy.url, "https": proxy.url},
        proxies_config={"proxy_ca_bundle": settings.network.trust.file()} if is_tls else None,
    )


def _parsed(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        return None
    return parts


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
