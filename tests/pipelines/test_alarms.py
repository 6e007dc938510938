"""One message per batch, however many clips and runs fail in it; an alarm never breaks anything."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from pipelinekit import House

from pipelines.clip_batch import DECISION_TAG
from resources.ledger import stops
from resources.ledger.schema import attempts
from resources.ledger.stops import StopKind
from resources.production import ledger_copies

SECRET = "hook-s3cr3t"


class Receiver:
    """A webhook on this machine.

    Attributes:
        messages: All received messages.
        status: The status of its answers.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.messages.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/{SECRET}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook(house: House, monkeypatch: pytest.MonkeyPatch, no_pauses: None) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("DAILIES_ALARM_URL", receiver.url)
    house.tick("alarms")
    yield receiver
    receiver.close()


def failing(house: House) -> list[str]:
    keys = house.declare("bay", ["dawn", "noon", "storm"])
    house.fault({"do": "fail", "error": "Task failed: <!channel> too stormy"}, prompt_matches="storm|noon")
    return house.add(keys)


def test_a_failed_run_is_one_message_with_clips_reasons_cost_and_links(house: House, hook: Receiver) -> None:
    ran = house.produce(failing(house))
    house.tick("alarms")
    (message,) = hook.messages
    assert message["kind"] == "clips_failed"
    assert message["title"] == "2 of 3 clips failed: bay"
    assert {clip["clip"] for clip in message["clips"]} == {"bay-noon", "bay-storm"}
    assert all("too stormy" in clip["reason"] for clip in message["clips"])
    assert message["clips"][0]["url"].endswith("/assets/generations?view=partitions&partition=bay-noon")
    assert float(message["spent_usd"]) > 0
    assert message["runs"] == [f"http://127.0.0.1:3000/runs/{ran.run.run_id}"]
    assert "dailies retry" in message["todo"]


def test_a_batch_is_one_message_however_often_the_sensor_ticks(house: House, hook: Receiver) -> None:
    house.produce(failing(house))
    for _ in range(3):
        house.tick("alarms")
    assert len(hook.messages) == 1


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


def test_a_failed_retry_is_another_message(house: House, hook: Receiver) -> None:
    keys = failing(house)
    house.produce(keys)
    house.tick("alarms")
    house.scattered(keys[1:])
    house.tick("alarms")
    assert [message["clips_failed"] for message in hook.messages] == [2, 2]
    assert len({message["id"] for message in hook.messages}) == 2


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


def test_an_alarm_that_does_not_arrive_is_sent_later(
    house: House, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.produce(failing(house))
    hook.status = 500
    assert house.tick("alarms")[1] == "messages sent: 0, waiting: 1"
    assert SECRET not in house.cursors["alarms"]
    hook.status = 200
    assert house.tick("alarms")[1] == "messages sent: 0, waiting: 1"  # too early for the next try
    state = json.loads(house.cursors["alarms"])
    for pending in state["pending"].values():
        pending["next_at"] = 0
    house.cursors["alarms"] = json.dumps(state)
    assert house.tick("alarms")[1] == "messages sent: 1, waiting: 0"
    assert len(hook.messages) == 1


def test_the_address_is_in_no_log_and_no_store(
    house: House, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    house.produce(failing(house))
    for hook.status in (500, 404, 200):
        house.cursors["alarms"] = re.sub(r'"next_at": [0-9.]+', '"next_at": 0', house.cursors["alarms"])
        house.tick("alarms")
    assert len(hook.messages) <= 1
    assert SECRET not in caplog.text
    home = house.production.settings().home
    stored = [file for file in home.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in stored)
    assert not [file for file in stored if SECRET.encode() in file.read_bytes()]


def test_without_an_address_nothing_is_sent_and_old_failures_are_not_sent_later(
    house: House, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("DAILIES_ALARM_URL")
        house.produce(failing(house))
        assert house.tick("alarms")[1] == "DAILIES_ALARM_URL is not set"
    state = json.loads(house.cursors["alarms"])
    state["since"] += 120
    house.cursors["alarms"] = json.dumps(state)
    house.tick("alarms")
    assert hook.messages == []


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


def test_the_message_about_a_held_purchase_names_the_command_that_settles_it(
    house: House, hook: Receiver
) -> None:
    house.produce(failing(house))
    house.tick("alarms")
    with house.production.ledger() as ledger, ledger.write() as connection:
        connection.execute(
            sa.update(attempts).where(attempts.c.subject_key == "bay-noon").values(state="held")
        )
    house.tick("alarms")
    message = hook.messages[-1]
    assert message["kind"] == "attention"
    assert "bay-noon" in message["text"]
    assert "dailies resolve" in message["todo"]


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
