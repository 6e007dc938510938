"""A clip that another endpoint served: events and manifest show the ordered and the serving endpoint."""

import json
from typing import Any

from pipelinekit import House

from pipelines.clip_batch import DECISION_TAG

ASKED = "openai/sora-2/text-to-video"
SORA: dict[str, Any] = {
    "endpoint": ASKED,
    "allow_retired": True,
    "parameters": {"duration": 4, "resolution": "720p", "aspect_ratio": "9:16"},
}
SISTER = {"endpoint": "bytedance/seedance-2.0/text-to-video"}
ELSEWHERE = {"endpoint": "openai/sora-2-t2v", "provider": "aimlapi"}


def test_a_refused_clip_is_delivered_by_its_fallback_and_shows_that(house: House):
    house.fault(
        {"do": "reject", "status": 400, "body": {"code": 400, "message": "refused", "data": {"code": 1200}}},
        endpoint=ASKED,
    )
    keys = house.declare("city", ["hero"], **SORA, fallback=[SISTER])
    house.add(keys)
    ran = house.produce(keys)
    assert ran.green, ran.failure
    (job,) = house.books()["jobs"]
    assert (job["model"], job["body"]["aspect_ratio"], job["body"]["duration"]) == (
        SISTER["endpoint"],
        "9:16",
        4,
    )
    for asset in ("submissions", "generations", "uploaded_videos"):
        shown = house.shown(asset, "city-hero")
        assert (shown["asked_for"], shown["endpoint"]) == (f"{ASKED} (wavespeed)", SISTER["endpoint"])
    assert house.shown("prompts", "city-hero")["endpoint"] == ASKED
    attempt = house.attempts(keys)["city-hero"]
    manifest = json.loads(house.get(f"videos/city-hero/{attempt.id}.json"))
    assert manifest["endpoint"] == SISTER["endpoint"]
    assert manifest["asked"] == {
        "provider": "wavespeed",
        "endpoint": ASKED,
        "fingerprint": attempt.fingerprint,
    }
    assert house.produce(keys).green
    assert len(house.books()["jobs"]) == 1


def test_a_run_waits_for_a_fallback_at_another_provider(house: House):
    house.fault({"do": "fail"}, endpoint=ASKED)
    keys = house.declare("city", ["hero", "wide"], **SORA, fallback=[ELSEWHERE])
    house.add(keys)
    ran = house.produce(keys)
    assert ran.green, ran.failure
    bought = sorted((job["provider"], job["model"]) for job in house.books()["jobs"])
    assert bought == [("aimlapi", ELSEWHERE["endpoint"])] * 2 + [("wavespeed", ASKED)] * 2
    assert set(house.states(keys).values()) == {"delivered"}


def test_the_sensors_deliver_a_fallback_at_another_provider(house: House):
    house.fault({"do": "fail"}, endpoint=ASKED)
    keys = house.declare("city", ["hero"], **SORA, fallback=[ELSEWHERE])
    house.add(keys)
    assert house.run("submit_clips", keys, tags={DECISION_TAG: "schedule:city"}).green

    def delivered() -> bool:
        for account in ("wavespeed", "aimlapi"):
            house.tick(f"{account}_completion")
        return house.states(keys) == {"city-hero": "delivered"}

    house.until(delivered)
    assert house.shown("uploaded_videos", "city-hero")["asked_for"] == f"{ASKED} (wavespeed)"
    assert house.attempts(keys)["city-hero"].decision == "schedule:city"


def test_an_invalid_fallback_is_found_before_anything_is_bought(house: House, monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY")
    keys = house.declare("city", ["hero"], **SORA, fallback=[ELSEWHERE])
    house.add(keys)
    ran = house.produce(keys)
    assert not ran.green
    assert "AIMLAPI_API_KEY" in (ran.failure or "")
    assert house.requests("submit") == 0


def test_when_every_fallback_has_failed_the_clip_is_red_with_the_last_reason(house: House):
    house.fault({"do": "fail", "error": "Task failed: storm"})
    keys = house.declare("city", ["hero"], **SORA, fallback=[SISTER])
    house.add(keys)
    ran = house.produce(keys)
    assert not ran.green
    assert "storm" in ran.failed_clips["city-hero"]
    assert len(house.books()["jobs"]) == 2


def test_a_substituted_model_fails_or_is_marked_as_the_series_declares(house: House):
    house.fault({"do": "substitute", "model": "openai/sora-1"})
    strict = house.declare("strict", ["a"], **SORA)
    easy = house.declare("easy", ["a"], **SORA, checks={"model": "warn"})
    house.add(strict + easy)
    ran = house.produce(strict)
    assert not ran.green
    assert "openai/sora-1 made it" in ran.failed_clips["strict-a"]
    assert house.states(strict) == {"strict-a": "quarantined"}
    assert house.produce(easy).green
    attempt = house.attempts(easy)["easy-a"]
    manifest = json.loads(house.get(f"videos/easy-a/{attempt.id}.json"))
    (check,) = [check for check in manifest["checks"] if check["name"] == "model"]
    assert check["outcome"] == "warned"
    assert manifest["endpoint_served"] == "openai/sora-1"
