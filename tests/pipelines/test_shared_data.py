"""Two hosts whose data folders differ: a run buys what its decision was made of, or nothing."""

import hashlib
import io
import shutil
from pathlib import Path

import pytest
from pipelinekit import House, again, nothing_bought
from test_series_schedules import tick

from pipelines.clip_batch import DECISION_TAG
from resources.ledger import approvals, data_pushes
from resources.shared_data.archive import write_archive
from resources.shared_data.snapshot import short, take_snapshot
from resources.storage.layout import data_key

WORDS = ["A quiet view of the east.", "A quiet view of the west."]
DAILY = {"cron": "0 16 * * *", "timezone": "UTC"}


def declare(house: House) -> list[str]:
    house.declare("bay", ["east", "west"], schedule=DAILY)
    return ["bay-2026-11-20-east", "bay-2026-11-20-west"]


def push(house: House) -> str:
    """What `dailies data push` does."""
    models = house.data / "models"
    if models.is_symlink():
        place = models.resolve()
        models.unlink()
        shutil.copytree(place, models)
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
    (request,) = tick(house, "bay", "2026-11-20T16:00", "UTC")
    assert not isinstance(request, str)
    return dict(request.tags)


def test_a_run_on_a_host_with_other_words_than_its_schedule_buys_nothing(house: House) -> None:
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
    assert again(house, ran.run).green, "the host whose folder is the schedule's buys"
    assert house.bought() == WORDS


def test_without_the_comparison_the_other_words_are_bought(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    keys = declare(house)
    tags = a_tick(house)
    house.edit("bay", "quiet", "stormy")
    monkeypatch.setattr(approvals, "refusal", lambda *_, **__: None)
    assert house.run("submit_clips", keys, tags=tags).green
    assert len(house.bought()) == 2


def test_another_file_that_is_edited_keeps_no_run_from_buying_where_nothing_was_pushed(house: House) -> None:
    keys = declare(house)
    tags = a_tick(house)
    house.declare("cove", ["north"])
    assert house.run("submit_clips", keys, tags=tags).green


def test_where_a_folder_was_pushed_a_host_with_another_one_buys_and_renders_nothing(house: House) -> None:
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


def test_a_host_that_reads_the_bucket_buys_what_the_decision_was_made_of(
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
    (request,) = tick(house, "bay", "2026-11-21T16:00", "UTC")
    assert not isinstance(request, str)
    later = ["bay-2026-11-21-east", "bay-2026-11-21-west"]
    assert house.run("submit_clips", later, tags=dict(request.tags)).green
    with house.production.ledger() as ledger:
        assert {one.request.prompt[:8] for one in ledger.latest(later).values()} == {"A stormy"}


def test_a_host_that_reads_the_bucket_refuses_an_archive_that_is_not_the_one(
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


def test_a_host_that_reads_the_bucket_before_a_push_is_told_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = declare(house)
    house.add(keys)
    monkeypatch.setenv("DAILIES_DATA", "bucket")
    with nothing_bought(house):
        ran = house.produce(keys)
    assert "`dailies data push` on a host that has the folder stores it" in (ran.failure or "")
