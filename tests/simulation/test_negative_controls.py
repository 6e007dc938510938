"""Variants of the product with one rule of money broken: the simulation must notice each of them."""

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
    assert outcome is not None, "the simulation does not notice this mistake"
    assert carry_out(outcome.plan, database).violations == [], "the product itself passes the same history"


def test_the_index_prevents_the_second_purchase_of_the_race(database: HistoryDatabase) -> None:
    assert caught(SPLIT, database, histories=6) is None


def test_no_control_is_missing() -> None:
    assert len({control.name for control in CONTROLS}) == len(CONTROLS) >= 14
