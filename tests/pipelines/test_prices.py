"""The price at which a clip is reserved when the catalogue has changed since its prompt was rendered."""

from pipelinekit import House

from tests.pipelines.test_shared_data import own_models

ENTRY = "wavespeed-seedance-2.0-text-to-video.yaml"


def test_an_older_prompt_is_bought_at_the_present_price(house: House) -> None:
    """The old price would evade caps, and the bill above it would stop the account."""
    keys = house.declare("bay", ["east", "west"])
    own_models(house)
    house.add(keys)
    assert house.materialize(["prompts"], keys).green
    entry = house.data / "models" / ENTRY
    before = entry.read_text()
    entry.write_text(before.replace('720p: "0.24"', '720p: "0.36"'))
    assert entry.read_text() != before
    assert house.materialize(["submissions"], keys).green
    assert {one.quoted_micros for one in house.attempts(keys).values()} == {1_440_000}
