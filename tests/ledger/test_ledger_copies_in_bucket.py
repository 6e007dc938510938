"""Copies of a ledger in the bucket, on SQLite and PostgreSQL: verified by restoring them, refused if they differ from the ledger."""

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgerkit import a_request, queued
from sqlalchemy.engine import make_url

from proof.clock import Clock
from resources.errors import ConfigurationError, DailiesError
from resources.inventory.copies_audit import check_copies
from resources.ledger import postgres_dump
from resources.ledger.backup import restore
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.postgres_dump import restore_dump, scratch_database
from resources.production import ledger_copies
from resources.production.bucket_mark import BucketMark, LedgerBehindError, bind_bucket
from resources.production.ledger_copies import (
    SPARED,
    CopyNotVerifiedError,
    copies,
    fetch_copy,
    remove_old,
    store_copy,
)
from resources.storage.layout import BACKUPS, copy_of
from resources.storage.objects import ObjectStore
from resources.storage.reader import ObjectInfo
from resources.storage.s3_client import S3Settings
from tests.postgres_server import PostgresServer, _programs

DAY = 86_400.0


@pytest.fixture
def store(moto_s3: S3Settings) -> ObjectStore:
    made = ObjectStore(
        moto_s3.model_copy(update={"bucket": f"copies-{uuid.uuid4().hex[:8]}", "ride_out_seconds": 1})
    )
    made.ensure_bucket()
    return made


