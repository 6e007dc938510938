"""Characters: made once, cast by name, reported missing before anything is bought, and shown in the lineage."""

from typing import Any

from pipelinekit import House, Ran, character

from pipelines.lineage import CHARACTERS, PROMPTS
from resources.dagster_resources import Production
from resources.ledger.decisions import Decision, decide
from resources.ledger.deliveries import unreported

SORA: dict[str, Any] = {
    "endpoint": "openai/sora-2/text-to-video",
    "allow_retired": True,
    "parameters": {"duration": 4, "size": "720*1280"},
}


def made(house: House) -> dict[str, str]:
    return {name: one.id for name, one in Production().characters().items()}


def make(house: House, *names: str, **config: object) -> Ran:
    for name in names:
        house.instance.add_dynamic_partitions("characters", [name])
    ops = {"ops": {"characters": {"config": config}}} if config else {}
    return house.run("make_characters", list(names), config=ops)


def test_a_character_is_made_once_and_shown_in_the_clips_that_cast_it(house: House):
    character(house, "mara")
    ran = make(house, "mara")
    assert ran.green, ran.failure
    (job,) = house.books()["jobs"]
    assert (job["model"], job["body"]) == (
        "openai/sora-2/characters",
        {"video": "https://example.com/mara.mp4", "name": "Mara"},
    )
    assert house.shown("characters", "mara")["id"] == made(house)["mara"]
    assert make(house, "mara").green
    assert len(house.books()["jobs"]) == 1
    keys = house.declare("city", ["hero"], **SORA, cast=["mara"])
    house.add(keys)
    ran = house.produce(keys)
    assert ran.green, ran.failure
    clip = house.books()["jobs"][-1]
    assert clip["body"]["characters"] == [made(house)["mara"]]
    assert house.shown("prompts", "city-hero")["cast"] == made(house)


def test_a_clip_whose_character_is_missing_says_so_before_anything_is_bought(house: House):
    character(house, "mara")
    keys = house.declare("city", ["hero", "wide"], **SORA, cast=["mara"])
    house.add(keys)
    ran = house.produce(keys)
    assert not ran.green
    assert house.requests("submit") == 0
    assert (
        "cast: found 'mara' - is not made yet: run `dailies characters make mara`"
        in ran.failed_clips["city-hero"]
    )


def test_a_clip_with_a_character_whose_film_has_changed_is_refused(house: House):
    character(house, "mara")
    assert make(house, "mara").green
    character(house, "mara", video="https://example.com/other.mp4")
    keys = house.declare("city", ["hero"], **SORA, cast=["mara"])
    house.add(keys)
    before = house.requests("submit")
    assert "has changed since it was made (mara.yaml)" in house.produce(keys).failed_clips["city-hero"]
    assert house.requests("submit") == before
    first = made(house)["mara"]
    assert make(house, "mara").green
    assert made(house)["mara"] != first
    assert house.produce(keys).green


def test_a_character_is_made_again_only_on_request(house: House):
    character(house, "mara")
    assert make(house, "mara").green
    first = made(house)["mara"]
    assert make(house, "mara", regenerate=True).green
    assert made(house)["mara"] != first
    assert len(house.books()["jobs"]) == 2


def test_a_refused_character_is_red_and_the_others_are_made(house: House):
    character(house, "joe")
    character(house, "mara")
    house.fault({"do": "fail"}, number=1)
    ran = make(house, "joe", "mara")
    assert not ran.green
    assert list(ran.failed_clips) == ["joe"]
    assert list(made(house)) == ["mara"]


def test_the_sensor_finishes_a_character_whose_run_died(house: House):
    character(house, "mara")
    with house.production.ledger() as ledger:
        request = house.production.declarations().characters.get("mara").request
        decide(ledger, [request], Decision("a run", batch="dead-run", watched_by="dead-run"))

    def done() -> bool:
        ran, _ = house.tick("wavespeed_completion")
        assert ran == []
        return bool(made(house))

    house.until(done)
    assert house.shown("characters", "mara")["id"] == made(house)["mara"]
    with house.production.ledger() as ledger:
        assert unreported(ledger, "wavespeed") == []
    assert make(house, "mara").green
    assert len(house.books()["jobs"]) == 1


def test_prompts_depend_on_the_characters_they_use_and_on_no_others(house: House):
    character(house, "mara")
    character(house, "joe")
    assert make(house, "joe", "mara").green
    keys = house.declare("city", ["hero"], **SORA, cast=["mara"]) + house.declare("still", ["plain"], **SORA)
    house.add(keys)
    assert house.run("render_prompts", keys).green
    graph = house.definitions().resolve_asset_graph()
    assert graph.get(PROMPTS).parent_keys == {CHARACTERS}
    assert stale(house, keys) == {"city-hero": False, "still-plain": False}
    assert make(house, "mara", regenerate=True).green
    assert stale(house, keys) == {"city-hero": True, "still-plain": False}
    ran, _ = house.tick("declared_clips")
    assert [one.green for one in ran] == [True]
    assert stale(house, keys) == {"city-hero": False, "still-plain": False}


def stale(house: House, keys: list[str]) -> dict[str, bool]:
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    graph = house.definitions().resolve_asset_graph()
    resolver = CachingStaleStatusResolver(house.instance, graph, LoadingContextForTest(house.instance))
    return {key: resolver.get_status(PROMPTS, key) is StaleStatus.STALE for key in keys}
