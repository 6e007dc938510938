"""The policy in force: a fact of the ledger, whatever a host was started with."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
from ledgerkit import ACCOUNT, NEVER_CHARGED, a_request, a_state, decided, everything, process_pool, submitted

from proof.clock import Clock
from resources.errors import ConfigurationError
from resources.ledger import counters, database, policy_history, polls
from resources.ledger.budget import Budget, Scope
from resources.ledger.decisions import Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Later, Limits
from resources.ledger.policy import InForce, PolicyReader
from resources.ledger.policy_settings import ALL, Setting, Value
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.ledger.shared_tables import policy
from resources.ledger.states import AttemptState
from resources.money import usd
from resources.providers.base import FailureKind, JobStatus
from resources.settings import load_settings, open_ledger

DAY = Setting(ALL, "max_usd_per_day")
PLACES = Setting(ACCOUNT, "max_in_flight")
SETTLE = Setting(ACCOUNT, "settle_seconds")
CLIP = usd("0.40")


def host(url: str, clock: Clock | None = None, **said: Value) -> Ledger:
    """A ledger opened by a host that declares a cap on all accounts together."""
    values = {Setting(ALL, f"max_usd_per_{name}"): value for name, value in said.items()}
    return Ledger(url, budget=Budget(), policy=values, clock=clock)


def bought(ledger: Ledger, number: int) -> int:
    """How many of a number of clips a host may buy."""
    asked = [decided(ledger, a_request(f"clip-{n}-{ledger.owner[-4:]}")) for n in range(number)]
    return sum(one.ruling is Ruling.NEW for one in asked)


def test_the_first_host_sets_undeclared_values_and_a_host_without_settings_follows(
    ledger_url: str, clock: Clock
) -> None:
    with host(ledger_url, clock, day=2 * CLIP) as first, host(ledger_url, clock) as silent:
        policy_history.check(first)
        (entry,) = policy_history.history(silent)
        assert (entry.setting, entry.value, entry.at) == (DAY, 2 * CLIP, clock())
        assert "host " in entry.who
        assert bought(silent, 3) == 2
        assert "DAILIES_MAX_USD_PER_DAY" in (decided(silent, a_request("one-more")).reason or "")
        assert bought(first, 1) == 0


def test_a_host_with_another_value_buys_nothing_and_its_error_names_both_values_and_the_command(
    ledger_url: str, clock: Clock
) -> None:
    with host(ledger_url, clock, day=usd("10")) as first, host(ledger_url, clock, day=usd("500")) as other:
        policy_history.check(first)
        with pytest.raises(ConfigurationError) as refused:
            policy_history.check(other)
        ruling = decided(other)
        assert ruling.ruling is Ruling.REFUSED
        assert ruling.reason == str(refused.value)
        for part in (
            "DAILIES_MAX_USD_PER_DAY",
            "$500.00",
            "$10.00",
            "`dailies policy apply`",
            "Nothing was bought",
        ):
            assert part in str(refused.value)
        assert everything(first) == []
        assert len(policy_history.history(first)) == 1, "a refused host adds nothing"


def test_no_cap_is_a_value_that_contradicts_a_cap(ledger_url: str, clock: Clock) -> None:
    with host(ledger_url, clock, day=CLIP) as first, host(ledger_url, clock, day=None) as free:
        policy_history.check(first)
        assert "no cap here" in (decided(free).reason or "")


@pytest.mark.parametrize(("before", "after"), [("0.80", "0.40"), ("0.40", "0.80")])
def test_a_changed_cap_holds_for_a_host_that_was_started_before(
    ledger_url: str, clock: Clock, before: str, after: str
) -> None:
    with host(ledger_url, clock) as early, host(ledger_url, clock, day=usd(before)) as old:
        policy_history.check(old)
        assert bought(early, 1) == 1
        with host(ledger_url, clock, day=usd(after)) as person:
            (change,) = policy_history.apply(person, person.policy.of_host, who="ann on her laptop")
            assert (change.setting, change.before and change.before.value) == (DAY, usd(before))
            assert policy_history.apply(person, person.policy.of_host, who="ann again") == []
        assert bought(early, 2) == (usd(after) - CLIP) // CLIP
        refused = decided(old, a_request("by-the-old-host"))
        assert "said by ann on her laptop" in (refused.reason or "")
        assert [entry.value for entry in policy_history.history(early)] == [usd(before), usd(after)]


def test_the_limits_of_the_ledger_hold_in_the_transaction_that_claims(ledger_url: str, clock: Clock) -> None:
    with (
        Ledger(ledger_url, budget=Budget(), clock=clock) as early,
        Ledger(ledger_url, budget=Budget(), clock=clock, policy={PLACES: 1}) as strict,
        Ledger(ledger_url, budget=Budget(), clock=clock, policy={PLACES: 9}) as loose,
    ):
        assert bought(early, 3) == 3
        policy_history.check(strict)
        anything = PostTerms(Limits(), 30)
        assert isinstance(claim_next(early, ACCOUNT, anything), Submission)
        later = claim_next(early, ACCOUNT, anything)
        assert isinstance(later, Later)
        assert "all 1 places" in later.why
        refused = claim_next(loose, ACCOUNT, anything)
        assert isinstance(refused, Later)
        assert refused.refused
        assert "DAILIES_WAVESPEED_MAX_IN_FLIGHT is 9 here, and 1 is in force" in refused.why


def test_a_failed_purchase_is_tried_again_by_the_ledgers_caps_whatever_the_host_says(
    ledger_url: str, clock: Clock
) -> None:
    with host(ledger_url, clock, day=usd("10")) as old, host(ledger_url, clock, day=usd("20")) as person:
        policy_history.check(old)
        attempt = submitted(old, a_request(max_attempts=2))
        policy_history.apply(person, person.policy.of_host, who="ann")
        failed = a_state(JobStatus.FAILED, failure=FailureKind.PROVIDER)
        polls.record_end(old, attempt, failed, NEVER_CHARGED)
        assert [one.state for one in everything(old)] == [AttemptState.FAILED, AttemptState.QUEUED]
        assert isinstance(claim_next(old, ACCOUNT, PostTerms(Limits(), 30)), Later), "another host sends it"
        assert isinstance(claim_next(person, ACCOUNT, PostTerms(Limits(), 30)), Submission)


def test_a_settle_time_is_the_ledgers(ledger_url: str, clock: Clock) -> None:
    with (
        Ledger(ledger_url, budget=Budget(), clock=clock) as early,
        Ledger(ledger_url, budget=Budget(), clock=clock, policy={SETTLE: 600.0}) as host_with_a_file,
    ):
        assert policy_history.in_force(early).settle_seconds(ACCOUNT, 60) == 60
        policy_history.check(host_with_a_file)
        assert policy_history.in_force(early).settle_seconds(ACCOUNT, 60) == 600


def test_every_setting_of_the_budget_is_the_ledgers(ledger_url: str, clock: Clock) -> None:
    said: dict[Setting, Value] = {
        Setting(ALL, "timezone"): "Asia/Tokyo",
        Setting(ALL, "max_usd_per_clip"): usd("0.10"),
        Setting(ALL, "max_request_factor"): 1.5,
        Setting(ALL, "max_hour_factor"): 3.0,
        Setting("team-b", "max_usd_per_month"): usd("7"),
    }
    with Ledger(ledger_url, budget=Budget(), clock=clock, policy=said) as first:
        policy_history.check(first)
    with Ledger(ledger_url, budget=Budget(), clock=clock) as other:
        found = other.budget
        assert (found.timezone, found.per_clip) == ("Asia/Tokyo", usd("0.10"))
        assert (found.request_factor, found.hour_factor) == (1.5, 3.0)
        assert found.accounts["team-b"].per_month == usd("7")
        assert "DAILIES_MAX_USD_PER_CLIP" in (decided(other).reason or "")


def test_policy_entries_cannot_be_changed_or_deleted(ledger_url: str, clock: Clock) -> None:
    with host(ledger_url, clock, day=CLIP) as ledger:
        policy_history.check(ledger)
        for change in (sa.update(policy).values(value="1"), sa.delete(policy)):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.write() as connection:
                connection.execute(change)


# processes with different environments


def buys(
    url: str, folder: str, day: str | None, start: str, barrier: Any, ignoring: bool
) -> list[str | None]:
    """Buy thirty clips one after the other, as a process with this setting; returns the reason of each refusal."""
    os.chdir(folder)
    os.environ |= {"DAILIES_LEDGER_URL": url, "DAILIES_HOME": folder, "DAILIES_ENV_FILE": ""}
    if day is not None:
        os.environ["DAILIES_MAX_USD_PER_DAY"] = day
    own = mock.patch.object(PolicyReader, "read", lambda self, _: InForce({}, {}, self.own))
    with own if ignoring else mock.MagicMock(), open_ledger(load_settings()) as ledger:
        if not ignoring and policy_history.adopt_settings(ledger).refusal is not None:
            barrier.wait(60)
            return [decided(ledger, a_request(f"{start}-{n}")).reason for n in range(3)]
        barrier.wait(60)
        return [decided(ledger, a_request(f"{start}-{n}")).reason for n in range(30)]


@pytest.mark.parametrize("ignoring", [False, True])
def test_two_processes_with_different_environments_stay_below_the_one_cap(
    ledger_url: str, tmp_path: Path, ignoring: bool
) -> None:
    """The negative control follows each process's own environment, as the code once did."""
    with host(ledger_url, day=usd("4")) as first:
        policy_history.check(first)
    with process_pool(3) as (pool, barrier):
        asked = [
            pool.submit(buys, ledger_url, str(tmp_path), day, start, barrier, ignoring)
            for day, start in (("4", "same"), (None, "silent"), ("400", "other"))
        ]
        same, silent, other = [answer.result(300) for answer in asked]
    with Ledger(ledger_url, budget=Budget()) as ledger, ledger.read() as connection:
        counted = counters.counted(connection)[Scope("everything", "", "total", "")]
    if ignoring:
        assert counted > usd("4"), "the control shows that the test would see it"
        return
    assert counted == usd("4")
    assert sum(reason is None for reason in [*same, *silent]) == 10
    assert all(
        "DAILIES_MAX_USD_PER_DAY is $400.00 here, and $4.00 is in force" in (why or "") for why in other
    )


