"""One message per batch, however many clips and runs fail in it; an alarm never breaks anything."""

from pathlib import Path

import dagster as dg
import pytest
from alarm_receiver import Receiver
from pipelinekit import House

from pipelines.clip_batch import DECISION_TAG
from resources.ledger import stops
from resources.ledger.stops import StopKind
from resources.production import ledger_copies


@pytest.fixture
def hook(house: House, receiver: Receiver) -> Receiver:
    """The receiver of a house whose sensor has ticked."""
    house.tick("alarms")
    return receiver


def failing(house: House) -> list[str]:
    keys = house.declare("bay", ["dawn", "noon", "storm"])
    house.fault({"do": "fail", "error": "Task failed: <!channel> too stormy"}, prompt_matches="storm|noon")
    return house.add(keys)


def test_two_runs_of_one_decision_are_one_message(house: House, hook: Receiver) -> None:
    keys = failing(house)
    decision = {DECISION_TAG: "produce:1"}
    house.run("produce_clips", keys[:2], tags=decision)
    house.run("produce_clips", keys[2:], tags=decision)
    house.tick("alarms")
    (message,) = hook.messages
    assert (message["batch"], message["clips_failed"], message["clips_total"]) == ("produce:1", 2, 3)
    assert len(message["runs"]) == 2


def test_a_message_waits_for_the_rest_of_its_batch(house: House, hook: Receiver) -> None:
    keys = failing(house)
    decision = {DECISION_TAG: "produce:1"}
    house.run("produce_clips", keys[1:2], tags=decision)
    active = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED, decision)
    assert house.tick("alarms")[1] == "messages sent: 0, waiting: 1"
    house.run("produce_clips", keys[2:], tags=decision)
    house.instance.report_run_failed(house.run_of(active))
    house.tick("alarms")
    (message,) = hook.messages
    assert message["clips_failed"] == 2


def test_a_later_collection_belongs_to_the_batch_that_bought_it(house: House, hook: Receiver) -> None:
    keys = failing(house)
    house.run("submit_clips", keys, tags={DECISION_TAG: "schedule:bay:today"})
    house.collected("wavespeed_completion")
    house.tick("alarms")
    (message,) = hook.messages
    assert message["batch"] == "schedule:bay:today"
    assert message["clips_failed"] == 2


def test_a_run_that_bought_nothing_is_reported_with_its_error(house: House, hook: Receiver) -> None:
    keys = house.add(house.declare("bay", ["dawn"]))
    house.edit("bay", "the dawn", "")
    house.edit("bay", "{{ subject }}", "{{ nothing }}")
    assert not house.produce(keys).green
    house.tick("alarms")
    (message,) = hook.messages
    assert message["kind"] == "run_failed"
    assert message["title"] == "produce_clips failed and bought none of its clips (1)"
    assert "clips: bay-dawn" in message["text"]
    assert "Nothing was bought" in message["todo"]


def test_a_stopped_account_is_one_message_for_each_stop(house: House, hook: Receiver) -> None:
    def stop() -> None:
        with house.production.ledger() as ledger, ledger.write() as connection:
            kind = StopKind.INSUFFICIENT_FUNDS
            stops.stop_account(connection, "wavespeed", kind, "the balance is $0.10", now=ledger.clock())

    stop()
    house.tick("alarms")
    house.tick("alarms")
    (message,) = hook.messages
    assert message["kind"] == "attention"
    assert "the balance is $0.10" in message["text"]
    with house.production.ledger() as ledger:
        stops.start(ledger, account="wavespeed")
    house.tick("alarms")
    stop()
    house.tick("alarms")
    assert len(hook.messages) == 2


def test_a_batch_that_waits_for_a_verdict_is_one_message(house: House, hook: Receiver) -> None:
    keys = house.add(house.declare("bay", ["dawn", "noon"], review={"by": "person", "within": "2d"}))
    assert house.produce(keys).green
    for _ in range(2):
        house.tick("alarms")
    (message,) = hook.messages
    assert message["kind"] == "review"
    assert message["title"].startswith("2 clips wait for a verdict, $")
    assert "; the policy decides the first on " in message["title"]
    assert "Judge them in the room: http://127.0.0.1:" in message["todo"]


def test_a_copy_of_the_ledger_that_is_not_verified_raises_an_alarm(
    house: House, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_url: str, folder: Path) -> tuple[Path, str]:
        (folder / "ledger.db.gz").write_bytes(b"no copy of anything")
        return folder / "ledger.db.gz", "db.gz"

    monkeypatch.setattr(ledger_copies, "_make_copy", damaged)
    assert not house.run("ledger_backup").green
    for _ in range(2):
        house.tick("alarms")
    (message,) = hook.messages
    assert message["kind"] == "run_failed"
    assert message["title"] == "ledger_backup failed"
    assert "cannot be unpacked" in message["text"]
