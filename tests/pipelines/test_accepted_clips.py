"""A clip that failed a check turns green when a person accepts it: the completion sensor reports it to Dagster."""

from pathlib import Path

from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought
from verdictkit import a_verdict

from resources.production.acceptance import Acceptor
from resources.settings import open_ledger


def test_an_accepted_clip_turns_green_and_nothing_is_bought(
    house: House, ui: DagsterUi, tmp_path: Path
) -> None:
    keys = house.declare(
        "city",
        ["hero", "tram"],
        endpoint="openai/sora-2/text-to-video",
        allow_retired=True,
        parameters={"size": "720*1280", "duration": 4},
    )
    house.add(keys)
    house.fault({"do": "wrong_size", "width": 320, "height": 240}, prompt_contains="tram")
    assert set(house.produce(keys).failed_clips) == {"city-tram"}
    assert house.tick("wavespeed_completion")[0] == [], (
        "Dagster knows the clip's end, and no person has judged it yet"
    )

    apart = house.attempts(keys)["city-tram"]
    with nothing_bought(house):
        with open_ledger(house.production.settings()) as ledger:
            said = a_verdict(apart, note="a study")
            Acceptor(ledger, house.production.store(), tmp_path).accept(apart, said)
        told = house.collected("wavespeed_completion")

    assert told.green, told.failure
    bars = ui.bars()
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == (set(keys), set())
    shown = house.shown("uploaded_videos", "city-tram")
    assert shown["s3"].startswith("s3://")
    assert "/videos/city-tram/" in shown["s3"]
    assert shown["accepted"] == "by mira: a study"
    assert shown["poster"].startswith("![poster]")
    assert house.tick("wavespeed_completion")[0] == []
