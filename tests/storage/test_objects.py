"""The object store on two real servers: stored objects are verified and immutable, and lost answers lose none."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from resources.errors import ConfigurationError, UnavailableError
from resources.storage.embedded import EmbeddedS3
from resources.storage.errors import (
    AccessDeniedError,
    CorruptUploadError,
    NoSuchBucketError,
    ObjectConflictError,
    StorageError,
)
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_stored_file_is_found_with_size_and_bytes(store: ObjectStore, some_file: Path) -> None:
    data = some_file.read_bytes()
    put = store.put_file("videos/c/a.mp4", some_file, sha256=sha256(data), content_type="video/mp4")
    found = store.head("videos/c/a.mp4")
    assert found is not None
    assert (put.size, found.size, found.content_type) == (len(data), len(data), "video/mp4")
    assert store.get_bytes("videos/c/a.mp4") == data
    assert store.uri("videos/c/a.mp4") == f"s3://{store.bucket}/videos/c/a.mp4"


def test_a_missing_object_is_none_and_not_an_error(store: ObjectStore) -> None:
    assert store.get_bytes("nothing") is None
    assert store.head("nothing") is None
    assert list(store.list_keys("nothing/")) == []


def test_storing_the_same_bytes_again_is_a_success(store: ObjectStore, some_file: Path) -> None:
    digest = sha256(some_file.read_bytes())
    first = store.put_file("k", some_file, sha256=digest, content_type="video/mp4")
    again = store.put_file("k", some_file, sha256=digest, content_type="video/mp4")
    assert again.etag == first.etag


@pytest.mark.parametrize("other", [b"b" * 100, b"longer than before" * 10], ids=["same size", "other size"])
def test_other_bytes_under_a_taken_key_are_refused_and_change_nothing(
    store: ObjectStore, other: bytes
) -> None:
    store.put_bytes("k", b"a" * 100, content_type="text/plain")
    with pytest.raises(ObjectConflictError, match="already holds another object"):
        store.put_bytes("k", other, content_type="text/plain")
    assert store.get_bytes("k") == b"a" * 100


def test_a_state_object_may_be_overwritten(store: ObjectStore) -> None:
    for text in (b"one", b"two"):
        store.put_bytes("videos/c/current.json", text, content_type="application/json", overwrite=True)
    assert store.get_bytes("videos/c/current.json") == b"two"


@pytest.mark.slow
def test_keys_are_listed_by_prefix_over_several_pages(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sorted(f"videos/c{n}/a.json" for n in range(7))
    for key in [*keys, "prompts/x.json"]:
        store.put_bytes(key, b"{}", content_type="application/json")
    page = store._client.list_objects_v2
    monkeypatch.setattr(store._client, "list_objects_v2", lambda **how: page(**how, MaxKeys=3))
    assert list(store.list_keys("videos/")) == keys
    assert {item.size for item in store.list_objects("videos/")} == {2}


def test_an_object_above_the_size_limit_is_not_read(store: ObjectStore) -> None:
    store.put_bytes("big", b"x" * 1001, content_type="text/plain")
    with pytest.raises(StorageError, match="1,001 bytes"):
        store.get_bytes("big", max_bytes=1000)


@pytest.mark.slow
def test_threads_share_a_store(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put_bytes(f"t/{n}", b"%d" % n, content_type="text/plain"), range(40)))
    assert len(list(store.list_keys("t/"))) == 40


def test_a_bucket_is_made_once_and_a_missing_one_is_an_error(settings: S3Settings) -> None:
    store = ObjectStore(settings)
    with pytest.raises(NoSuchBucketError, match=r"no such bucket.*Create it"):
        store.check()
    with pytest.raises(NoSuchBucketError):
        store.put_bytes("k", b"1", content_type="text/plain")
    store.ensure_bucket()
    store.ensure_bucket()
    store.check()


def test_a_file_that_differs_from_its_digest_is_not_stored(
    rclone_s3: EmbeddedS3, some_file: Path, monkeypatch
) -> None:
    store = ObjectStore(rclone_s3.settings)
    monkeypatch.setattr("resources.storage.objects._md5_of", lambda path: hashlib.md5(b"other").hexdigest())
    with pytest.raises(CorruptUploadError, match="other bytes arrived"):
        store.put_file("corrupt.mp4", some_file, sha256="0" * 64, content_type="video/mp4")
    assert store.head("corrupt.mp4") is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"secret_access_key": SecretStr("not-the-secret")}, "secret access key is wrong"),
        ({"access_key_id": "somebody"}, "does not know this access key id"),
    ],
)
def test_a_wrong_key_is_an_error_at_once(
    rclone_s3: EmbeddedS3, change: dict[str, object], sentence: str
) -> None:
    store = ObjectStore(rclone_s3.settings.model_copy(update=change))
    with pytest.raises(AccessDeniedError, match=sentence) as caught:
        store.check()
    assert "not-the-secret" not in str(caught.value)
    with pytest.raises(AccessDeniedError):
        store.head("k")


def test_the_error_of_a_missing_server_names_its_address() -> None:
    nowhere = S3Settings(
        bucket="dailies",
        endpoint_url="http://127.0.0.1:1",
        access_key_id="dailieskey",
        secret_access_key=SecretStr("x" * 9),
    )
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer.*address right"):
        ObjectStore(nowhere).check()


def test_without_credentials_the_error_names_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConfigurationError, match="no S3 credentials"):
        ObjectStore(S3Settings(bucket="dailies", endpoint_url="http://127.0.0.1:1")).check()


def test_settings_require_both_halves_of_a_key_and_show_no_secret() -> None:
    with pytest.raises(ValidationError, match=r"AWS_ACCESS_KEY_ID and .* give both or neither") as caught:
        S3Settings(bucket="dailies", secret_access_key=SecretStr("canary-secret"))
    assert "canary" not in str(caught.value)
    whole = S3Settings(bucket="dailies", access_key_id="abc", secret_access_key=SecretStr("canary-secret"))
    assert "canary" not in repr(whole) + str(whole) + repr(ObjectStore(whole)) + whole.model_dump_json()


class Flaky(BaseHTTPRequestHandler):
    """A proxy before a real server: it answers the next requests as scripted, and passes the others on."""

    protocol_version = "HTTP/1.1"
    script: list[str]
    target: str
    seen: list[str]

    def log_message(self, *args: object) -> None: ...

    def _pass(self) -> None:
        self.seen.append(self.command)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        step = self.script.pop(0) if self.script else "pass"
        if step == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if step == "403":
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if step == "cut":
            self.close_connection = True
            return
        if step.startswith("store "):
            body = step.removeprefix("store ").encode()
        import http.client

        host = self.target.removeprefix("http://")
        onward = http.client.HTTPConnection(host, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        if step.startswith("store "):
            headers = {"Content-Length": str(len(body)), "Content-Type": "text/plain"} | {
                name: value
                for name, value in headers.items()
                if name.lower() in {"authorization", "x-amz-date"}
            }
        onward.request(self.command, self.path, body=body, headers=headers)
        answer = onward.getresponse()
        text = answer.read()
        onward.close()
        if step == "lose":
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "server", "date"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(text))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_HEAD = _pass  # noqa: N815  # the base class looks for these names


@pytest.fixture
def flaky(moto_s3: S3Settings):
    """A store whose connection to moto can be broken; moto checks no signatures, so a proxy can stand in between."""
    ObjectStore(moto_s3).ensure_bucket()
    handler = type("Handler", (Flaky,), {"script": [], "seen": [], "target": moto_s3.endpoint_url})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield (
        handler,
        ObjectStore(
            moto_s3.model_copy(
                update={"endpoint_url": f"http://127.0.0.1:{server.server_port}", "ride_out_seconds": 5}
            )
        ),
    )
    server.shutdown()
    server.server_close()


def test_a_short_outage_is_waited_out(flaky) -> None:
    handler, store = flaky
    handler.script[:] = ["pass", "503", "cut", "503"]
    store.put_bytes("outage", b"data", content_type="text/plain")
    assert store.get_bytes("outage") == b"data"
    assert handler.seen == ["HEAD", "PUT", "PUT", "PUT", "PUT", "GET"]


def test_a_lost_answer_of_our_own_put_is_a_success(flaky) -> None:
    handler, store = flaky
    handler.script[:] = ["pass", "lose"]
    stored = store.put_bytes("lost-answer", b"data", content_type="text/plain")
    assert stored.size == 4
    assert handler.seen == ["HEAD", "PUT", "PUT", "HEAD"], (
        "the second PUT gets 412, and a HEAD shows that the object is ours"
    )


def test_a_refusal_is_never_repeated(flaky) -> None:
    handler, store = flaky
    handler.script[:] = ["403"]
    with pytest.raises(AccessDeniedError):
        store.get_bytes("k")
    assert handler.seen == ["GET"]


def test_an_outage_that_lasts_ends_with_a_clear_error(flaky) -> None:
    handler, store = flaky
    store = ObjectStore(store.settings.model_copy(update={"ride_out_seconds": 0.3}))
    handler.script[:] = ["503"] * 50
    with pytest.raises(UnavailableError, match=r"answers 503 \(tried for 0.3 s\)"):
        store.head("k")
    assert 2 <= len(handler.seen) < 10


@pytest.mark.slow
def test_a_server_that_stores_other_bytes_is_detected(flaky) -> None:
    handler, store = flaky
    handler.script[:] = ["pass", "store evil"]
    with pytest.raises(CorruptUploadError, match="not what was sent"):
        store.put_bytes("evil", b"good", content_type="text/plain")
