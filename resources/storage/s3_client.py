"""Where the bucket is, and the one client a process has for it."""

import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_clients: dict[tuple[int, "S3Settings", bool], "S3Client"] = {}
_clients_lock = threading.Lock()


class S3Settings(BaseModel):
    """Where the bucket is and with which key.

    Attributes:
        bucket: Its name.
        endpoint_url: Address of an S3-compatible server; None means AWS, or what boto3's own settings name.
        region: Region of the bucket.
        access_key_id: None leaves the credentials to boto3's own chain (environment, profile, instance role).
        secret_access_key: Belongs to `access_key_id`.
        session_token: Of temporary credentials.
        ride_out_seconds: For how long a request is repeated while S3 does not answer or answers 5xx.
        connections: How many requests of this process may run at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bucket: str = Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]+$")
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^\s/@]+/?$")
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    ride_out_seconds: float = Field(default=60, ge=0)
    connections: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> "S3Settings":
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: give both or neither")
        return self


def client_for(settings: S3Settings, *, signed_bodies: bool = False) -> "S3Client":
    """The process's client for these settings; threads may share it. Making one takes 70 to 220 ms.

    Args:
        settings: Where the bucket is.
        signed_bodies: Whether bodies are signed, for servers that refuse UNSIGNED-PAYLOAD. They are read twice then.
    """
    name = (os.getpid(), settings, signed_bodies)  # a forked child must not share its parent's connections
    client = _clients.get(name)
    if client is None:
        with _clients_lock:
            client = _clients.get(name) or _clients.setdefault(name, _connect(settings, signed_bodies))
    return client


def is_aws(client: "S3Client") -> bool:
    """Whether the client talks to AWS itself: it checks what it is asked to check, other servers may not."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _connect(settings: S3Settings, signed_bodies: bool) -> "S3Client":
    import boto3
    from botocore.config import Config

    loopback = urlsplit(settings.endpoint_url or "").hostname in {"127.0.0.1", "localhost", "::1"}
    # A checksum is sent as a signed header, so that the payload needs no signature of its own: the file is read once,
    # and with a plain Content-Length, which servers that refuse chunked trailers accept too (rclone: 411).
    config = Config(
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={
            "payload_signing_enabled": signed_bodies,
            "addressing_style": "path" if settings.endpoint_url else "auto",
        },
        max_pool_connections=settings.connections,
        connect_timeout=10,
        read_timeout=60,
        proxies={} if loopback else None,  # a proxy of the environment cannot reach this machine's loopback
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=_revealed(settings.secret_access_key),
        aws_session_token=_revealed(settings.session_token),
        config=config,
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