def test_a_cap_that_is_lowered_while_a_purchase_waits_for_the_lock_holds_for_it(
    ledger_url: str, clock: Clock
) -> None:
    """A purchase reads the policy after it holds the lock under which the policy is changed."""
    with host(ledger_url, clock) as early, host(ledger_url, clock, day=CLIP // 2) as person:
        lock = database.lock_money

        def and_somebody_lowers_it(connection: sa.Connection) -> None:
            if early.is_of_one_machine:
                lock(connection)  # SQLite has one writer at a time, so no change can come between
                return
            policy_history.apply(person, person.policy.of_host, who="ann")
            lock(connection)

        if early.is_of_one_machine:
            policy_history.apply(person, person.policy.of_host, who="ann")
        with mock.patch("resources.ledger.decisions.lock_money", and_somebody_lowers_it):
            assert decided(early).ruling is Ruling.REFUSED
        assert everything(early) == []


# declarations of a host


def test_a_host_declares_only_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = tmp_path / "data" / "accounts"
    accounts.mkdir(parents=True)
    (accounts / "team-b.yaml").write_text(
        "name: team-b\nprovider: wavespeed\nkey: TEAM_B_KEY\nmax_in_flight: 3\nmax_usd_per_day: null\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_settings().policy == {
        Setting("team-b", "max_in_flight"): 3,
        Setting("team-b", "max_usd_per_day"): None,
    }
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "2.5")
    monkeypatch.setenv("DAILIES_MAX_USD_PER_MONTH", "")
    monkeypatch.setenv("DAILIES_AIMLAPI_SETTLE_SECONDS", "900")
    monkeypatch.setenv("AIMLAPI_API_KEY", "secret")
    found = load_settings().policy
    assert found == {
        DAY: usd("2.5"),
        Setting(ALL, "max_usd_per_month"): None,
        Setting("aimlapi", "settle_seconds"): 900.0,
        Setting("team-b", "max_in_flight"): 3,
        Setting("team-b", "max_usd_per_day"): None,
    }
    assert "secret" not in repr(found)
    monkeypatch.setenv("DAILIES_FOLLOWS_POLICY", "true")
    assert load_settings().policy.keys() == {
        Setting("team-b", "max_in_flight"),
        Setting("team-b", "max_usd_per_day"),
    }


def test_a_host_whose_file_names_an_account_that_others_do_not_know_adds_it(
    ledger_url: str, clock: Clock
) -> None:
    with (
        Ledger(
            ledger_url, budget=Budget(), clock=clock, policy={Setting("team-b", "max_usd_per_day"): 0}
        ) as new,
        Ledger(ledger_url, budget=Budget(), clock=clock) as other,
    ):
        policy_history.check(new)
        refused = decided(other, a_request(account="team-b"))
        assert "max_usd_per_day of team-b in data/accounts" in (refused.reason or "")
