"""The digest of a data folder, its archive, and archives from outside."""

import errno
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipelines.cli.data_folders import secrets_of
from resources.errors import ConfigurationError, UnavailableError
from resources.program_files import models_beside, program_file
from resources.settings import load_settings
from resources.shared_data import archive as archives
from resources.shared_data import snapshot as snapshots
from resources.shared_data.archive import unpack, write_archive
from resources.shared_data.snapshot import Snapshot, take_snapshot

FILES = {
    "series/bay.yaml": b"name: bay\n",
    "edits/bay.yaml": b"bay-east: other words\n",
    "images/a picture.png": os.urandom(200_000),
    "prompts/\u00e9t\u00e9.yaml": b"summer: true\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "data")


def written(folder: Path, order: int = 1) -> Path:
    for name, content in list(FILES.items())[::order]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def packed(folder: Path, secrets: tuple[bytes, ...] = ()) -> bytes:
    target = io.BytesIO()
    write_archive(folder, take_snapshot(folder), target, secrets=secrets)
    return target.getvalue()


def stored(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "data.tar.gz"
    file.write_bytes(data)
    return file


def test_the_digest_depends_on_paths_and_contents_alone(folder: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "elsewhere", order=-1)
    (other / "schemas").mkdir()
    (other / "schemas" / "series.schema.json").write_text("{}")
    (other / ".DS_Store").write_text("hidden")
    (other / ".git").mkdir()
    (other / ".git" / "config").write_text("hidden")
    os.utime(other / "series" / "bay.yaml", (1, 1))
    (other / "series" / "bay.yaml").chmod(0o600)
    first = take_snapshot(folder)
    assert take_snapshot(other).digest == first.digest
    shipped = program_file("data/models")
    counts = FILES | {f"shipped-models/{file.name}": file.read_bytes() for file in shipped.iterdir()}
    assert first.files.keys() == counts.keys()
    lines = "".join(f"{n}\0{len(c)}\0{hashlib.sha256(c).hexdigest()}\n" for n, c in sorted(counts.items()))
    assert first.digest == hashlib.sha256(lines.encode()).hexdigest()
    (other / "edits" / "bay.yaml").write_bytes(b"bay-east: words of the room\n")
    assert take_snapshot(other).digest != first.digest


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no data folder .*gone\. Run this in the folder"):
        take_snapshot(tmp_path / "gone")


def test_an_empty_folder_of_pushed_models_hides_no_model(folder: Path) -> None:
    plain = take_snapshot(folder).digest
    (folder / "shipped-models").mkdir()
    (folder / "shipped-models" / ".DS_Store").write_text("hidden")
    assert take_snapshot(folder).digest == plain
    assert models_beside(folder) == program_file("data/models")
    (folder / "shipped-models" / "one.yaml").write_text("{}")
    assert models_beside(folder) == folder / "shipped-models"


def test_a_link_counts_as_its_target_and_one_that_leads_out_is_not_stored(
    folder: Path, tmp_path: Path
) -> None:
    plain = take_snapshot(folder).digest
    (folder / "edits").rename(tmp_path / "edits")
    (folder / "edits").symlink_to(tmp_path / "edits")
    assert take_snapshot(folder).digest == plain
    with pytest.raises(ConfigurationError, match=r"a link out of the data folder\. Nothing was stored"):
        packed(folder)


def test_the_same_files_make_the_same_archive_and_are_unpacked_unchanged(
    folder: Path, tmp_path: Path
) -> None:
    data = packed(folder)
    assert packed(written(tmp_path / "elsewhere", order=-1)) == data
    target, digest = tmp_path / "cache" / "unpacked", take_snapshot(folder).digest
    unpack(stored(tmp_path, data), target, digest)
    assert take_snapshot(target).digest == digest
    assert {name: (target / name).read_bytes() for name in FILES} == FILES
    assert [path.name for path in target.parent.iterdir()] == ["unpacked"]
    unpack(stored(tmp_path, data), target, digest)


def test_a_key_of_this_host_in_a_file_is_not_stored(folder: Path) -> None:
    (folder / "series" / "bay.yaml").write_bytes(b"name: bay # wsk-0123456789\n")
    with pytest.raises(
        ConfigurationError, match=r"bay\.yaml contains a key of this host. Nothing was stored"
    ) as said:
        packed(folder, secrets=(b"", b"wsk-0123456789"))
    assert "wsk-0123456789" not in str(said.value)


def test_a_private_key_is_never_stored(folder: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "images" / "sign.pem").write_bytes(pem)
    with pytest.raises(ConfigurationError, match=r"sign\.pem contains a private key\. Nothing was stored"):
        packed(folder)


def test_every_secret_of_the_settings_is_searched_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "DAILIES_DAGSTER_URL": "https://dagster.example.com",
        "DAILIES_DAGSTER_TOKEN": "token-0123456789",
        "DAILIES_DAGSTER_HEADER": "X-Login: header-0123456789",
        "DAILIES_LEDGER_URL": "postgresql://films:pass%2F0123456789@db/films",
        "DAILIES_BACKUP_URL": "postgresql://copies:copy%2F0123456789@db/films",
        "DAILIES_ALARM_URL": "https://hooks.example.com/alarm-0123456789",
        "AWS_SECRET_ACCESS_KEY": "aws-0123456789",
        "FAL_KEY": "fal-0123456789",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = set(secrets_of(load_settings()))
    assert {
        b"token-0123456789",
        b"header-0123456789",
        b"pass/0123456789",
        b"pass%2F0123456789",
        b"copy/0123456789",
        b"copy%2F0123456789",
        b"https://hooks.example.com/alarm-0123456789",
        b"aws-0123456789",
        b"fal-0123456789",
    } <= found


def test_a_file_that_is_edited_meanwhile_is_not_stored(folder: Path) -> None:
    before = take_snapshot(folder)
    (folder / "series" / "bay.yaml").write_bytes(b"name: boy\n")
    with pytest.raises(ConfigurationError, match="was changed meanwhile"):
        write_archive(folder, before, io.BytesIO(), secrets=())


def test_a_folder_has_a_largest_size_and_number_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MOST_BYTES", 1_000)
    with pytest.raises(ConfigurationError, match="more than 5000 files or 0 MB"):
        take_snapshot(folder)
    monkeypatch.undo()
    monkeypatch.setattr(snapshots, "MOST_FILES", 50)
    (folder / "loop").symlink_to(folder)
    (folder / "series" / "loop").symlink_to(folder)
    with pytest.raises(ConfigurationError):
        take_snapshot(folder)


def test_an_empty_folder_and_one_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError):
            take_snapshot(place)


# archives from outside


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with gzip.GzipFile(mode="wb", fileobj=target) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def a_file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def a(kind: bytes, name: str, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a path out": lambda: tar_of(a_file("../../home/.bashrc")),
    "a path within": lambda: tar_of(a_file("series/../../x")),
    "an absolute path": lambda: tar_of(a_file("/etc/cron.d/x")),
    "a hidden file": lambda: tar_of(a_file("series/.env")),
    "a symbolic link": lambda: tar_of(a(tarfile.SYMTYPE, "series", "/etc"), a_file("series/passwd")),
    "a hard link": lambda: tar_of(a_file("a.yaml"), a(tarfile.LNKTYPE, "b.yaml", "/etc/passwd")),
    "a device": lambda: tar_of(a(tarfile.CHRTYPE, "zero")),
    "a pipe": lambda: tar_of(a(tarfile.FIFOTYPE, "pipe")),
    "a folder": lambda: tar_of(a(tarfile.DIRTYPE, "series")),
    "a name twice": lambda: tar_of(a_file("a.yaml"), a_file("a.yaml", b"y")),
    "a file that is a folder, too": lambda: tar_of(a_file("a"), a_file("a/b")),
    "many files": lambda: tar_of(*(a_file(f"{n}.yaml") for n in range(60))),
    "a bomb": lambda: tar_of(a_file("zeros", bytes(3_000_000))),
    "no gzip": lambda: b"not an archive",
    "nothing": lambda: b"",
    "half of one": lambda: tar_of(a_file("a.yaml", os.urandom(50_000)))[:30_000],
    "other files": lambda: tar_of(a_file("a.yaml")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_with_another_digest_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (archives, snapshots):
        monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
        monkeypatch.setattr(module, "MOST_FILES", 50)
    target = tmp_path / "cache" / "folder"
    with pytest.raises(ConfigurationError, match=r"is not used: .* Nothing was bought"):
        unpack(stored(tmp_path, HOSTILE[name]()), target, "0" * 64)
    assert list(target.parent.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data.tar.gz"]


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken archive fails the clips with pictures in it; if only this machine's disk is full, they must wait."""

    def full(_archive: Path, _folder: Path) -> Snapshot:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, "_read", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        unpack(tmp_path / "data.tar.gz", tmp_path / "unpacked" / "it", "0" * 64)
    assert not list((tmp_path / "unpacked").iterdir())
