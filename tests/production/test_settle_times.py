"""How long a miss in a provider's listing proves nothing."""

from dataclasses import dataclass

import pytest
from fakes import CAPABILITIES, a_request
from providerkit import BareProvider

from resources.production.account import Account
from resources.providers.fal.contract import CAPABILITIES as FAL
from resources.providers.provider import Capabilities


@dataclass
class Seller(BareProvider):
    """A provider with given capabilities."""

    capabilities: Capabilities


def settle(capabilities: Capabilities, own: float | None) -> float:
    account = Account(Seller(capabilities), settle_seconds=own)
    return account.contract.settle(a_request("clip-a", max_seconds=600))


@pytest.mark.parametrize(("own", "seconds"), [(None, 60), (5, 5), (900, 900)])
def test_a_listing_of_running_jobs_uses_the_accounts_settle_time(own: float | None, seconds: float) -> None:
    assert settle(CAPABILITIES, own) == seconds


@pytest.mark.parametrize(("own", "seconds"), [(None, 3_600 + 600 + 1_800), (5, 3_600 + 600 + 5)])
def test_the_settle_time_covers_the_longest_unlisted_job_whatever_the_account_declares(
    own: float | None, seconds: float
) -> None:
    """If a miss counted before the job can have ended, the clip would be bought a second time."""
    assert FAL.start_seconds == 3_600
    assert not FAL.lists_running
    assert settle(FAL, own) == seconds
