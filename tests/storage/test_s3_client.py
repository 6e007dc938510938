"""Addresses, names and addressing styles of buckets, and the requests that result."""

from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from pydantic import SecretStr, ValidationError
from raw_server import RawServer, answering

from resources.errors import ConfigurationError, UnavailableError
from resources.settings import Settings
from resources.storage import answer_bounds, s3_client
from resources.storage.errors import StorageError
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import Addressing, S3Settings, client_for

EMPTY = b"<ListBucketResult></ListBucketResult>"


def said(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def settings(**given: object) -> S3Settings:
    return S3Settings.model_validate(
        {
            "bucket": "clips",
            "access_key_id": "dailieskey",
            "secret_access_key": SecretStr("dailies-secret"),
            "ride_out_seconds": 0,
            **given,
        }
    )


def place(found: S3Settings, addressing: Addressing | None = None) -> str:
    """The destination of a request for the key `a/b.mp4`."""
    asked: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 200, HTTPHeaders(), BytesIO())

    # botocore uses what the handler of this one event returns; its stubs say that none returns anything
    handler: Any = answer
    client = client_for(found, addressing=addressing)
    client.meta.events.register("before-send.s3", handler)
    try:
        client.get_object(Bucket=found.bucket, Key="a/b.mp4")
    finally:
        client.meta.events.unregister("before-send.s3", handler)
    return asked[0]


@pytest.mark.parametrize(
    ("given", "addressing", "url"),
    [
        ({"endpoint_url": "https://s3.example.com"}, None, "https://s3.example.com/clips/a/b.mp4"),
        ({"endpoint_url": "https://s3.example.com/"}, None, "https://s3.example.com/clips/a/b.mp4"),
        ({"endpoint_url": "https://s3.example.com"}, "virtual", "https://clips.s3.example.com/a/b.mp4"),
        (
            {"endpoint_url": "https://s3.example.com", "addressing": "virtual"},
            "path",
            "https://clips.s3.example.com/a/b.mp4",
        ),
        (
            {"endpoint_url": "https://x.supabase.co/storage/v1/s3"},
            None,
            "https://x.supabase.co/storage/v1/s3/clips/a/b.mp4",
        ),
        (
            {"endpoint_url": "https://gateway.example.com/s3/"},
            "virtual",
            "https://clips.gateway.example.com/s3/a/b.mp4",
        ),
        ({"endpoint_url": "http://[::1]:9000"}, None, "http://[::1]:9000/clips/a/b.mp4"),
        ({"endpoint_url": "https://[2001:db8::7]/s3"}, None, "https://[2001:db8::7]/s3/clips/a/b.mp4"),
        (
            {"endpoint_url": "http://minio:9000", "bucket": "Old_Clips.2016"},
            None,
            "http://minio:9000/Old_Clips.2016/a/b.mp4",
        ),
        ({}, None, "https://clips.s3.amazonaws.com/a/b.mp4"),
        ({"region": "eu-west-1"}, None, "https://clips.s3.eu-west-1.amazonaws.com/a/b.mp4"),
        ({"bucket": "clips.example.com"}, None, "https://s3.amazonaws.com/clips.example.com/a/b.mp4"),
        ({"bucket": "Old_Clips"}, None, "https://s3.amazonaws.com/Old_Clips/a/b.mp4"),
    ],
)
def test_a_request_names_the_bucket_where_the_server_expects_it(
    given: dict[str, object], addressing: Addressing | None, url: str
) -> None:
    assert place(settings(**given), addressing) == url


def test_a_server_from_boto3s_own_settings_gets_the_bucket_in_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.example.com")
    # a client that was made before asks AWS
    monkeypatch.setattr(s3_client, "_clients", {})
    found = settings(bucket="named-elsewhere")
    assert place(found) == "https://minio.example.com/named-elsewhere/a/b.mp4"
    assert ObjectStore(found).place == "s3://named-elsewhere/ at https://minio.example.com"


def test_without_an_address_a_bucket_is_at_aws() -> None:
    assert ObjectStore(settings(bucket="my-clips")).place == "s3://my-clips/ at AWS"


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("minio:9000", "begin the address with https://"),
        ("s3.example.com", "begin the address with https://"),
        ("https://", "not an address like"),
        ("http://[::1:9000", "not an address like"),
        ("https://s3.example.com:port", "not an address like"),
        ("https://key:canary@s3.example.com", "leave the key out"),
        ("https://s3.example.com/?canary=1", "what follows"),
        ("https://s3.example.com/a b", "white space"),
    ],
)
def test_an_invalid_address_is_refused_with_its_variable_and_without_its_text(
    endpoint: str, says: str
) -> None:
    found = Settings(DAILIES_S3_BUCKET="clips", DAILIES_S3_ENDPOINT=endpoint)
    with pytest.raises(ConfigurationError, match=f"DAILIES_S3_ENDPOINT: .*{says}") as caught:
        found.s3()
    assert "canary" not in str(caught.value)


