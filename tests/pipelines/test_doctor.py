"""`dailies doctor` restores what was lost from what is left, buys nothing, and changes nothing that is whole."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought
from verdictkit import a_verdict

from pipelines.cli import main
from resources.inventory.findings import CHECKS
from resources.production.acceptance import Acceptor
from resources.storage.manifest import Manifest

Doctor = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def doctor(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run the command; returns its exit code and its JSON."""
    monkeypatch.setenv("DAGSTER_HOME", str(house.instance.root_directory))

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["dailies", "doctor", "--json", *arguments])
        with nothing_bought(house), pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), json.loads(capsys.readouterr().out)

    return run


def wrong(said: dict[str, Any]) -> dict[str, int]:
    return {check["check"]: check["number"] for check in said["checks"] if not check["fine"]}


DAWN, NOON = "bay-dawn", "bay-noon"


@pytest.fixture(scope="module")
def delivered(house_to_look_at: House) -> House:
    """A house with two clips that were delivered a while ago."""
    keys = house_to_look_at.add(house_to_look_at.declare("bay", ["dawn", "noon"]))
    assert house_to_look_at.produce(keys).green
    house_to_look_at.age(120)
    return house_to_look_at


@pytest.fixture
def house(delivered: House, copy_of: Callable[[House], House]) -> House:
    """A copy of that house."""
    return copy_of(delivered)


@pytest.fixture
def dawn(house: House) -> str:
    """The beginning of the keys of a clip's objects."""
    return f"videos/{DAWN}/{house.attempts([DAWN])[DAWN].id}"


def test_doctor_changes_nothing_when_nothing_is_wrong(house: House, doctor: Doctor) -> None:
    code, said = doctor()
    assert (code, said["fine"], said["mended"]) == (0, True, [])
    assert said["objects"] == 10


def test_a_lost_manifest_is_written_again_unchanged(house: House, doctor: Doctor, dawn: str) -> None:
    key = f"{dawn}.json"
    before = json.loads(house.get(key))
    house.delete(key)
    code, said = doctor()
    assert (code, said["fine"]) == (0, True)
    assert [mended["key"] for mended in said["mended"]] == [key]
    after = json.loads(house.get(key))
    for name in ("checks", "times"):
        old, new = before.pop(name), after.pop(name)
        assert name == "times" or [c["outcome"] for c in old] == [c["outcome"] for c in new]
    assert after == before


def test_lost_pictures_and_a_lost_current_json_are_made_again(
    house: House, doctor: Doctor, dawn: str
) -> None:
    keys = [f"{dawn}.webp", f"{dawn}.strip.webp", f"videos/{DAWN}/current.json"]
    before = {key: house.get(key) for key in keys}
    for key in keys:
        house.delete(key)
    code, said = doctor()
    assert (code, wrong(said)) == (0, {})
    assert {mended["key"] for mended in said["mended"]} == set(keys)
    assert house.get(keys[0])[8:12] == house.get(keys[1])[8:12] == b"WEBP"
    assert house.get(keys[2]) == before[keys[2]]


def test_a_lost_video_is_fetched_again_while_its_provider_has_it(
    house: House, doctor: Doctor, dawn: str
) -> None:
    key = f"{dawn}.mp4"
    before = house.get(key)
    house.delete(key)
    code, said = doctor()
    assert (code, wrong(said)) == (0, {})
    assert house.get(key) == before


def test_a_video_that_is_gone_everywhere_is_named_and_nothing_is_invented(
    house: House, doctor: Doctor, dawn: str
) -> None:
    key = f"{dawn}.mp4"
    house.delete(key)
    house.delete(key.replace(".mp4", ".json"))
    house.fault({"do": "reject", "status": 404}, operation="cdn")
    code, said = doctor()
    assert code == 1
    assert wrong(said) == {"nothing_is_missing": 2}
    (mended,) = said["mended"]
    assert not mended["done"]
    assert "cannot be fetched again" in mended["text"]


def test_a_damaged_video_is_never_overwritten(house: House, doctor: Doctor, dawn: str) -> None:
    key = f"{dawn}.mp4"
    house.put(key, b"half of it")
    code, said = doctor()
    assert (code, wrong(said)) == (1, {"nothing_is_missing": 1})
    assert "never overwritten" in said["mended"][0]["text"]
    assert house.get(key) == b"half of it"


def test_events_that_dagster_lost_are_shown_again(house: House, doctor: Doctor, ui: DagsterUi) -> None:
    for asset in ("submissions", "generations", "uploaded_videos"):
        house.instance.wipe_assets([dg.AssetKey(asset)])
    code, said = doctor()
    assert (code, wrong(said)) == (0, {})
    bars = ui.bars()
    for asset in ("submissions", "generations", "uploaded_videos"):
        assert bars[asset].green == {DAWN, NOON}, asset
    assert "poster" in house.shown("uploaded_videos", "bay-dawn")


def test_a_check_without_repair_changes_nothing(house: House, doctor: Doctor, dawn: str) -> None:
    key = f"{dawn}.json"
    house.delete(key)
    code, said = doctor("--dry-run")
    assert (code, wrong(said), said["mended"]) == (1, {"nothing_is_missing": 1}, [])
    assert house.production.store().get_bytes(key) is None


