"""A failed run's sentence about money agrees with the ledger."""

import json

import pytest
from pipelinekit import House, again, nothing_bought

from resources.ledger import policy_history
from resources.storage.layout import ledger_key


def test_a_run_that_fails_before_it_bought_says_that_nothing_was_bought(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    with nothing_bought(house):
        monkeypatch.delenv("DAILIES_S3_BUCKET")
        ran = house.produce(keys)
    assert (ran.failure or "").endswith("Nothing was bought.")


def test_a_refusal_does_not_repeat_the_sentence_about_money(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["east"])
    house.add(keys)
    monkeypatch.setenv("DAILIES_MAX_USD_PER_MONTH", "500")
    with house.production.ledger() as ledger:
        policy_history.apply(ledger, house.production.settings().policy, who="ana")
    monkeypatch.setenv("DAILIES_MAX_USD_PER_MONTH", "7")
    with nothing_bought(house):
        said = house.produce(keys).failure or ""
    assert "not the policy in force" in said
    assert said.count("Nothing was bought") == 1


def test_a_re_executed_run_that_fails_names_the_purchases_of_its_decision(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    first = house.produce(keys)
    assert first.green

    house.edit("bay", "bytedance/seedance-2.0/text-to-video", "bytedance/seedance-0.0/text-to-video")
    broken = again(house, first.run)
    house.edit("bay", "bytedance/seedance-0.0/text-to-video", "bytedance/seedance-2.0/text-to-video")
    mark = house.get(ledger_key())
    house.put(ledger_key(), json.dumps({"ledger": "somebody-else"}).encode())
    foreign = again(house, first.run)
    house.put(ledger_key(), mark)

    for ran in (broken, foreign):
        said = ran.failure or ""
        assert "othing was bought" not in said, said
        assert "2 POSTs went out, which created 2 jobs" in said, said
        assert "2 delivered" in said, said