@pytest.fixture(autouse=True)
def _programs_of_the_server(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "postgresql":
        monkeypatch.setenv("PATH", f"{_programs()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def copied_now(
    ledger: Ledger, ledger_url: str, store: ObjectStore, tmp_path: Path
) -> Callable[[], ledger_copies.CopyRecord]:
    return lambda: store_copy(ledger, store, ledger_url, scratch=tmp_path / "scratch")


def scratch_databases(ledger_url: str) -> list[str]:
    """The databases that a verification left on the server."""
    if ledger_url.startswith("sqlite"):
        return []
    engine = sa.create_engine(make_url(ledger_url).set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection:
        query = "SELECT datname FROM pg_database WHERE datname LIKE 'dailies_check_%'"
        found = [str(name) for name in connection.execute(sa.text(query)).scalars()]
    engine.dispose()
    return found


def clips_in(url: str) -> list[str]:
    with Ledger(url, budget=Budget()) as ledger:
        return [attempt.subject_key for attempt in ledger.overview()]


@pytest.mark.slow
def test_a_copy_is_stored_restored_compared_and_can_be_put_back(
    ledger: Ledger,
    ledger_url: str,
    store: ObjectStore,
    tmp_path: Path,
    copied_now: Callable[[], ledger_copies.CopyRecord],
) -> None:
    queued(ledger, a_request("clip-a"))
    queued(ledger, a_request("clip-b"))
    record = copied_now()
    assert record.ledger == ledger.id
    assert record.rows["attempts"] == 2
    assert record.rows["journal"] == record.seq == 2
    (copy,) = copies(store)
    assert (copy.key, copy.is_verified) == (record.key, True)
    assert copy.at == pytest.approx(ledger.clock(), abs=1)
    assert list((tmp_path / "scratch").iterdir()) == [], "no scratch file is left"
    assert scratch_databases(ledger_url) == []

    queued(ledger, a_request("clip-c"))
    file = tmp_path / "back"
    fetch_copy(store, copy, file)
    assert file.stat().st_mode & 0o077 == 0
    if ledger_url.startswith("sqlite"):
        place = f"sqlite:///{tmp_path}/elsewhere.db"
        restore(place, file)
        assert clips_in(place) == ["clip-a", "clip-b"]
    else:
        with scratch_database(ledger_url, "dailies_drill") as place:
            restore_dump(place, file)
            assert clips_in(place) == ["clip-a", "clip-b"]
    with pytest.raises(ConfigurationError, match="exists already"):
        fetch_copy(store, copy, file)


def test_a_copy_that_was_cut_in_the_bucket_is_refused(
    ledger: Ledger, ledger_url: str, store: ObjectStore, tmp_path: Path
) -> None:
    queued(ledger, a_request("clip-a"))

    class Cutting(ObjectStore):
        def put_file(self, key: str, path: Path, **how: str) -> ObjectInfo:  # type: ignore[override]
            stored = super().put_file(key, path, **how)
            data = path.read_bytes()
            super().put_bytes(
                key, data[: len(data) // 2], content_type="application/octet-stream", overwrite=True
            )
            return stored

    with pytest.raises(CopyNotVerifiedError, match="is not the copy that was stored"):
        store_copy(ledger, Cutting(store.settings), ledger_url, scratch=tmp_path / "scratch")
    (copy,) = copies(store)
    assert not copy.is_verified
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_copy_that_was_cut_before_it_was_stored_cannot_be_restored(
    ledger: Ledger,
    ledger_url: str,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    copied_now: Callable[[], ledger_copies.CopyRecord],
) -> None:
    """The digest is right: only the restore shows the fault."""
    queued(ledger, a_request("clip-a"))
    whole = ledger_copies._make_copy

    def cut(url: str, folder: Path) -> tuple[Path, str]:
        file, kind = whole(url, folder)
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size * 2 // 3)
        return file, kind

    monkeypatch.setattr(ledger_copies, "_make_copy", cut)
    with pytest.raises(CopyNotVerifiedError, match=r"restored|unpacked"):
        copied_now()
    assert [copy.is_verified for copy in copies(store)] == [False]
    assert scratch_databases(ledger_url) == []


@pytest.mark.slow
def test_a_whole_copy_of_an_earlier_moment_is_refused(
    ledger: Ledger,
    store: ObjectStore,
    tmp_path: Path,
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
    copied_now: Callable[[], ledger_copies.CopyRecord],
) -> None:
    queued(ledger, a_request("clip-a"))
    (tmp_path / "earlier").mkdir()
    earlier, kind = ledger_copies._make_copy(ledger_url, tmp_path / "earlier")
    queued(ledger, a_request("clip-b"))

    def stale(_url: str, folder: Path) -> tuple[Path, str]:
        return Path(earlier).rename(folder / "stale"), kind

    monkeypatch.setattr(ledger_copies, "_make_copy", stale)
    with pytest.raises(CopyNotVerifiedError, match="journal ends at 1") as told:
        copied_now()
    assert "attempts has 1 rows, and the ledger had 2 to 2" in str(told.value)
    assert [copy.is_verified for copy in copies(store)] == [False]


@pytest.mark.slow
def test_a_purchase_during_the_copy_does_not_refuse_it(
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    copied_now: Callable[[], ledger_copies.CopyRecord],
) -> None:
    whole = ledger_copies._make_copy

    def beside(url: str, folder: Path) -> tuple[Path, str]:
        queued(ledger, a_request("clip-b"))
        made = whole(url, folder)
        queued(ledger, a_request("clip-c"))
        return made

    queued(ledger, a_request("clip-a"))
    monkeypatch.setattr(ledger_copies, "_make_copy", beside)
    assert copied_now().rows["attempts"] == 2


def test_a_ledger_that_is_older_than_its_bucket_is_not_copied(
    ledger: Ledger,
    store: ObjectStore,
    clock: Clock,
    copied: Callable[[str], str],
    ledger_url: str,
    tmp_path: Path,
) -> None:
    """It would displace the good copies."""
    queued(ledger, a_request("clip-a"))
    old = copied(ledger_url)
    queued(ledger, a_request("clip-b"))
    bind_bucket(ledger, store, buying=False)
    BucketMark(ledger, store).advance()
    with (
        Ledger(old, budget=Budget(), clock=clock) as restored,
        pytest.raises(LedgerBehindError),
    ):
        store_copy(restored, store, old, scratch=tmp_path / "scratch")
    assert copies(store) == []


@pytest.mark.slow
def test_old_copies_are_removed_but_never_the_newest_verified_ones(
    ledger: Ledger,
    store: ObjectStore,
    clock: Clock,
    copied_now: Callable[[], ledger_copies.CopyRecord],
    backend: str,
) -> None:
    if backend != "sqlite":
        pytest.skip("the bucket alone decides")
    queued(ledger, a_request("clip-a"))
    made = []
    for _ in range(SPARED + 2):
        made.append(copied_now().key)
        clock.now += DAY
    store.put_bytes(f"{BACKUPS}20200101T000000Z-00000000.db.gz", b"never verified", content_type="a/b")
    store.put_bytes(f"{BACKUPS}notes.txt", b"a person's own", content_type="text/plain")
    now = clock.now
    assert remove_old(store, days=30, now=now) == 1, "the copy that was never verified"
    assert remove_old(store, days=30, now=now + 26 * DAY) == 1
    assert remove_old(store, days=30, now=now + 1000 * DAY) == 1
    assert [copy.key for copy in copies(store)] == made[-SPARED:]
    assert len(list(store.list_keys(BACKUPS))) == 2 * SPARED + 1, (
        "records are removed with their copies, other objects stay"
    )


@pytest.mark.slow
def test_the_inventory_warns_when_the_newest_verified_copy_is_older_than_two_days(
    ledger: Ledger,
    store: ObjectStore,
    clock: Clock,
    copied_now: Callable[[], ledger_copies.CopyRecord],
    backend: str,
) -> None:
    if backend != "sqlite":
        pytest.skip("the bucket alone decides")
    clock.now += 1000 * DAY
    assert check_copies(ledger, store).is_fine, "nothing was bought yet"
    queued(ledger, a_request("clip-a"))
    assert check_copies(ledger, store).is_fine
    clock.now += 2 * DAY + 1
    assert check_copies(ledger, store).sample == ["ledger: there is none"]
    copied_now()
    assert check_copies(ledger, store).is_fine
    stamp = datetime.fromtimestamp(clock.now, UTC)
    clock.now += 2 * DAY + 1
    store.put_bytes(
        f"{BACKUPS}{datetime.fromtimestamp(clock.now, UTC):%Y%m%dT%H%M%SZ}-00000000.db.gz",
        b"x",
        content_type="a/b",
    )
    (line,) = check_copies(ledger, store).sample
    assert f"{stamp:%Y-%m-%d %H:%M} UTC" in line, "a copy that was not verified does not count"


@pytest.mark.slow
def test_a_copy_that_was_changed_after_it_was_verified_is_not_restored(
    ledger: Ledger,
    store: ObjectStore,
    tmp_path: Path,
    copied_now: Callable[[], ledger_copies.CopyRecord],
) -> None:
    queued(ledger, a_request("clip-a"))
    record = copied_now()
    store.put_bytes(record.key, b"something else", content_type="a/b", overwrite=True)
    with pytest.raises(CopyNotVerifiedError, match="is not the copy that was verified"):
        fetch_copy(store, copies(store)[0], tmp_path / "back")
    assert not (tmp_path / "back").exists()


class TestPostgresqlsPrograms:
    @pytest.fixture
    def backend(self) -> str:
        return "postgresql"

    @pytest.mark.slow
    def test_a_missing_program_is_named_with_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, copied_now: Callable[[], ledger_copies.CopyRecord]
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(ConfigurationError, match=r"pg_dump is not installed here.*postgresql-client"):
            copied_now()

    @pytest.mark.slow
    def test_no_password_is_in_an_argument_the_environment_or_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = tmp_path / "seen"
        program = tmp_path / "bin" / "pg_dump"
        program.parent.mkdir()
        program.write_text(
            f'#!/bin/sh\necho "$@" > {seen}\nenv >> {seen}\nprintf "wrong: " >&2\ncat "$PGSERVICEFILE" >&2\nexit 1\n'
        )
        program.chmod(0o700)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setenv("WAVESPEED_API_KEY", "canary-of-a-provider")
        url = "postgresql://me:canary%20secret%40x@db.example.com:5433/dailies?sslmode=require"
        with pytest.raises(DailiesError, match=r"pg_dump failed for postgresql://db\.example\.com") as told:
            postgres_dump.dump(url, tmp_path / "ledger.dump")
        for name in ("user=me", "dbname=dailies", "port=5433", "sslmode=require"):
            assert name in str(told.value), "the program reads the whole address"
        assert "canary" not in str(told.value)
        assert "canary" not in seen.read_text()
        assert not (tmp_path / "service.conf").exists()

    def test_the_error_for_a_user_without_createdb_names_the_right_to_grant(
        self,
        ledger: Ledger,
        ledger_url: str,
        store: ObjectStore,
        tmp_path: Path,
        postgres: PostgresServer,
    ) -> None:
        queued(ledger, a_request("clip-a"))
        role = f"reader_{uuid.uuid4().hex[:8]}"
        postgres._execute(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data")
        url = make_url(ledger_url).set(username=role).render_as_string(hide_password=False)
        try:
            with pytest.raises(DailiesError, match=r"CREATEDB.*DAILIES_BACKUP_URL"):
                store_copy(ledger, store, url, scratch=tmp_path / "scratch")
            assert [copy.is_verified for copy in copies(store)] == [False], "the copy itself stays"
        finally:
            postgres._execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "key",
    [
        f"{BACKUPS}20261399T000000Z-00000000.dump",
        f"{BACKUPS}20261130T032700Z-0000000.dump",
        f"x{BACKUPS}20261130T032700Z-00000000.dump",
        f"{BACKUPS}20261130T032700Z-00000000.exe",
    ],
)
def test_other_keys_are_no_copies(key: str, backend: str) -> None:
    assert copy_of(key) is None
