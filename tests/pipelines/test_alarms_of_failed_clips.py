"""The alarm about failed clips: one message per batch, which arrives or is sent later, and shows its address nowhere."""

import json
import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alarm_receiver import SECRET, Receiver
from pipelinekit import House

from resources.ledger.schema import attempts

KEYS = ["bay-dawn", "bay-noon", "bay-storm"]


def fail_two(house: House) -> None:
    """Let the provider fail two of the clips."""
    house.fault({"do": "fail", "error": "Task failed: <!channel> too stormy"}, prompt_matches="storm|noon")


@pytest.fixture(scope="module")
def failed(house_to_look_at: House) -> House:
    """A house in which two of three clips have failed since its sensor has ticked."""
    house_to_look_at.declare("bay", ["dawn", "noon", "storm"])
    house_to_look_at.add(KEYS)
    fail_two(house_to_look_at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAILIES_ALARM_URL", "https://hooks.example.com/x")
        house_to_look_at.tick("alarms")
    assert len(house_to_look_at.produce(KEYS).failed_clips) == 2
    return house_to_look_at


@pytest.fixture
def house(failed: House, copy_of: Callable[[House], House]) -> House:
    """A copy of that house."""
    return copy_of(failed)


def test_a_failed_run_is_one_message_with_clips_reasons_cost_and_links(
    house: House, receiver: Receiver
) -> None:
    (run,) = house.instance.get_runs()
    house.tick("alarms")
    (message,) = receiver.messages
    assert message["kind"] == "clips_failed"
    assert message["title"] == "2 of 3 clips failed: bay"
    assert {clip["clip"] for clip in message["clips"]} == {"bay-noon", "bay-storm"}
    assert all("too stormy" in clip["reason"] for clip in message["clips"])
    assert message["clips"][0]["url"].endswith("/assets/generations?view=partitions&partition=bay-noon")
    assert float(message["spent_usd"]) > 0
    assert message["runs"] == [f"http://127.0.0.1:3000/runs/{run.run_id}"]
    assert "dailies retry" in message["todo"]


def test_a_batch_is_one_message_however_often_the_sensor_ticks(house: House, receiver: Receiver) -> None:
    for _ in range(3):
        house.tick("alarms")
    assert len(receiver.messages) == 1


def test_a_failed_retry_is_another_message(house: House, receiver: Receiver) -> None:
    fail_two(house)
    house.tick("alarms")
    house.scattered(KEYS[1:])
    house.tick("alarms")
    assert [message["clips_failed"] for message in receiver.messages] == [2, 2]
    assert len({message["id"] for message in receiver.messages}) == 2


def test_an_alarm_that_does_not_arrive_is_sent_later(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.status = 500
    assert house.tick("alarms")[1] == "messages sent: 0, waiting: 1"
    assert SECRET not in house.cursors["alarms"]
    receiver.status = 200
    assert house.tick("alarms")[1] == "messages sent: 0, waiting: 1"  # too early for the next try
    state = json.loads(house.cursors["alarms"])
    for pending in state["pending"].values():
        pending["next_at"] = 0
    house.cursors["alarms"] = json.dumps(state)
    assert house.tick("alarms")[1] == "messages sent: 1, waiting: 0"
    assert len(receiver.messages) == 1


def test_the_address_is_in_no_log_and_no_store(
    house: House, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    fail_two(house)
    assert not house.scattered(KEYS[1:]).green
    for receiver.status in (500, 404, 200):
        house.cursors["alarms"] = re.sub(r'"next_at": [0-9.]+', '"next_at": 0', house.cursors["alarms"])
        house.tick("alarms")
    assert len(receiver.messages) <= 2
    assert SECRET not in caplog.text
    home = house.production.settings().home
    stored = [file for file in home.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in stored)
    assert not [file for file in stored if SECRET.encode() in file.read_bytes()]


def test_without_an_address_nothing_is_sent_and_old_failures_are_not_sent_later(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("DAILIES_ALARM_URL")
        assert house.tick("alarms")[1] == "DAILIES_ALARM_URL is not set"
    state = json.loads(house.cursors["alarms"])
    state["since"] += 120
    house.cursors["alarms"] = json.dumps(state)
    house.tick("alarms")
    assert receiver.messages == []


def test_the_message_about_a_held_purchase_names_the_command_that_settles_it(
    house: House, receiver: Receiver
) -> None:
    house.tick("alarms")
    with house.production.ledger() as ledger, ledger.write() as connection:
        connection.execute(
            sa.update(attempts).where(attempts.c.subject_key == "bay-noon").values(state="held")
        )
    house.tick("alarms")
    message = receiver.messages[-1]
    assert message["kind"] == "attention"
    assert "bay-noon" in message["text"]
    assert "dailies resolve" in message["todo"]
