"""A host whose data folder differs from the pushed one does not know the price of finishes, and buys none."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from pipelinekit import House, nothing_bought
from verdictkit import a_verdict

from pipelines.cli.declared import declared_limits
from pipelines.cli.room import RetakeShop
from resources.errors import ConfigurationError
from resources.ledger import stops
from resources.ledger.finishes import judge_and_finish
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.settings import load_settings
from resources.shared_data.snapshot import short, take_snapshot
from tests.pipelines.test_shared_data import own_models, push

PRICE = 960_000
ENTRY = "wavespeed-seedance-2.0-text-to-video.yaml"


def ordered_finish(house: House) -> None:
    """Deliver and circle a draft; its finish is ordered and waits."""
    (key,) = house.declare(
        "bay",
        ["east"],
        review="person",
        draft={"endpoint": "bytedance/seedance-2.0/text-to-video", "parameters": {"duration": 4}},
        takes=1,
    )
    own_models(house)
    push(house)
    house.add([key])
    assert house.produce([key]).green
    with house.production.ledger() as ledger:
        stops.stop(ledger, reason="a test")
        draft = ledger.latest([key])[key]
        _, ordered = judge_and_finish(ledger, a_verdict(draft), at_most_micros=PRICE)
        assert ordered is not None
        assert ordered.finish is None
        stops.start(ledger)


def finishes(house: House) -> list[int]:
    """The quotes of the finishes, in micro-USD."""
    query = sa.select(attempts).where(attempts.c.finishes.is_not(None))
    with house.production.ledger() as ledger, ledger.read() as connection:
        return [Attempt.from_row(row).quoted_micros for row in connection.execute(query)]


@pytest.fixture
def cheaper(house: House) -> Callable[[], None]:
    """Halve the price in this host's own catalogue, without a push."""

    def change() -> None:
        entry = house.data / "models" / ENTRY
        before = entry.read_text()
        entry.write_text(before.replace('720p: "0.24"', '720p: "0.12"'))
        assert entry.read_text() != before

    return change


def test_a_host_with_another_folder_buys_no_finish_that_was_ordered(
    house: House, cheaper: Callable[[], None]
) -> None:
    ordered_finish(house)
    pushed = (house.data / "models" / ENTRY).read_text()
    cheaper()
    with nothing_bought(house):
        house.tick("gallery_pages")
    assert finishes(house) == []
    (house.data / "models" / ENTRY).write_text(pushed)
    house.tick("gallery_pages")
    assert finishes(house) == [PRICE]


def test_without_the_comparison_such_a_host_buys_at_its_own_price(
    house: House, cheaper: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    ordered_finish(house)
    cheaper()
    monkeypatch.setattr(type(house.production), "checked_data", lambda _: (house.data, None))
    house.tick("gallery_pages")
    assert finishes(house) == [PRICE // 2]


def test_neither_the_command_nor_the_room_of_such_a_host_offers_a_finish(
    house: House, cheaper: Callable[[], None]
) -> None:
    ordered_finish(house)
    shop = RetakeShop(load_settings)
    with house.production.ledger() as ledger:
        (draft,) = ledger.latest(["bay-east"]).values()
        assert shop.offer_finish(draft)["at_most_micros"] == PRICE
        cheaper()
        own = short(take_snapshot(house.data).digest)
        with pytest.raises(ConfigurationError, match=own):
            declared_limits(load_settings(), ledger)
    with pytest.raises(ConfigurationError, match=own):
        shop.offer_finish(draft)
    with pytest.raises(ConfigurationError, match=own):
        shop.limits()
