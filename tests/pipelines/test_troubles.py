"""Faults on purpose: each is a clear sentence, nothing is bought or lost, and greens stay green."""

import json
import re
import socket
from collections.abc import Callable

import pytest
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought

from resources.storage.layout import ledger_key

ASSETS = ("prompts", "submissions", "generations", "uploaded_videos")
WRONG_KEY, WRONG_SECRET = "not-the-key-you-are-looking-for", "another-secret"
Break = Callable[[House, pytest.MonkeyPatch], None]

pytestmark = pytest.mark.usefixtures("no_pauses")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def no_key(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("WAVESPEED_API_KEY")


def wrong_key(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("WAVESPEED_API_KEY", WRONG_KEY)


def provider_down(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DAILIES_WAVESPEED_URL", f"http://127.0.0.1:{free_port()}")


def provider_ill(house: House, patch: pytest.MonkeyPatch) -> None:
    house.fault({"do": "reject", "status": 503, "body": "upstream"}, operation="balance")


def no_bucket(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("DAILIES_S3_BUCKET")


def s3_down(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DAILIES_S3_ENDPOINT", f"http://127.0.0.1:{free_port()}")


def wrong_s3_key(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_SECRET_ACCESS_KEY", WRONG_SECRET)


def bucket_of_another_ledger(house: House, patch: pytest.MonkeyPatch) -> None:
    house.put(ledger_key(), json.dumps({"ledger": "somebody-else"}).encode())


def ledger_unwritable(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DAILIES_LEDGER_URL", "sqlite:////proc/nowhere/ledger.db")


def unknown_setting(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "many")


NOTHING = "nothing was bought|has bought nothing"
"""If another decision has bought clips, the sentence says only that the run's own decision has bought nothing."""
TROUBLES: dict[Break, tuple[str, str]] = {
    no_key: ("WAVESPEED_API_KEY", "dailies up"),
    wrong_key: ("key", "WAVESPEED_API_KEY"),
    provider_down: ("wavespeed", ""),
    provider_ill: ("wavespeed", "503"),
    no_bucket: ("DAILIES_S3_BUCKET", NOTHING),
    s3_down: ("S3", ""),
    wrong_s3_key: ("S3", ""),
    bucket_of_another_ledger: ("belongs to another ledger", NOTHING),
    ledger_unwritable: ("ledger", ""),
    unknown_setting: ("DAILIES_WAVESPEED_MAX_IN_FLIGHT", ".env.example"),
}
WITHOUT_LEDGER = {ledger_unwritable, unknown_setting}
ALSO_SCATTERED = {no_key, s3_down, ledger_unwritable}
"""A run over a list shares its steps with a run over a range: a fault of the provider, the bucket and the ledger each shows that."""


def test_every_fault_is_a_clear_sentence_and_nothing_is_bought_or_lost(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    house.add(keys)
    old = keys[:2]
    assert house.produce(old).green
    before = {key: attempt.id for key, attempt in house.attempts(old).items()}
    mark = house.get(ledger_key())

    for trouble, words in TROUBLES.items():
        name = trouble.__name__
        with nothing_bought(house), monkeypatch.context() as patch:
            trouble(house, patch)
            runs = [house.produce(keys)]
            if trouble in ALSO_SCATTERED:
                runs.append(house.scattered([keys[2]]))
        house.heal()
        house.put(ledger_key(), mark)

        for failed in runs:
            text = failed.failure or ""
            assert not failed.green, name
            assert "traceback" not in text.casefold(), (name, text)
            assert all(re.search(word, text, re.IGNORECASE) for word in words), (name, text)
            assert not any(secret in text for secret in (WRONG_KEY, WRONG_SECRET)), (name, text)
        bars = ui.bars()
        # the ledger knows which clips are green: without it none can be shown again
        for asset in () if trouble in WITHOUT_LEDGER else ASSETS:
            assert bars[asset].green >= set(old), (name, asset)
        assert "bay-north" in bars["uploaded_videos"].red, name

    healed = house.produce(keys)
    assert healed.green, healed.failure
    assert {key: attempt.id for key, attempt in house.attempts(old).items()} == before
    assert len(house.bought()) == 3
    assert all(ui.bars()[asset].green == set(keys) for asset in ASSETS)


def test_a_passing_error_of_the_provider_before_a_batch_does_not_end_it(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.fault({"do": "reject", "status": 500, "body": "upstream"}, operation="balance", times=2)
    ran = house.produce(keys)
    assert ran.green, ran.failure
    assert len(house.bought()) == 2


def test_a_bad_template_stops_the_whole_batch_before_money_moves(house: House, ui: DagsterUi) -> None:
    bay, cape = house.declare("bay", ["east", "west"]), house.declare("cape", ["north", "south"])
    keys = [*bay, *cape]
    house.add(keys)
    assert house.produce(keys[:3]).green
    house.edit("cape", "{{ subject }}", "{{ nobody }}")

    with nothing_bought(house):
        ran = house.produce(keys)

    assert set(ran.failed_clips) == set(cape)
    for word in ("cape.yaml", "nobody", "subject"):
        assert word in ran.failed_clips["cape-north"], ran.failed_clips
    bars = ui.bars()
    assert (bars["prompts"].green, bars["prompts"].red) == (set(bay), set(cape))
    for asset in ASSETS[1:]:
        assert (bars[asset].green, bars[asset].red) == (set(keys[:3]), {"cape-south"}), asset


def test_a_clip_that_is_no_longer_declared_stops_only_its_range(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    house.add(keys)
    assert house.produce(keys).green
    house.declare("bay", ["east", "north"])

    with nothing_bought(house):
        ran = house.produce(keys)

    assert set(ran.failed_clips) == {"bay-west"}
    assert "no series declares this clip" in ran.failed_clips["bay-west"]
    bars = ui.bars()
    assert (bars["prompts"].green, bars["prompts"].red) == ({"bay-east", "bay-north"}, {"bay-west"})
    for asset in ASSETS[1:]:
        assert (bars[asset].green, bars[asset].red) == (set(keys), set()), asset


def test_a_submission_without_a_prompt_is_not_bought(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    with nothing_bought(house):
        ran = house.materialize(["submissions"], keys)
    assert set(ran.failed_clips) == set(keys)
    assert "materialize `prompts` too" in ran.failed_clips["bay-east"]


def test_a_prompt_that_was_changed_in_the_bucket_is_not_bought(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    assert house.run("render_prompts", keys).green
    for key, data in zip(keys, (b"{}", None), strict=True):
        place = house.shown("prompts", key)["s3"].split("/", 3)[3]
        house.put(place, data or house.get(place).replace(b"the west", b"a wall"))
    with nothing_bought(house):
        ran = house.materialize(["submissions"], keys)
    assert set(ran.failed_clips) == set(keys)
    assert all("materialize `prompts` again" in reason for reason in ran.failed_clips.values())


def test_a_refusal_by_the_provider_is_red_where_it_belongs(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.fault(
        {"do": "reject", "status": 400, "body": {"code": 400, "message": "prompt was refused"}},
        prompt_contains="west",
    )
    ran = house.produce(keys)
    assert set(ran.failed_clips) == {"bay-west"}
    assert "prompt was refused" in ran.failed_clips["bay-west"]
    bars = ui.bars()
    for asset in ASSETS[1:]:
        assert (bars[asset].green, bars[asset].red) == ({"bay-east"}, {"bay-west"}), asset


def test_a_video_that_cannot_be_fetched_is_fetched_later_and_never_bought_again(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.fault({"do": "reject", "status": 418}, operation="cdn", prompt_contains="west")
    ran = house.produce(keys)
    assert set(ran.failed_clips) == {"bay-west"}
    bars = ui.bars()
    assert bars["generations"].green == set(keys)
    assert bars["uploaded_videos"].red == {"bay-west"}

    house.heal()
    assert house.collected("wavespeed_completion").green
    assert ui.bars()["uploaded_videos"].green == set(keys)
    assert len(house.bought()) == 2


@pytest.mark.parametrize("job", ["render_prompts", "submit_clips", "collect_clips", "produce_clips"])
def test_the_error_of_a_run_without_clips_says_so(house: House, job: str) -> None:
    house.add(house.declare("bay", ["east"]))
    with nothing_bought(house):
        ran = house.run(job)
    assert (ran.failure or "").startswith("this run names no clips")


def test_a_list_of_new_clips_is_added_to_the_partitions(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    assert house.scattered([*keys, keys[0]]).green
    assert ui.bars()["uploaded_videos"].green == set(keys)
    assert len(house.bought()) == 2
    with nothing_bought(house):
        unknown = house.scattered(["bay-eats", "bay-west"])
    assert "bay-east" in unknown.failed_clips["bay-eats"], "the nearest right spelling"
    assert house.instance.get_dynamic_partitions("clips") == keys
