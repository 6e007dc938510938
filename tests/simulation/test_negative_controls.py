"""Variants of the product with one rule of money broken: the simulation must see each of them."""

from collections.abc import Iterator

import pytest

from proof.simulation.controls import CONTROLS, SPLIT, Control, caught
from proof.simulation.database import HistoryDatabase
from proof.simulation.runner import carry_out

pytestmark = pytest.mark.slow

WITHIN_HISTORIES = 40


@pytest.fixture(scope="module")
def database() -> Iterator[HistoryDatabase]:
    with HistoryDatabase() as opened:
        yield opened


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_a_broken_variant_is_caught(database: HistoryDatabase, control: Control) -> None:
    outcome = caught(control, database, histories=WITHIN_HISTORIES)
    assert outcome is not None, "the simulation does not see this mistake"
    assert carry_out(outcome.plan, database).violations == [], "the product itself stands the same history"


def test_the_index_wins_the_race_that_is_lost_without_it(database: HistoryDatabase) -> None:
    assert caught(SPLIT, database, histories=6) is None


def test_all_controls_are_there() -> None:
    assert len({control.name for control in CONTROLS}) == len(CONTROLS) >= 14
