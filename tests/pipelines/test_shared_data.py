"""Two hosts with different data folders: a run buys what its decision was made of, or nothing."""

import hashlib
import io
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx
import pytest
import sqlalchemy as sa
from pictures import png, put
from pipelinekit import House, again, nothing_bought

from pipelines.cli.data_folders import compare, push_folder
from pipelines.cli.launch import Launch, approve_as_declared, launch
from pipelines.cli.room import open_room
from pipelines.clip_batch import DECISION_TAG
from resources import dagster_resources, program_files
from resources.catalogue import Catalogue
from resources.dagster_resources import Production
from resources.errors import ConfigurationError
from resources.ledger import approvals, data_pushes
from resources.ledger.schema import uploads
from resources.program_files import program_file
from resources.settings import load_settings
from resources.shared_data import source
from resources.shared_data.archive import write_archive
from resources.shared_data.kept_folders import hold
from resources.shared_data.snapshot import short, take_snapshot
from resources.shared_data.source import bring
from resources.storage.layout import data_key
from tests.pipelines.test_series_schedules import requested, tick

if TYPE_CHECKING:
    from pipelines.cli.dagster_api import DagsterApi

WORDS = ["A quiet view of the east.", "A quiet view of the west."]
DAILY = {"cron": "0 16 * * *", "timezone": "UTC"}


def declare(house: House) -> list[str]:
    house.declare("bay", ["east", "west"], schedule=DAILY)
    return ["bay-2026-11-20-east", "bay-2026-11-20-west"]


def own_models(house: House) -> None:
    models = house.data / "models"
    if models.is_symlink():
        place = models.resolve()
        models.unlink()
        shutil.copytree(place, models)