def test_an_empty_address_is_aws() -> None:
    found = Settings(DAILIES_S3_BUCKET="clips", DAILIES_S3_ENDPOINT="")
    assert found.s3().endpoint_url is None


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("key", ["canary\n", "can\nary", " canary", "canary \u0430"])
def test_a_key_that_cannot_be_a_header_is_refused_by_its_variable_and_never_shown(
    variable: str, key: str
) -> None:
    """A token with a line break was once in the log, in the error of the request that it made impossible."""
    keys = {"AWS_ACCESS_KEY_ID": "dailieskey", "AWS_SECRET_ACCESS_KEY": "dailies-secret", variable: key}
    with pytest.raises(ConfigurationError, match=f"{variable}: .*line break.*Nothing was sent") as caught:
        Settings(DAILIES_S3_BUCKET="clips", **keys).s3()
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_empty_keys_leave_the_choice_to_boto3() -> None:
    """The lines of `.env.example`, without their `#`."""
    empty = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": ""}
    found = Settings(DAILIES_S3_BUCKET="clips", **empty).s3()
    assert (found.access_key_id, found.secret_access_key, found.session_token) == (None, None, None)


@pytest.mark.parametrize(
    "bucket", ["ab", "..", "...", "a/b", "../etc", "a b", "clips?", "clip\u0455", "a" * 256]
)
def test_an_invalid_bucket_name_is_refused(bucket: str) -> None:
    with pytest.raises(ValidationError, match="a bucket's name has 3 to 255"):
        settings(bucket=bucket)


@pytest.mark.parametrize(
    ("bucket", "endpoint", "can"),
    [
        ("clips", None, True),
        ("clips", "https://s3.example.com", True),
        ("clips", "http://127.0.0.1:9000", False),
        ("clips", "http://[::1]:9000", False),
        ("my.clips", "http://s3.example.com", True),
        ("my.clips", "https://s3.example.com", False),  # no certificate covers two levels of *.
        ("my..clips", "http://s3.example.com", False),
        ("Clips", "https://s3.example.com", False),
        ("my_clips", "https://s3.example.com", False),
        ("a" * 64, "https://s3.example.com", False),
    ],
)
def test_a_bucket_name_that_no_host_name_can_contain_is_refused_for_virtual_hosts(
    bucket: str, endpoint: str | None, can: bool
) -> None:
    assert settings(bucket=bucket, endpoint_url=endpoint).can_be_virtual == can
    if can:
        assert f"://{bucket}." in place(settings(bucket=bucket, endpoint_url=endpoint, addressing="virtual"))
    else:
        with pytest.raises(ValidationError, match="cannot be part of the host's name"):
            settings(bucket=bucket, endpoint_url=endpoint, addressing="virtual")


def test_neither_other_timeouts_nor_another_bucket_make_a_second_client() -> None:
    one = settings(endpoint_url="https://s3.example.com")
    assert client_for(one) is client_for(one.model_copy(update={"ride_out_seconds": 5}))
    assert client_for(one) is client_for(one.model_copy(update={"bucket": "other-clips"}))


def listed(server: RawServer) -> list[object]:
    return list(ObjectStore(settings(endpoint_url=server.origin)).list_objects("a/"))


@pytest.mark.slow
def test_an_answer_is_read_up_to_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_bounds, "MOST_BYTES", 1 << 20)
    filler = b"<!--" + b"x" * (1 << 20) + b"-->"
    with answering(said(EMPTY[:18] + b" " * 100_000 + EMPTY[18:])) as server:
        assert listed(server) == []
    for sent in (
        said(EMPTY[:18] + filler + EMPTY[18:]),
        said(b"<Error>" + filler + b"<Code>Odd</Code></Error>", "400 Bad Request"),
        b"HTTP/1.1 200 OK\r\n\r\n" + EMPTY[:18] + filler * 3,
    ):
        with answering(sent) as server, pytest.raises(StorageError, match="more than 1 MB"):
            listed(server)


def test_an_error_in_the_place_of_an_object_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_bounds, "MOST_BYTES", 1 << 20)
    sent = said(b"<Error>" + b" " * (2 << 20), "400 Bad Request")
    with answering(sent) as server, pytest.raises(StorageError, match="more than 1 MB"):
        ObjectStore(settings(endpoint_url=server.origin)).get_bytes("a/b")


def test_an_answer_that_never_ends_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_bounds, "MOST_SECONDS", -1.0)
    with answering(said(EMPTY)) as server, pytest.raises(UnavailableError):
        listed(server)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Please log in</body></html>",
        b"<!DOCTYPE html><html/>",
        b'<?xml version="1.0"?><ListAllMyBucketsResult></ListAllMyBucketsResult>',
        b"",
    ],
)
def test_an_answer_that_is_no_list_is_not_taken_for_an_empty_bucket(body: bytes) -> None:
    with answering(said(body)) as server, pytest.raises(StorageError, match="where the list of a bucket"):
        listed(server)


@pytest.mark.parametrize(
    "body",
    [
        EMPTY,
        b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n<!-- odd -->\n' + EMPTY,
        b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>',
        b'<s3:ListBucketResult xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/"/>',
    ],
)
def test_a_list_is_read_in_every_valid_xml_form(body: bytes) -> None:
    with answering(said(body)) as server:
        assert listed(server) == []
