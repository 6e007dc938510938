"""Requests to AWS itself, which no test can reach: botocore's own stub checks every parameter."""

import base64
import hashlib
from collections.abc import Iterator

import pytest
from botocore.stub import ANY, Stubber
from pydantic import SecretStr

from resources.storage.errors import ObjectConflictError
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings, client_for, is_aws

DATA = b"a manifest"
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
PUT = {
    "Bucket": "dailies",
    "Key": "k",
    "Body": ANY,
    "ContentLength": len(DATA),
    "ContentType": "application/json",
    "ChecksumSHA256": SHA256,
}


@pytest.fixture
def aws() -> Iterator[tuple[ObjectStore, Stubber]]:
    settings = S3Settings(
        bucket="dailies",
        region="eu-west-1",
        access_key_id="AKIAEXAMPLE",
        secret_access_key=SecretStr("x" * 40),
        ride_out_seconds=0,
    )
    client = client_for(settings)
    assert is_aws(client)
    with Stubber(client) as stub:
        yield ObjectStore(settings), stub
        stub.assert_no_pending_responses()


def test_one_request_stores_an_object_whose_checksum_aws_has_verified(
    aws: tuple[ObjectStore, Stubber],
) -> None:
    store, stub = aws
    stub.add_response(
        "put_object", {"ETag": '"not-an-md5"', "ChecksumSHA256": SHA256}, {**PUT, "IfNoneMatch": "*"}
    )
    assert (
        store.put_bytes("k", DATA, content_type="application/json").sha256 == hashlib.sha256(DATA).hexdigest()
    )


def test_a_state_object_is_put_without_a_condition(aws: tuple[ObjectStore, Stubber]) -> None:
    store, stub = aws
    stub.add_response("put_object", {"ChecksumSHA256": SHA256}, PUT)
    store.put_bytes("k", DATA, content_type="application/json", overwrite=True)


@pytest.mark.parametrize(("checksum", "ours"), [(SHA256, True), ("A" * 43 + "=", False)])
def test_the_object_of_a_taken_key_is_compared(
    aws: tuple[ObjectStore, Stubber], checksum: str, ours: bool
) -> None:
    store, stub = aws
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    head = {"ContentLength": len(DATA), "ChecksumSHA256": checksum}
    stub.add_response("head_object", head, {"Bucket": "dailies", "Key": "k", "ChecksumMode": "ENABLED"})
    if ours:
        store.put_bytes("k", DATA, content_type="application/json")
        return
    with pytest.raises(ObjectConflictError, match="already holds another object"):
        store.put_bytes("k", DATA, content_type="application/json")


def test_an_object_without_a_checksum_of_the_whole_is_read_to_compare(
    aws: tuple[ObjectStore, Stubber],
) -> None:
    from io import BytesIO

    from botocore.response import StreamingBody

    store, stub = aws
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    stub.add_response("head_object", {"ContentLength": len(DATA), "ChecksumSHA256": f"{SHA256}-3"})
    stub.add_response("get_object", {"Body": StreamingBody(BytesIO(DATA), len(DATA))})
    assert store.put_bytes("k", DATA, content_type="application/json").size == len(DATA)


def test_a_bucket_is_created_in_the_configured_region(aws: tuple[ObjectStore, Stubber]) -> None:
    store, stub = aws
    stub.add_client_error("list_objects_v2", "NoSuchBucket", http_status_code=404)
    stub.add_response(
        "create_bucket",
        {},
        {"Bucket": "dailies", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}},
    )
    stub.add_response("list_objects_v2", {})
    store.ensure_bucket()
