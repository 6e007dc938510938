"""A paid clip is found through the ledger, even if a person has deleted its partition."""

import dagster as dg
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought, subject

from pipelines.inventory import Inventory
from resources.inventory.findings import EVERY_END_IS_SHOWN
from resources.ledger.decisions import Decision, decide
from resources.ledger.queue import withdraw

SENSOR = "wavespeed_completion"


def test_a_paid_clip_whose_partition_was_deleted_in_flight_is_fetched_and_shown(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("loop", ["copper", "gold", "silver"])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    house.forget(keys[1])

    assert house.collected(SENSOR).green
    assert house.states(keys) == dict.fromkeys(keys, "delivered")
    assert set(house.instance.get_dynamic_partitions("clips")) == set(keys)
    assert ui.bars()["uploaded_videos"].green == set(keys)
    assert house.tick(SENSOR) == ([], "wavespeed has no open clip")
    assert house.bought() == sorted(map(subject, keys))

    house.forget(keys[1])
    house.tick(SENSOR)
    assert keys[1] not in house.instance.get_dynamic_partitions("clips"), (
        "a fetched clip's partition may be deleted"
    )


def test_all_clips_of_a_batch_without_partitions_are_collected(house: House) -> None:
    keys = house.declare("loop", ["copper", "gold"])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    for key in keys:
        house.forget(key)
    with nothing_bought(house):
        house.collected(SENSOR)
    assert house.states(keys) == dict.fromkeys(keys, "delivered")


def test_a_clip_without_a_purchase_does_not_get_its_partition_back(house: House) -> None:
    (key,) = house.declare("loop", ["copper"])
    house.add([key])
    assert house.produce([key]).green
    with house.production.ledger() as ledger:
        request = ledger.latest([key])[key].request
        (decided,) = decide(ledger, [request], Decision("again", batch="a-dead-run", regenerate=True))
        assert decided.attempt is not None
        withdraw(ledger, [decided.attempt.id], why="not sent: insufficient credits")
    house.forget(key)
    assert house.tick(SENSOR)[0] == []
    assert house.instance.get_dynamic_partitions("clips") == []
    assert house.tick(SENSOR) == ([], "wavespeed has no open clip")


def test_doctor_names_a_paid_clip_without_a_partition(house: House) -> None:
    keys = house.declare("loop", ["copper", "gold"])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    watched = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTING)
    house.watched_by(watched, keys)
    house.tick(SENSOR)
    house.age(3600)
    house.forget(keys[0])
    with house.production.ledger() as ledger:
        (finding,) = Inventory(ledger, house.production.store, house.instance, is_copied_here=True).take(
            [EVERY_END_IS_SHOWN]
        )
    assert finding.notes[keys[0]].endswith("its partition was deleted; the completion sensor adds it again")
    assert "partition" not in finding.notes[keys[1]]
