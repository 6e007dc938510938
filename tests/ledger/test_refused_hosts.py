"""A refused host is a fact of the ledger and puts no value in force; one key has one account name."""

import pytest
from ledgerkit import ACCOUNT, a_request, submitted

from proof.clock import Clock
from resources.errors import ConfigurationError
from resources.inventory.ledger_audit import check_ledger, urgent
from resources.ledger import keys, policy_history, refused_hosts
from resources.ledger.ledger import Ledger
from resources.ledger.policy_settings import ALL, Setting
from resources.ledger.refused_hosts import About
from resources.metrics import exposition
from resources.money import usd
from resources.production.account import bind_account
from resources.providers.accounts import AccountSettings
from tests.ledger.test_policy import CLIP, DAY, host

MONTH = Setting(ALL, "max_usd_per_month")


def test_a_refused_host_is_shown_to_every_host_until_it_agrees(ledger_url: str, clock: Clock) -> None:
    with host(ledger_url, clock, day=CLIP) as first, host(ledger_url, clock, day=2 * CLIP) as second:
        policy_history.check(first)
        assert not refused_hosts.refused(first)
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                policy_history.check(second)
        (one,) = refused_hosts.refused(first)
        assert (one.about, one.since) == (About.POLICY, clock())
        assert "$0.80 here, and $0.40 is in force" in one.why
        for findings in (check_ledger(first), urgent(first)):
            (stopped,) = [finding for finding in findings if finding.check.name == "nothing_is_stopped"]
            assert "$0.80 here" in repr(stopped)
        assert f'dailies_refused_host{{about="policy",host="{one.host}"}} 1.0' in exposition(first).decode()
        policy_history.apply(second, second.policy.of_host, who="ann")
        policy_history.check(second)
        assert not refused_hosts.refused(first)


def test_a_refused_host_that_is_gone_is_forgotten_after_a_day_and_rows_are_bounded(
    ledger_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_hosts, "MOST_HOSTS", 3)
    with host(ledger_url, clock) as ledger:
        for number in range(6):
            monkeypatch.setattr("socket.gethostname", lambda number=number: f"pod-{number}")
            clock.forward(1)
            refused_hosts.note(ledger, About.DATA, "another folder")
        assert [one.host for one in refused_hosts.refused(ledger)] == ["pod-3", "pod-4", "pod-5"]
        clock.forward(86_401)
        assert not refused_hosts.refused(ledger)


def test_a_refused_host_puts_no_undeclared_value_in_force(ledger_url: str, clock: Clock) -> None:
    """It may have been started with last year's settings."""
    with (
        host(ledger_url, clock, day=CLIP) as first,
        host(ledger_url, clock, day=2 * CLIP, month=usd("900")) as refused,
    ):
        policy_history.check(first)
        with pytest.raises(ConfigurationError):
            policy_history.check(refused)
        assert [entry.setting for entry in policy_history.history(first)] == [DAY]


def test_the_metric_of_a_cap_is_the_cap_in_force(ledger_url: str, clock: Clock) -> None:
    with host(ledger_url, clock, day=usd("5")) as ledger:
        policy_history.check(ledger)
        submitted(ledger)
        assert 'dailies_cap_usd{name="",of="everything",period="day"} 5.0' in exposition(ledger).decode()
        with host(ledger_url, clock, day=usd("3")) as person:
            policy_history.apply(person, {DAY: usd("3"), MONTH: usd("9")}, who="ann")
            told = exposition(person).decode()
    assert 'dailies_cap_usd{name="",of="everything",period="day"} 3.0' in told
    assert 'dailies_cap_usd{name="",of="everything",period="month"} 9.0' in told


def an_account(name: str, key: str, provider: str = "wavespeed") -> AccountSettings:
    return AccountSettings.model_validate(
        {
            "name": name,
            "provider": provider,
            "base_url": "https://api.wavespeed.ai",
            "api_key": key,
            "key_variable": "A_KEY",
        }
    )


def test_an_account_under_another_name_with_the_same_key_buys_nothing(ledger: Ledger) -> None:
    bind_account(ledger, an_account(ACCOUNT, "the-key"))
    submitted(ledger, a_request())
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"has bought as {ACCOUNT}"):
            bind_account(ledger, an_account("renamed", "the-key"))
    bind_account(ledger, an_account("another", "another-key"))
    bind_account(ledger, an_account(ACCOUNT, "the-key"))
    with pytest.raises(ConfigurationError, match=f"has bought as {ACCOUNT}"):
        bind_account(ledger, an_account("another", "the-key"))


def test_a_name_without_purchases_may_be_changed(ledger: Ledger) -> None:
    bind_account(ledger, an_account("first-name", "the-key"))
    bind_account(ledger, an_account("second-name", "the-key"))
    assert keys.former_account(ledger, "third-name", "wavespeed", "the-key") is None
