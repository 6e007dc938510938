"""A server that other machines can reach must declare the names by which they do."""

import pytest

from resources.authorities import hosts
from resources.errors import ConfigurationError
from resources.guard import check_listening

PROXY = hosts("dailies.example.com")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_addresses_of_this_machine_need_no_declaration(host: str) -> None:
    check_listening(host, frozenset())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "fd00::1"])
def test_addresses_for_other_machines_need_a_declared_proxy(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no login of its own\. Set DAILIES_ALLOWED_HOSTS"):
        check_listening(host, frozenset())
    check_listening(host, PROXY)


@pytest.mark.parametrize("host", ["localhost", "", "0", "10.0.0.5:3000", "example.com"])
def test_a_name_in_place_of_an_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="takes an IP address"):
        check_listening(host, PROXY)