def test_a_dead_deliverys_stray_objects_are_removed_and_foreign_objects_stay(
    house: House, doctor: Doctor, dawn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = dawn.replace("videos", "quarantine")
    video = house.get(f"{dawn}.mp4")
    house.put(f"{stray}.mp4", video)
    house.put(f"{stray}.webp", b"picture")
    house.put("videos/bay-dawn/stranger.mp4", b"whose is this")
    monkeypatch.setattr("resources.inventory.bucket_audit.GRACE_SECONDS", -60)
    code, said = doctor()
    assert (code, wrong(said)) == (1, {"every_object_has_its_manifest": 1})
    assert house.production.store().get_bytes(f"{stray}.mp4") is None
    assert house.get("videos/bay-dawn/stranger.mp4") == b"whose is this"
    assert house.get(f"{dawn}.mp4") == video


def test_an_output_near_its_end_is_fetched_and_then_shown_by_the_sensor(
    house: House, doctor: Doctor, ui: DagsterUi
) -> None:
    keys = house.declare("cape", ["dawn"])
    house.add(keys)
    house.materialize(["prompts", "submissions", "generations"], keys)
    assert house.states(keys) == {"cape-dawn": "succeeded"}
    house.age(6.5 * 86_400)
    code, said = doctor()
    assert (code, wrong(said)) == (0, {})
    assert house.states(keys) == {"cape-dawn": "delivered"}
    house.collected("wavespeed_completion")
    assert ui.bars()["uploaded_videos"].green >= set(keys)


def test_beside_a_stack_doctor_uses_its_sandbox_and_its_bucket(
    house: House, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell beside `dailies up` has no settings for either: only the stack knows their addresses."""
    late, lost = house.declare("cape", ["dawn", "noon"])
    house.add([late, lost])
    house.produce([lost])
    house.materialize(["prompts", "submissions", "generations"], [late])
    house.age(6.5 * 86_400)
    key = f"videos/cape-noon/{house.attempts([lost])[lost].id}.mp4"
    before = house.get(key)
    house.delete(key)
    bucket = house.production.settings().s3()
    running = {
        "pid": os.getpid(),
        "dagster_url": "http://127.0.0.1:9",
        "sandbox_url": house.sandbox.url,
        "s3_url": bucket.endpoint_url,
    }
    # this stack has no Dagster that could answer
    monkeypatch.setattr("pipelines.cli.dagster_api.DagsterApi.not_alive", lambda _: [])
    home = house.production.settings().home
    (home / "stack.json").write_text(json.dumps(running))
    (home / "sandbox-key").write_text(os.environ["WAVESPEED_API_KEY"])
    (home / "s3-secret").write_text("its secret")
    monkeypatch.setattr("pipelines.cli.bucket._embedded_of", lambda *_: contextlib.nullcontext(bucket))
    with monkeypatch.context() as shell:
        for name in list(os.environ):
            if name.endswith(("_API_KEY", "_URL", "_ORIGINS", "_S3_BUCKET")):
                shell.delenv(name)
        code, said = doctor()
    assert (code, wrong(said)) == (0, {}), said["mended"]
    assert house.get(key) == before
    assert house.states([late]) == {late: "delivered"}


def test_a_rewritten_manifest_names_who_accepted_the_clip(house: House, doctor: Doctor) -> None:
    sora: dict[str, Any] = {"endpoint": "openai/sora-2/text-to-video", "allow_retired": True}
    sized: dict[str, Any] = {"parameters": {"size": "1280*720", "duration": 4}}
    keys = house.declare("cape", ["dawn"], **sora, **sized)
    house.add(keys)
    house.fault({"do": "wrong_size", "width": 320, "height": 240}, prompt_contains="dawn")
    house.produce(keys)
    attempt = house.attempts(keys)["cape-dawn"]
    assert attempt.state.value == "quarantined"
    scratch = house.production.settings().home
    with house.production.ledger() as ledger:
        said = a_verdict(attempt, who="anna", note="meant so")
        Acceptor(ledger, house.production.store(), scratch).accept(attempt, said)
    house.age(120)
    key = f"videos/cape-dawn/{attempt.id}.json"
    before = Manifest.from_json_bytes(house.get(key), where=key)
    house.delete(key)
    doctor()
    after = Manifest.from_json_bytes(house.get(key), where=key)
    assert before.accepted is not None
    assert after.accepted is not None
    assert after.accepted.by == before.accepted.by == "anna"
    assert after.quarantined_for is None


def test_an_outage_of_the_bucket_does_not_stop_the_rest_of_the_inventory(
    house: House, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("cape", ["dawn"])
    house.fault({"do": "fail"}, prompt_contains="dawn")
    house.add(keys)
    house.produce(keys)
    monkeypatch.setenv("DAILIES_S3_BUCKET", "no-such-bucket-here")
    code, said = doctor()
    assert code == 1
    unread = {check["check"] for check in said["checks"] if check["unread"]}
    assert unread == {
        "every_object_has_its_manifest",
        "nothing_is_missing",
        "every_manifest_is_known",
        "ledger_is_copied",
    }
    assert wrong(said)["no_failed_clips"] == 1


def test_trying_the_alarm_without_an_address_names_the_setting(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dailies", "doctor", "--alarm"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "DAILIES_ALARM_URL" in capsys.readouterr().err


def test_the_output_for_people_names_findings_and_actions(
    house: House, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = house.declare("cape", ["dawn"])
    house.fault({"do": "fail", "error": "Task failed: [red]boo[/red]"}, prompt_contains="dawn")
    house.add(keys)
    house.produce(keys)
    monkeypatch.setattr(sys, "argv", ["dailies", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "no_failed_clips" in said.out
    assert "cape-dawn: failed: Task failed: [red]boo[/red]" in said.out
    assert "dailies retry" in said.out
    # the ways out are no asset check
    assert f"1 of {len(CHECKS) + 2} checks needs you" in said.err
