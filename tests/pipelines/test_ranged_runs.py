"""Runs over clips: an exact colour for each, and money only for missing clips."""

import dagster as dg
from dagster_ui import DagsterUi
from pipelinekit import House, side_by_side, subject

FOUR = [f"view{number}" for number in range(4)]
TWO = [f"bay-view{number}" for number in (1, 3)]
MADE = ("submissions", "generations", "uploaded_videos")


def test_failing_clips_are_exactly_red_and_only_they_are_bought_again(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", FOUR)
    house.fault({"do": "fail"}, prompt_matches="view[13]")
    house.add(keys)
    assert set(house.produce(keys).failed_clips) == set(TWO)
    bars = ui.bars()
    for asset in ("prompts", "submissions"):
        assert (bars[asset].green, bars[asset].red) == (set(keys), set()), asset
    for asset in ("generations", "uploaded_videos"):
        assert (bars[asset].green, bars[asset].red) == (set(keys) - set(TWO), set(TWO)), asset
        assert bars[asset].counted == (2, 2)
        assert not bars[asset].materializing
    bought = [subject(key) for key in keys]
    assert house.bought() == sorted(bought)

    # a run over green and red clips
    assert set(house.produce(keys).failed_clips) == set(TWO)
    bars = ui.bars()
    assert bars["submissions"].green == set(keys)
    for asset in ("generations", "uploaded_videos"):
        assert (bars[asset].green, bars[asset].red) == (set(keys) - set(TWO), set(TWO)), asset
    bought += map(subject, TWO)
    assert house.bought() == sorted(bought)

    # a retry of the scattered clips is one run
    house.heal()
    house.fault({"do": "fail"}, prompt_contains="view3")
    assert set(house.scattered(TWO).failed_clips) == {"bay-view3"}
    bars = ui.bars()
    for asset in ("generations", "uploaded_videos"):
        assert (bars[asset].green, bars[asset].red) == (set(keys) - {"bay-view3"}, {"bay-view3"}), asset
    house.heal()
    assert house.scattered(["bay-view3"]).green
    bars = ui.bars()
    for asset in MADE:
        assert (bars[asset].green, bars[asset].red) == (set(keys), set()), asset
    bought += map(subject, [*TWO, "bay-view3"])
    assert house.bought() == sorted(bought)


def test_green_clips_materialized_again_cost_nothing_and_are_verified_in_the_bucket(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    house.add(keys)
    assert house.produce(keys).green
    bought, submits = house.bought(), house.requests("submit")

    assert house.produce(keys).green
    assert house.run("collect_clips", keys).green
    assert house.scattered(keys).green
    assert (house.bought(), house.requests("submit")) == (bought, submits)

    delivery = house.attempts(keys)["bay-west"].delivery
    assert delivery is not None
    house.delete(delivery["key"])
    lost = house.produce(keys)
    assert set(lost.failed_clips) == {"bay-west"}
    assert "missing" in lost.failed_clips["bay-west"]
    bars = ui.bars()
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == (
        {"bay-east", "bay-north"},
        {"bay-west"},
    )
    assert bars["generations"].green == set(keys)
    assert (house.bought(), house.requests("submit")) == (bought, submits)


def test_regenerate_buys_another_take_once_per_decision(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    assert house.produce(keys).green
    first = house.attempts(keys)
    config = {"ops": {"produce": {"config": {"regenerate": True}}}}

    assert house.produce(keys, config=config, tags={"dailies/decision": "again"}).green
    second = house.attempts(keys)
    assert all(second[key].id != first[key].id for key in keys)
    assert house.bought() == sorted([subject(key) for key in keys] * 2)

    assert house.produce(keys, config=config, tags={"dailies/decision": "again"}).green
    assert {key: a.id for key, a in house.attempts(keys).items()} == {key: second[key].id for key in keys}
    assert len(house.bought()) == 4
    for key in keys:
        for takes in (first, second):
            delivery = takes[key].delivery
            assert delivery is not None
            assert house.bucket_file(delivery["key"]).exists()


def test_two_runs_at_once_over_the_same_clips_buy_once(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["a1", "a2", "a3", "a4"])
    house.add(keys)
    house.settings(job_seconds=0.5)

    first, second = side_by_side(lambda: house.produce(keys), lambda: house.scattered(keys))

    assert first.green, first.failure
    assert second.green, second.failure
    assert house.bought() == sorted(subject(key) for key in keys)
    for asset in MADE:
        assert ui.bars()[asset].green == set(keys), asset


def test_a_clip_whose_file_differs_from_its_order_is_red_only_as_a_video(house: House, ui: DagsterUi) -> None:
    keys = house.declare(
        "city",
        ["hero", "tram"],
        endpoint="openai/sora-2/text-to-video",
        allow_retired=True,
        parameters={"size": "720*1280", "duration": 4},
    )
    house.add(keys)
    house.fault({"do": "wrong_size", "width": 320, "height": 240}, prompt_contains="tram")

    ran = house.produce(keys)

    assert set(ran.failed_clips) == {"city-tram"}
    assert "320x240" in ran.failed_clips["city-tram"]
    bars = ui.bars()
    assert bars["generations"].green == set(keys)
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == ({"city-hero"}, {"city-tram"})
    assert house.states(keys) == {"city-hero": "delivered", "city-tram": "quarantined"}
    wanted = dg.AssetRecordsFilter(dg.AssetKey("uploaded_videos"), asset_partitions=["city-tram"])
    (record,) = house.instance.fetch_observations(wanted, limit=1).records
    observation = record.event_log_entry.asset_observation
    assert observation is not None
    apart = {name: value.value for name, value in observation.metadata.items()}
    tram = house.attempts(["city-tram"])["city-tram"]
    assert apart["poster"] == f"![poster](/pictures/quarantine/city-tram/{tram.id}.webp)", (
        "the picture of the red clip"
    )
    assert "320x240" in str(apart["why"])
    assert apart["failed_checks"] == "size"
    assert apart["to_accept_it"] == "dailies accept city-tram"
    sheets = dg.AssetRecordsFilter(dg.AssetKey("contact_sheets"))
    (record,) = house.instance.fetch_materializations(sheets, limit=1).records
    assert record.asset_materialization is not None
    sheet = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert (sheet["series"], sheet["clips"], sheet["failed"]) == ("city", "city-hero, city-tram", "city-tram")
    assert sheet["sheet"] == f"![sheet](/pictures/sheets/city/{sheet['day']}.webp)"


def test_a_clips_events_show_what_a_person_wants_to_see(house: House) -> None:
    (key,) = house.declare(
        "city",
        ["hero"],
        endpoint="openai/sora-2/text-to-video",
        allow_retired=True,
        parameters={"size": "1280*720", "duration": 8},
    )
    house.add([key])
    assert house.produce([key]).green

    attempt = house.attempts([key])[key]
    prompt, submission = house.shown("prompts", key), house.shown("submissions", key)
    generation, video = house.shown("generations", key), house.shown("uploaded_videos", key)
    assert prompt["prompt"] == "A quiet view of the hero."
    assert prompt["price_usd"] == 0.8
    assert prompt["request"]["size"] == "1280*720"
    assert submission["job_id"] == generation["job_id"] == video["job_id"] == attempt.job_id
    assert submission["endpoint"] == generation["model_served"] == "openai/sora-2/text-to-video"
    assert generation["cost_usd"] == video["cost_usd"] == 0.8
    assert generation["seconds_waited"] >= 0
    assert (video["resolution"], video["duration_seconds"]) == ("1280x720", 8.0)
    file = house.bucket_file(video["s3"].split("/", 3)[3])
    assert video["size_bytes"] == file.stat().st_size
    assert video["sha256"] == house.sha256(file)
    assert (video["video_codec"], video["audio_codec"]) == ("h264", "aac")
    assert video["poster"] == f"![poster](/pictures/videos/{key}/{attempt.id}.webp)"
    assert video["strip"] == f"![strip](/pictures/videos/{key}/{attempt.id}.strip.webp)"
