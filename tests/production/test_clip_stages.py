"""A clip with several takes is shown once at each stage: when every take that has not failed has reached it."""

from typing import cast

from resources.ledger.records import Attempt
from resources.orders import TakeSlot
from resources.production.stages import ClipStages, Report, Stage


class Bought:
    """An attempt with the fields that stages read."""

    def __init__(self, seq: int) -> None:
        self.seq = seq


def attempt(seq: int) -> Attempt:
    return cast("Attempt", Bought(seq))


ONE, TWO = TakeSlot("hill", 1), TakeSlot("hill", 2)


def stages(*slots: TakeSlot) -> ClipStages:
    made = ClipStages(Stage.DELIVERED)
    for slot in slots:
        made.follow(slot)
    return made


def shown(reports: list[Report]) -> list[tuple[Stage, int]]:
    return [(report.stage, report.shown.seq) for report in reports if report.shown is not None]


def test_one_take_is_shown_at_every_stage() -> None:
    reports = list(stages(ONE).reach(ONE, attempt(1), Stage.DELIVERED))
    assert shown(reports) == [(Stage.SUBMITTED, 1), (Stage.GENERATED, 1), (Stage.DELIVERED, 1)]
    assert not [*stages(ONE).reach(ONE, None, Stage.DECIDED)]


def test_a_clip_is_shown_when_its_last_take_reaches_the_stage() -> None:
    two = stages(ONE, TWO)
    first = list(two.reach(TWO, attempt(2), Stage.DELIVERED))
    assert [report.stage for report in first] == [Stage.SUBMITTED, Stage.GENERATED, Stage.DELIVERED]
    assert shown(first) == []
    assert shown([*two.reach(ONE, attempt(1), Stage.GENERATED)]) == [
        (Stage.SUBMITTED, 2),
        (Stage.GENERATED, 2),
    ]
    assert shown([*two.reach(ONE, attempt(1), Stage.DELIVERED)]) == [(Stage.DELIVERED, 2)]


def test_a_failed_take_does_not_delay_the_others() -> None:
    two = stages(ONE, TWO)
    assert shown([*two.reach(ONE, attempt(1), Stage.DELIVERED)]) == []
    failed = list(two.fail(TWO, Stage.GENERATED, attempt(2), "no hands"))
    assert failed[0].error == "take in slot 2 of 2: no hands"
    assert shown(failed) == [(Stage.SUBMITTED, 1), (Stage.GENERATED, 1), (Stage.DELIVERED, 1)]


def test_a_clip_whose_takes_all_fail_is_not_shown() -> None:
    two = stages(ONE, TWO)
    reports = [*two.reach(ONE, attempt(1), Stage.SUBMITTED), *two.fail(ONE, Stage.GENERATED, attempt(1), "a")]
    reports += two.fail(TWO, Stage.SUBMITTED, attempt(2), "b")
    assert shown(reports) == []
    assert [report.error for report in reports if report.error] == [
        "take in slot 1 of 2: a",
        "take in slot 2 of 2: b",
    ]


def test_a_failure_after_the_last_awaited_stage_is_not_shown() -> None:
    leaving = ClipStages(Stage.SUBMITTED)
    assert len([*leaving.reach(ONE, attempt(1), Stage.SUBMITTED)]) == 1
    assert [*leaving.fail(ONE, Stage.GENERATED, attempt(1), "later")] == []
