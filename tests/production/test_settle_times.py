"""How long a miss in a provider's listing proves nothing."""

from dataclasses import dataclass

import pytest
from fakes import CAPABILITIES, a_request

from resources.production.account import Account
from resources.providers.fal.contract import CAPABILITIES as FAL
from resources.providers.provider import Capabilities


@dataclass
class Seller:
    """As much of a provider as a settle time needs."""

    capabilities: Capabilities
    name: str = "seller"


def settle(capabilities: Capabilities, own: float | None) -> float:
    account = Account(Seller(capabilities), settle_seconds=own)  # type: ignore[arg-type]
    return account.contract.settle(a_request("clip-a", max_seconds=600))


@pytest.mark.parametrize(("own", "seconds"), [(None, 60), (5, 5), (900, 900)])
def test_where_running_jobs_are_listed_the_accounts_own_time_counts(
    own: float | None, seconds: float
) -> None:
    assert settle(CAPABILITIES, own) == seconds


@pytest.mark.parametrize(("own", "seconds"), [(None, 3_600 + 600 + 1_800), (5, 3_600 + 600 + 5)])
def test_a_job_that_waits_or_runs_unlisted_is_waited_for_whatever_the_account_says(
    own: float | None, seconds: float
) -> None:
    """A miss before the job can have ended would have it bought a second time."""
    assert FAL.start_seconds == 3_600
    assert not FAL.lists_running
    assert settle(FAL, own) == seconds
