"""`dailies doctor --bucket`, as a person types it."""

import json
from pathlib import Path

import odd_s3
import pytest
from odd_s3 import OddS3, lacks
from typer.testing import CliRunner, Result

from pipelines.cli import terminal
from pipelines.cli.app import app
from resources.production.bucket_mark import bind_bucket
from resources.settings import load_settings, open_ledger
from resources.storage.objects import ObjectStore
from resources.storage.trial import UnfitBucketError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(terminal, "console", terminal._console())


def run(server: OddS3, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    monkeypatch.setenv("DAILIES_S3_BUCKET", "clips")
    monkeypatch.setenv("DAILIES_S3_ENDPOINT", str(server.settings.endpoint_url))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dailieskey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "dailies-secret")
    return CliRunner().invoke(app, ["doctor", "--bucket", *words])


@pytest.mark.slow
def test_a_table_shows_supported_and_replaced_features(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_s3.odd_s3(odd_s3.NO_CONDITIONS) as server:
        said = run(server, monkeypatch)
        assert said.exit_code == 0, said.output
        lines = [line.rstrip() for line in said.stdout.splitlines()]
        assert max(map(len, lines)) <= 80
        assert "store a file                     supported" in lines
        assert "If-None-Match                    done without  the key is looked up before each" in lines
        assert server.keys() == [], "neither the mark nor an object of the trial stays"


@pytest.mark.slow
def test_missing_features_end_with_1_and_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = lacks(400, "InvalidRequest", "x-amz-server-side-encryption is required", lambda a: a.is_put)
    with odd_s3.odd_s3(locked) as server:
        said = run(server, monkeypatch)
        assert said.exit_code == 1
        assert "needed and missing" in said.stdout
        assert "2 features missing; nothing is bought" in said.stderr
        assert max(len(line.rstrip()) for line in said.output.splitlines()) <= 80
        document = json.loads(run(server, monkeypatch, "--json").stdout)
    assert document["fits"] is False
    assert [row["feature"] for row in document["features"] if row["result"] == "needed and missing"] == [
        "store a file",
        "store and replace small objects",
    ]


@pytest.mark.slow
def test_the_result_holds_for_the_next_purchase(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_s3.odd_s3(odd_s3.NOTHING) as server:
        assert run(server, monkeypatch).exit_code == 0
        tried = len(server.seen)
        with open_ledger(load_settings()) as ledger:
            bind_bucket(ledger, ObjectStore(server.settings), buying=True)
            assert len(server.seen) - tried < 5, "the bucket is not tried again"
            server.oddity = lacks(403, "AccessDenied", "", lambda a: a.is_put and "videos" not in a.path)
            assert run(server, monkeypatch).exit_code == 1
            with pytest.raises(UnfitBucketError):
                bind_bucket(ledger, ObjectStore(server.settings), buying=True)


def test_a_server_that_is_down_is_reported_as_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_s3.odd_s3(odd_s3.NOTHING, own_port=True) as server:
        pass
    said = run(server, monkeypatch)
    assert said.exit_code != 0
    assert "does not answer" in str(said.exception)