def another_host(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Continue as a host that reads the bucket, with the same ledger."""
    monkeypatch.setenv("DAILIES_DATA", "bucket")
    monkeypatch.setenv("DAILIES_HOME", str(house.data.parent / "another-host"))
    monkeypatch.setenv("DAILIES_LEDGER_URL", f"sqlite:///{house.data.parent / 'ledger.db'}")


def push(house: House) -> str:
    """The steps of `dailies data push`."""
    own_models(house)
    found = take_snapshot(house.data)
    target = io.BytesIO()
    write_archive(house.data, found, target, secrets=())
    store = house.production.store()
    if store.head(data_key(found.digest)) is None:
        store.put_bytes(data_key(found.digest), target.getvalue(), content_type="application/gzip")
    with house.production.ledger() as ledger:
        data_pushes.push(ledger, found.digest, files=len(found.files), size=found.size, who="ann", note="")
    return found.digest


def a_tick(house: House) -> dict[str, str]:
    (request,) = requested(house, "bay", "2026-11-20T16:00", "UTC")
    return dict(request.tags)


def test_a_run_on_a_host_with_other_prompts_than_its_schedules_host_buys_nothing(house: House) -> None:
    keys = declare(house)
    tags = a_tick(house)
    house.edit("bay", "quiet", "stormy")
    with nothing_bought(house):
        ran = house.run("submit_clips", keys, tags=tags)
    assert set(ran.failed_clips) == set(keys)
    for reason in ran.failed_clips.values():
        assert "its schedule has ordered request " in reason
        assert "its request is " in reason
        assert "Nothing was bought" in reason
    house.edit("bay", "stormy", "quiet")
    assert again(house, ran.run).green, "the host with the schedule's folder buys"
    assert house.bought() == WORDS


def test_without_the_comparison_the_other_prompts_are_bought(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    keys = declare(house)
    tags = a_tick(house)
    house.edit("bay", "quiet", "stormy")
    monkeypatch.setattr(approvals, "refusal", lambda *_, **__: None)
    assert house.run("submit_clips", keys, tags=tags).green
    assert len(house.bought()) == 2


def test_without_a_push_an_edit_of_another_file_does_not_refuse_a_run(house: House) -> None:
    keys = declare(house)
    tags = a_tick(house)
    house.declare("cove", ["north"])
    assert house.run("submit_clips", keys, tags=tags).green


def test_after_a_push_a_host_with_another_folder_buys_and_renders_nothing(house: House) -> None:
    keys = declare(house)
    pushed = push(house)
    tags = a_tick(house)
    house.declare("cove", ["north"])
    own = take_snapshot(house.data).digest
    with nothing_bought(house):
        ran = house.run("submit_clips", keys, tags=tags)
        by_hand = house.produce(keys)
        ticked = tick(house, "bay", "2026-11-21T16:00", "UTC")
    for said in (ran.failure, by_hand.failure, ticked):
        assert isinstance(said, str)
        assert short(pushed) in said
        assert short(own) in said
        assert "Nothing was bought" in said
    runs, skipped = house.tick("declared_clips")
    assert runs == []
    assert short(own) in (skipped or "")
    (house.data / "series" / "cove.yaml").unlink()
    assert house.run("submit_clips", keys, tags=tags).green


def test_a_host_that_reads_the_bucket_buys_from_the_decisions_folder(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = declare(house)
    push(house)
    tags = a_tick(house)
    house.edit("bay", "quiet", "stormy")
    newer = push(house)
    monkeypatch.setenv("DAILIES_DATA", "bucket")
    assert house.run("submit_clips", keys, tags=tags).green
    with house.production.ledger() as ledger:
        words = [one.request.prompt for one in ledger.latest(keys).values()]
        assert data_pushes.of_decision(ledger, tags[DECISION_TAG]) != newer
    assert sorted(words) == WORDS
    (request,) = requested(house, "bay", "2026-11-21T16:00", "UTC")
    later = ["bay-2026-11-21-east", "bay-2026-11-21-west"]
    assert house.run("submit_clips", later, tags=dict(request.tags)).green
    with house.production.ledger() as ledger:
        assert {one.request.prompt[:8] for one in ledger.latest(later).values()} == {"A stormy"}


def test_a_host_that_reads_the_bucket_refuses_an_archive_with_another_digest(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = declare(house)
    pushed = push(house)
    tags = a_tick(house)
    house.edit("bay", "quiet", "stormy")
    wrong = io.BytesIO()
    write_archive(house.data, take_snapshot(house.data), wrong, secrets=())
    store = house.production.store()
    store.put_bytes(data_key(pushed), wrong.getvalue(), content_type="application/gzip", overwrite=True)
    monkeypatch.setenv("DAILIES_DATA", "bucket")
    with nothing_bought(house):
        ran = house.run("submit_clips", keys, tags=tags)
    assert f"the data folder {short(pushed)} in the bucket is not used" in (ran.failure or "")
    assert hashlib.sha256(wrong.getvalue()).hexdigest() not in str(list(tmp_path.iterdir()))


class Elsewhere:
    """A Dagster that accepts every run."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def get_dynamic_partitions(self, _name: str) -> list[str]:
        return self.keys

    def add_dynamic_partitions(self, _name: str, keys: list[str]) -> None:
        self.keys += keys

    def launch(self, _job: str, **_how: object) -> str:
        return "run-1"


def test_the_first_produce_after_a_push_uses_the_pushed_folder(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings were loaded before the folder was fetched: once the run was refused as if there had been a push meanwhile."""
    keys = declare(house)
    pushes = [push(house)]
    house.edit("bay", "quiet", "stormy")
    another_host(house, monkeypatch)
    monkeypatch.setenv("DAILIES_DAGSTER_URL", "http://127.0.0.1:3000")
    for decision in ("first", "second"):
        settings = load_settings()
        approvals = approve_as_declared(settings, keys)
        api = cast("DagsterApi", Elsewhere())
        launch(settings, api, approvals, Launch("produce", "submit_clips", decision=decision))
        with house.production.ledger() as ledger:
            assert data_pushes.of_decision(ledger, decision) == pushes[-1]
        pushes.append(push(house))
    # a push after the plan is still refused
    house.edit("bay", "stormy", "foggy")
    push(house)
    with pytest.raises(ConfigurationError, match="the data folder was edited after the plan was made"):
        launch(settings, api, approvals, Launch("produce", "submit_clips"))


def test_the_error_of_a_host_that_reads_the_bucket_before_a_push_says_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = declare(house)
    house.add(keys)
    monkeypatch.setenv("DAILIES_DATA", "bucket")
    with nothing_bought(house):
        ran = house.produce(keys)
    assert "`dailies data push` on a host that has the folder stores it" in (ran.failure or "")


def one_of_two_is_queued(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A schedule orders two clips of one picture; the second is queued behind the first, and a push replaces the picture."""
    put(house.data, "images/hill.png", png(720, 1280))
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "1")
    house.declare(
        "bay",
        ["east", "west"],
        schedule=DAILY,
        endpoint="bytedance/seedance-2.0/image-to-video",
        parameters={"duration": 4, "image": "images/hill.png"},
    )
    keys = ["bay-2026-11-20-east", "bay-2026-11-20-west"]
    push(house)
    tags = a_tick(house)
    assert house.run("submit_clips", keys, tags=tags).green
    put(house.data, "images/hill.png", png(1080, 1920))
    push(house)
    another_host(house, monkeypatch)
    with house.production.ledger() as ledger, ledger.write() as connection:
        # the uploaded picture's address has ended
        connection.execute(sa.delete(uploads))
    assert states(house, keys) == ["submitted", "queued"]
    return keys


def states(house: House, keys: list[str]) -> list[str]:
    with house.production.ledger() as ledger:
        found = ledger.latest(keys)
        return [found[key].state.value for key in keys]


def send_the_queued(house: House, keys: list[str]) -> str:
    for _ in range(20):
        house.tick("wavespeed_completion")
        if "queued" not in (found := states(house, keys)):
            return found[1]
    raise AssertionError(found)


def test_a_queued_clip_is_bought_with_the_picture_it_was_ordered_with(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = one_of_two_is_queued(house, monkeypatch)
    assert send_the_queued(house, keys) in {"submitted", "succeeded"}


def test_without_the_earlier_folders_the_queued_clip_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    keys = one_of_two_is_queued(house, monkeypatch)
    monkeypatch.setattr(data_pushes, "of_unsent", lambda _: [])
    with nothing_bought(house):
        assert send_the_queued(house, keys) == "rejected"


def test_the_room_of_a_host_that_reads_the_bucket_follows_each_push(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = house.declare("cove", ["north"])
    (house.data / "review.yaml").write_text("people: {ann: buy}\n")
    push(house)
    house.add([key])
    ran = house.run("produce_clips", [key])
    assert ran.green, (ran.failure, ran.failed_clips)
    another_host(house, monkeypatch)
    monkeypatch.setenv("DAILIES_ROOM_USER_HEADER", "X-Forwarded-User")
    with (
        open_room(load_settings(), port=0) as room,
        httpx.Client(base_url=room.url, headers={"X-Forwarded-User": "ann"}, trust_env=False) as ann,
    ):
        assert ann.get("api/clips").json()["me"]["right"] == "buy"
        assert ann.get("api/offer", params={"clip": key}).json()["refusal"] is None
        house.edit("cove", "quiet", "stormy")
        push(house)
        offer = ann.get("api/offer", params={"clip": key}).json()
        assert offer["refusal"] is None, "the room sells the current folder's clips, not those of its start"
        (house.data / "review.yaml").write_text("people: {ann: look}\n")
        push(house)
        assert ann.get("api/clips").json()["me"]["right"] == "look"


def test_a_folder_with_mistakes_is_not_pushed(house: House) -> None:
    declare(house)
    own_models(house)
    first = push_folder(load_settings(), note="")
    house.edit("bay", "prompt:", "promt:")
    (house.data / "review.yaml").write_text("people: {ann: everything}\n")
    with pytest.raises(ConfigurationError, match=r"everything(.|\n)*promt(.|\n)*nothing was stored"):
        push_folder(load_settings(), note="")
    with house.production.ledger() as ledger:
        assert data_pushes.current(ledger) == first


def test_a_push_replaces_a_broken_archive_in_the_bucket(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(house)
    own_models(house)
    pushed = push_folder(load_settings(), note="")
    store = house.production.store()
    store.put_bytes(data_key(pushed.digest), b"half", content_type="application/gzip", overwrite=True)
    another_host(house, monkeypatch)
    with pytest.raises(ConfigurationError, match="in the bucket is not used"):
        bring(load_settings())
    monkeypatch.setenv("DAILIES_DATA", str(house.data))
    assert push_folder(load_settings(), note="again") == pushed
    monkeypatch.setenv("DAILIES_DATA", "bucket")
    assert take_snapshot(bring(load_settings()).data).digest == pushed.digest


# two versions of dailies with different catalogues


@pytest.fixture
def updated(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Make this host a later version with higher prices in its catalogue; the data folder has no `models/`."""
    (house.data / "models").unlink()
    later = tmp_path / "later-models"
    shutil.copytree(program_file("data/models"), later)
    entry = later / "wavespeed-seedance-2.0-text-to-video.yaml"
    before = entry.read_text()
    entry.write_text(before.replace('720p: "0.24"', '720p: "0.36"'))
    assert entry.read_text() != before

    def update() -> None:
        monkeypatch.setattr(program_files, "program_file", lambda _path: later)
        monkeypatch.setattr(source, "version", lambda _name: "9.9.9")

    return update


def test_hosts_with_two_versions_buy_by_the_catalogue_that_was_pushed(
    house: House, monkeypatch: pytest.MonkeyPatch, updated: Callable[[], None]
) -> None:
    keys = declare(house)
    pushed = push_folder(load_settings(), note="")
    assert f"dailies {version('dailies')}" in pushed.who
    tags = a_tick(house)
    updated()
    assert price(house.data) == 1_440_000, (
        "the negative control: this version's own catalogue has another price"
    )
    with nothing_bought(house):
        ran = house.run("submit_clips", keys, tags=tags)
    said = ran.failure or ""
    for part in (
        short(pushed.digest),
        f"with dailies {version('dailies')}",
        "the catalogue of dailies 9.9.9",
        "Nothing was bought",
    ):
        assert part in said

    another_host(house, monkeypatch)
    monkeypatch.setenv("DAILIES_DATA", str(house.data))
    changed = compare(load_settings(), None, None).changes
    assert changed == {"shipped-models/wavespeed-seedance-2.0-text-to-video.yaml": "changed"}

    monkeypatch.setenv("DAILIES_DATA", "bucket")
    assert price(bring(load_settings()).data) == 960_000
    assert house.run("submit_clips", keys, tags=tags).green
    assert {one.quoted_micros for one in house.attempts(keys).values()} == {960_000}


def test_without_a_push_a_decision_of_another_versions_catalogue_is_reported(
    house: House, updated: Callable[[], None]
) -> None:
    declare(house)
    tags = a_tick(house)
    before = take_snapshot(house.data).digest
    updated()
    with house.production.ledger() as ledger:
        assert data_pushes.of_decision(ledger, tags[DECISION_TAG]) == before
    assert take_snapshot(house.data).digest != before


def test_a_program_and_a_checkout_of_it_have_one_digest(tmp_path: Path) -> None:
    """The sample folder's `models/` is the program's own."""
    copied = tmp_path / "data"
    shutil.copytree(program_file("data/models").parent, copied)
    assert take_snapshot(copied).digest == take_snapshot(program_file("data/models").parent).digest


def price(data: Path) -> int:
    """The price of the clips of `bay`, in micro-USD."""
    endpoint = Catalogue.of(data).get("bytedance/seedance-2.0/text-to-video", "wavespeed")
    found = endpoint.price({"duration": 4, "resolution": "720p"})
    assert found is not None
    return found


def test_a_tick_orders_from_the_folder_that_its_decision_names(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a push between two reads, the run once rendered other words than its schedule had ordered, and bought nothing that day."""
    keys = declare(house)
    another_host(house, monkeypatch)
    push(house)
    checked = type(house.production).checked_data

    def and_then_somebody_pushes(production: Production) -> tuple[Path, str | None]:
        found = checked(production)
        monkeypatch.setattr(type(house.production), "checked_data", checked)
        house.edit("bay", "quiet", "stormy")
        push(house)
        return found

    monkeypatch.setattr(type(house.production), "checked_data", and_then_somebody_pushes)
    tags = a_tick(house)
    assert house.run("submit_clips", keys, tags=tags).green
    assert house.bought() == WORDS


def test_a_run_fetches_a_folder_again_that_is_removed_while_it_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = declare(house)
    push(house)
    tags = a_tick(house)
    another_host(house, monkeypatch)
    held = hold

    def late(folder: Path) -> int:
        monkeypatch.setattr(dagster_resources, "hold", held)
        shutil.rmtree(folder)
        return held(folder)

    monkeypatch.setattr(dagster_resources, "hold", late)
    assert house.run("submit_clips", keys, tags=tags).green
    assert house.bought() == WORDS
