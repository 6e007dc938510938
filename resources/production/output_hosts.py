"""Checking before a purchase that outputs can be fetched from the providers' hosts.

A VPN with fake addresses lets the purchase through, but every download is then refused. A filter that answers 0.0.0.0 for a
provider's CDN has the same effect.
"""

from collections.abc import Iterable

from resources.errors import ConfigurationError
from resources.providers.accounts import AccountSettings, output_hosts
from resources.storage.addresses import locate
from resources.storage.download_policy import DownloadError, DownloadPolicy, UnsafeAddressError


class OutOfReachError(ConfigurationError):
    """The outputs of an account could not be fetched. Nothing was bought."""


def closed_hosts(account: AccountSettings, policy: DownloadPolicy) -> dict[str, str]:
    """The hosts of an account's outputs from which this machine may not download, each with the reason.

    A name that cannot be resolved now is left out, because a name server may be down for a moment.
    """
    closed = {}
    for host in output_hosts(account):
        try:
            locate(f"https://{host}/", policy)
        except (UnsafeAddressError, ConfigurationError) as error:
            closed[host] = str(error)
        except DownloadError:
            continue
    return closed


def check_outputs(accounts: Iterable[AccountSettings], policy: DownloadPolicy) -> None:
    """Check that the outputs of these accounts can be fetched, as far as their hosts are known.

    Raises:
        OutOfReachError: They cannot; the text names the settings that help. Nothing was bought.
    """
    for account in accounts:
        closed = closed_hosts(account, policy)
        if closed:
            origins = ",".join(f"https://{host}" for host in closed)
            raise OutOfReachError(
                f"{account.name} delivers from {', '.join(closed)}, and nothing could be fetched from there: "
                f"{next(iter(closed.values()))}. All of them: DAILIES_ALLOWED_ORIGINS={origins}. Nothing was bought; "
                "`dailies doctor` looks at every way out."
            )
