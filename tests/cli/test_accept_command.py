"""`dailies accept` as a person types it: quarantined takes with their reasons, and their acceptance."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deliverykit import Depot
from hostile import File, serving
from makers import make_mp4
from typer.testing import CliRunner, Result

from pipelines.cli.accept import chosen
from pipelines.cli.app import app
from resources.errors import ConfigurationError
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.production.bucket_mark import bind_bucket
from resources.storage import remote
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def depot(
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bucket: ObjectStore,
    lent_inspector: None,
) -> Iterator[Depot]:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    with serving() as server, Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger:
        bind_bucket(ledger, bucket, buying=True)
        yield Depot(ledger, bucket, server, scratch)
    remote._connections.close()


@pytest.fixture
def apart(depot: Depot, tmp_path: Path) -> Attempt:
    """A black clip in quarantine."""
    data = make_mp4(tmp_path / "black.mp4", black_seconds=9).read_bytes()
    depot.server.files["/clip.mp4"] = File(data=data)
    (attempt,) = depot.deliver(depot.finished("city-night"))
    assert attempt.state is AttemptState.QUARANTINED
    return attempt


def test_quarantined_takes_are_listed_with_reason_and_picture(depot: Depot, apart: Attempt) -> None:
    shown = run("accept", "--long")
    assert shown.exit_code == 0
    for part in ("city-night", apart.id[:8], "the picture is black", "quarantine/city-night/"):
        assert part in shown.output
    (listed,) = json.loads(run("accept", "--json").output)["quarantined"]
    assert (listed["clip"], listed["take"], listed["checks"]["black"]) == ("city-night", apart.id, "failed")


def test_accepting_a_take_delivers_it(depot: Depot, apart: Attempt) -> None:
    refused = CliRunner().invoke(app, ["accept", "city-night"], input="n\n")
    assert refused.exit_code == 1
    assert depot.read(apart).state is AttemptState.QUARANTINED, (
        "the command asks first, and the answer was no"
    )
    accepted = run("accept", "city-night", "--yes", "--why", "a night shot")
    assert accepted.exit_code == 0, accepted.output
    assert "delivered" in accepted.output
    assert depot.read(apart).state is AttemptState.DELIVERED
    manifest = depot.manifest(depot.read(apart))
    assert manifest.accepted is not None
    assert manifest.accepted.why == "a night shot"
    assert "nothing is in quarantine" in run("accept").output


def test_a_take_can_be_named_by_the_beginning_of_its_id(depot: Depot, apart: Attempt) -> None:
    assert run("accept", "city-night", "--take", apart.id[:6], "--yes").exit_code == 0
    assert depot.read(apart).state is AttemptState.DELIVERED


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("city-day",), "city-day is not in quarantine. Nothing was changed. `dailies accept` lists"),
        (("city-night", "--take", "zzz"), "take zzz of city-night is not in quarantine; its takes there are"),
    ],
)
def test_the_error_of_an_unknown_take_lists_the_existing_ones(
    depot: Depot, apart: Attempt, words: tuple[str, ...], says: str
) -> None:
    error = run("accept", *words, "--yes").exception
    assert isinstance(error, ConfigurationError)
    assert says in str(error)


def test_a_spare_take_is_accepted_only_by_its_id(depot: Depot, apart: Attempt) -> None:
    spare = dataclasses.replace(
        apart, id="f" * 32, seq=apart.seq + 1, subject_kind="spare", subject_key="city-night~ffff"
    )
    assert chosen([apart, spare], "city-night", None) == apart
    assert chosen([apart, spare], "city-night", "fff") == spare
    assert chosen([spare], "city-night", None) == spare
